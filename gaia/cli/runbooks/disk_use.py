"""Measures what fills the disk of the data folder: once, for all causes that ask."""

from __future__ import annotations

import os
import shutil
from functools import cached_property
from pathlib import Path

ELSEWHERE = "elsewhere"
"""Name of everything that is on the disk and not in the data folder."""


class DiskUse:
    """The disk of a data folder, which is looked at when the first cause asks for it."""

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir

    @cached_property
    def free_share(self) -> float:
        """Free share of the disk, from 0 to 1."""
        return self._usage[1]

    @cached_property
    def sizes(self) -> dict[str, int]:
        """Folder of the data folder -> bytes on disk, and the rest as "elsewhere", largest first."""
        return used_by_folder(self._data_dir, self._usage[0])

    @cached_property
    def _usage(self) -> tuple[int, float]:
        usage = shutil.disk_usage(self._data_dir)
        return usage.used, usage.free / usage.total


def used_by_folder(data_dir: Path, used: int) -> dict[str, int]:
    """Return folder of `data_dir` -> bytes on disk, and the rest of `used` as "elsewhere", largest first."""
    sizes = {
        entry.name: _size(Path(entry.path))
        for entry in os.scandir(data_dir)
        if entry.is_dir(follow_symlinks=False)
    }
    sizes[ELSEWHERE] = max(0, used - sum(sizes.values()))
    return dict(sorted(sizes.items(), key=lambda entry: -entry[1]))


def _size(folder: Path) -> int:
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            try:
                total += Path(place, name).lstat().st_blocks * 512
            except OSError:
                continue  # it was deleted meanwhile
    return total
