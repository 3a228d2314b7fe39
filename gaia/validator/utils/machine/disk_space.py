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
