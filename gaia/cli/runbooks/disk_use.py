"""Measures what fills the disk of the data folder: once, for all causes that ask."""

from __future__ import annotations

import os
from functools import cached_property
from pathlib import Path

from gaia.validator.utils.machine.disk_space import Space, space_of

ELSEWHERE = "elsewhere"
"""Name of everything that is on the disk and not in the data folder."""


class DiskUse:
    """The disk of a data folder, which is looked at when the first cause asks for it."""

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir

    @cached_property
    def free_share(self) -> float:
        """Free share of the disk, from 0 to 1."""
        return self._space.share_free

    @cached_property
    def sizes(self) -> dict[str, int]:
        """Folder of the data folder -> bytes on disk, and the rest as "elsewhere", largest first."""
        return used_by_folder(self._data_dir, self._space.used)

    @cached_property
    def _space(self) -> Space:
        return space_of(self._data_dir)


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
