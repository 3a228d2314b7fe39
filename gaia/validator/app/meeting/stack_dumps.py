"""Python stacks of living processes: each writes its own to a file when it is sent a signal."""

from __future__ import annotations

import faulthandler
import os
import signal
import time
from pathlib import Path

from gaia.validator.app.meeting.rendezvous import make_private

_ASK = signal.SIGUSR1
_POLL_S = 0.02
_QUIET_LOOKS = 5
"""Looks without growth after which a stack is complete."""


class NoStack(Exception):
    """A process did not write its stack; the sentence says why."""


def offer_stacks(run_directory: Path) -> None:
    """Write the stacks of all threads of this process whenever it is sent the signal.

    The handler is C and needs neither the interpreter nor the file system, so it works in native
    code, under memory pressure and in a sandbox that is entered later.
    """
    folder = run_directory / "dumps"
    make_private(folder)
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC
    file = os.open(dump_path(run_directory, os.getpid()), flags, 0o600)
    faulthandler.register(_ASK, file, all_threads=True, chain=False)


def forget_stacks(run_directory: Path) -> None:
    """Delete what processes of an earlier Supervisor wrote; none of them is left."""
    folder = run_directory / "dumps"
    for left in folder.iterdir() if folder.is_dir() else ():
        left.unlink()


def dump_path(run_directory: Path, pid: int) -> Path:
    """Return the file to which the process writes its stacks."""
    return run_directory / "dumps" / str(pid)


def stacks_of(run_directory: Path, pid: int, patience_s: float) -> str:
    """Return the stacks that a living process writes now.

    The signal is sent only to a process that handles it, because it would end any other.

    Raises
    ------
    NoStack
        If the process offers no stacks, or wrote none within `patience_s`.
    """
    path = dump_path(run_directory, pid)
    try:
        before = path.stat().st_size
        handles = _handles(pid)
    except OSError as error:
        raise NoStack(f"process {pid} offers no stacks ({error.strerror})") from error
    if not handles:
        raise NoStack(f"process {pid} offers no stacks")
    try:
        os.kill(pid, _ASK)
    except OSError as error:
        raise NoStack(f"process {pid} cannot be asked ({error.strerror})") from error
    end = time.monotonic() + patience_s
    size, quiet = before, 0
    while size == before or quiet < _QUIET_LOOKS:
        if time.monotonic() > end and size == before:
            raise NoStack(f"process {pid} wrote nothing within {patience_s:g} s; it may be stopped")
        time.sleep(_POLL_S)
        seen = path.stat().st_size
        quiet = quiet + 1 if seen == size else 0
        size = seen
    with path.open("rb") as file:
        file.seek(before)
        return file.read().decode(errors="replace")


def _handles(pid: int) -> bool:
    """Return whether the process has a handler for the signal."""
    status = Path("/proc", str(pid), "status").read_text()
    caught = next(line for line in status.splitlines() if line.startswith("SigCgt:"))
    return bool(int(caught.split()[1], 16) >> (_ASK - 1) & 1)
