"""Heartbeats: a loop writes a few bytes to a file each time it turns."""

from __future__ import annotations

import os
import struct
import time
from pathlib import Path

_BEAT = struct.Struct("=qd")


class Heart:
    """Writes the heartbeat of this process to `path`; each beat replaces the last.

    Parameters
    ----------
    path
        File of the heartbeat; its folder must exist.
    """

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def beat(self) -> None:
        """Write one beat."""
        os.pwrite(self._file, _BEAT.pack(os.getpid(), time.monotonic()), 0)

    def close(self) -> None:
        """Stop beating; the last beat stays in the file."""
        os.close(self._file)


def last_beat(path: Path, pid: int) -> float | None:
    """Return the monotonic time of the last beat of `pid`; None if there was none."""
    try:
        beat = path.read_bytes()
    except FileNotFoundError:
        return None
    if len(beat) != _BEAT.size:
        return None
    beating, at = _BEAT.unpack(beat)
    return at if beating == pid else None
