"""Reads the state of a process from the kernel."""

from __future__ import annotations

from pathlib import Path
from typing import Final

_STOPPED: Final = ("T", "t")
_ENDED: Final = ("", "Z", "X")
"""No such process, a zombie that its parent has not reaped yet, and one that is being removed."""


def is_stopped(pid: int) -> bool:
    """Return whether a signal or a debugger has stopped a process."""
    return _state(pid) in _STOPPED


def lives(pid: int) -> bool:
    """Return whether a process has not ended; a zombie has."""
    return _state(pid) not in _ENDED


def _state(pid: int) -> str:
    """Return the letter of a process's state; "" if there is no such process."""
    try:
        status = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return ""
    # The name in parentheses may contain blanks and parentheses of its own.
    return status.rpartition(b")")[2].split()[0].decode()
