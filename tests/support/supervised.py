"""What tests of whole families of processes share."""

from __future__ import annotations

from collections.abc import Callable

from tests.support.roles import Supervised, until

Start = Callable[..., Supervised]


def worker_pid(supervised: Supervised) -> int:
    """Wait for the only worker to be published, and return its pid."""
    board = until(lambda: supervised.board().workers, "a worker")
    (pid,) = board.values()
    return int(pid)


def pid_of(supervised: Supervised, role: str) -> int:
    """Wait for the child of that role to be published, and return its pid."""
    return int(until(lambda: supervised.board().processes.get(role), role))
