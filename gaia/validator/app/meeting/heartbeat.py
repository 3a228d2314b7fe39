"""A sign of life that costs nothing: a few bytes in a file, written by a loop as it turns."""

from __future__ import annotations

import os
import struct
import time
from pathlib import Path

_BEAT = struct.Struct("=qd")


class Heart:
    """Beats into `path` for this process; every beat replaces the last.

    Parameters
    ----------
    path
        Its folder exists.
    """

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def beat(self) -> None:
        """Show that the loop turns."""
        os.pwrite(self._file, _BEAT.pack(os.getpid(), time.monotonic()), 0)

    def close(self) -> None:
        """Stop, and leave the last beat where it is."""
        os.close(self._file)


def last_beat(path: Path, pid: int) -> float | None:
    """Return when `pid` last beat, on the monotonic clock; None if it never did."""
    try:
        beat = path.read_bytes()
    except FileNotFoundError:
        return None
    if len(beat) != _BEAT.size:
        return None
    beating, at = _BEAT.unpack(beat)
    return at if beating == pid else None
