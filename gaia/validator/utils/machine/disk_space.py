"""Measures the space of a file system as our user can use it."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Space:
    """Space of a file system, in bytes."""

    free: int
    """Bytes that our user can still write."""
    used: int

    @property
    def size(self) -> int:
        """All bytes that our user can use; what only root may write does not count."""
        return self.used + self.free

    @property
    def share_free(self) -> float:
        """Free share of the size, from 0 to 1; 1 of a file system without a size."""
        return self.free / self.size if self.size else 1.0


def space_of(folder: Path) -> Space:
    """Return the space of the file system that holds `folder`.

    Raises
    ------
    OSError
        If the folder is missing, or cannot be looked at.
    """
    usage = shutil.disk_usage(folder)
    return Space(free=usage.free, used=usage.used)


def limited(space: Space, most_bytes: int, used_bytes: int) -> Space:
    """Return the part of a file system's space that one folder may use.

    Parameters
    ----------
    most_bytes
        Bytes that the folder may use; 0: as much as there is.
    used_bytes
        Bytes that it uses.

    Examples
    --------
    >>> limited(Space(free=100, used=50), 60, 20)
    Space(free=40, used=20)
    """
    if not most_bytes:
        return space
    free = max(0, min(space.free, most_bytes - used_bytes))
    return Space(free=free, used=min(space.size, most_bytes) - free)


class LastMeasured:
    """Bytes that the data folder used when they were last counted, which takes a minute."""

    used_bytes = 0
    """0: they were not counted yet."""


DATA_FOLDER = LastMeasured()
"""What the observation counted; downloads ask for it."""
