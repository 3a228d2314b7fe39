"""Looks who holds a lock of a file, without ever taking it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from collections.abc import Iterator

_LOCKS = Path("/proc/locks")
_UNKNOWN = -1


def lock_holder(path: Path) -> int:
    """Return the process that holds the flock of a file; 0: none, -1: one that the kernel does not name.

    A trial lock would refuse a validator that starts just then, so this reads the kernel's list of
    locks. The list has no process of another container.

    Raises
    ------
    OSError
        If the list cannot be read.
    """
    try:
        status = path.stat()
    except OSError:
        return 0  # there is no lock, or other checks tell that the folder is closed to us
    for pid, device, inode in _flocks():
        if inode == status.st_ino and (device == status.st_dev or _uses(pid, path, status)):
            # The lock of a process that ended stays with its children, and names nobody.
            return pid if pid > 0 and psutil.pid_exists(pid) else _UNKNOWN
    return 0


def _flocks() -> Iterator[tuple[int, int, int]]:
    """Yield (process, device, inode) of each flock that is held."""
    for line in _LOCKS.read_text().splitlines():
        match line.split():
            case [_, "FLOCK", _, _, pid, place, *_]:
                major, minor, inode = place.split(":")
                yield int(pid), os.makedev(int(major, 16), int(minor, 16)), int(inode)


def _uses(pid: int, path: Path, status: os.stat_result) -> bool:
    """Return whether a process wrote its number to the file, or has it open.

    Some file systems, such as btrfs, tell another device in the list than for the file.
    """
    try:
        if path.read_text(errors="replace").strip() == str(pid):
            return True
        return any(os.path.samestat(link.stat(), status) for link in Path(f"/proc/{pid}/fd").iterdir())
    except OSError:
        return False  # not ours to look at, so not proved
