"""Stopped processes: a deadline must end or wake each of them."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from campaigns.pool_faults import victims
from gaia.validator.utils.machine.process_state import is_stopped

if TYPE_CHECKING:
    from gaia.validator.app.meeting.rendezvous import Board

KINDS = ("worker", "engine", "fork_server")
PER_KILL = {"worker": 0.052, "engine": 0.016, "fork_server": 0.013}
"""Number of stops of each kind per kill."""
PATIENCE = float(os.environ.get("POOL_CHAOS_PATIENCE", "1"))
"""Factor on all time limits for a busy machine."""
LIMIT_S = 45.0 * PATIENCE
"""Time limit for a stopped worker, which may hold a poison unit with its 15 seconds."""


class Frozen(NamedTuple):
    """A stopped process."""

    kind: str
    pid: int
    at: float
    upheavals: int


class Stops:
    """The stopped processes, and the ends of earlier ones.

    Parameters
    ----------
    workers
        Number of workers; one is never stopped.
    """

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._frozen: list[Frozen] = []
        self.upheavals = 0
        """Number of deaths of Supervisors and fork servers, which also end stopped workers."""
        self.outlasted: Counter[str] = Counter()
        """Kind -> number of stops that a deadline ended."""
        self.stuck: list[str] = []
        """Stops that nothing ended."""

    def __bool__(self) -> bool:
        return bool(self._frozen)

    @property
    def pids(self) -> set[int]:
        """Pids of the processes that are stopped now."""
        return {frozen.pid for frozen in self._frozen}

    def add(self, kind: str, pid: int) -> None:
        """Note that `pid` was just stopped."""
        self._frozen.append(Frozen(kind, pid, time.monotonic(), self.upheavals))

    def allowed_acts(self) -> set[str]:
        """Return the actions that do not end a stopped process before its deadline."""
        frozen = Counter(frozen.kind for frozen in self._frozen)
        acts = {"worker", "standby"}
        if not frozen["engine"]:
            acts |= {"engine", "stop engine"}
        if not frozen["fork_server"]:
            acts.add("stop fork_server")
        if frozen["worker"] < self._workers - 1:
            acts.add("stop worker")
        return acts

    def settle(self, board: Board) -> Iterator[str]:
        """Check each stop; yield the kind of those that ended before a deadline, to repeat them."""
        still: list[Frozen] = []
        # The fork server first, because its death is not a deadline of its workers.
        for frozen in sorted(self._frozen, key=lambda one: KINDS.index(one.kind), reverse=True):
            outcome = self._outcome(frozen, board)
            if outcome is None:
                if time.monotonic() - frozen.at <= LIMIT_S:
                    still.append(frozen)
                    continue
                self.stuck.append(f"stopped {frozen.kind} {frozen.pid} stayed so for {LIMIT_S} s")
                _end(frozen.pid)
            elif outcome:
                self.outlasted[frozen.kind] += 1
            else:
                yield frozen.kind
        self._frozen = still

    def _outcome(self, frozen: Frozen, board: Board) -> bool | None:
        """Return True if a deadline ended the stop, False if something else did, None if it lasts."""
        is_dead = victims.is_dead(frozen.pid)
        if frozen.kind == "fork_server":
            if not is_dead and is_stopped(frozen.pid):
                return None
            is_undisturbed = frozen.upheavals == self.upheavals
            self.upheavals += is_dead
            return is_undisturbed
        if not is_dead:
            return None
        if frozen.kind == "worker":
            return frozen.upheavals == self.upheavals
        if board.processes.get("io_engine") == frozen.pid:
            return None  # its death is not on the board yet
        return any((report.pid, report.cause) == (frozen.pid, "silent") for report in board.deaths)


def _end(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
