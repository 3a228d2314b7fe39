"""Measures the disk space that each kind of file in the data folder uses."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from gaia.validator.utils.tallies import OTHER

DiskUse = Mapping[str, int]
"""Kind -> bytes on disk."""

_KIND_OF: Final[Mapping[str, str]] = {
    "spool": "spool",
    "raw": "references",
    "fields": "references",
    "sketches": "copies",
    "products": "copies",
    "postgres": "postgres",
    "backups": "backups",
    "logs": "logs",
}
"""Folder in the data folder -> kind of its files."""
KINDS: Final = (*dict.fromkeys(_KIND_OF.values()), OTHER)

_BLOCK_BYTES = 512
_ENTRIES_AT_A_TIME = 200
_REST_S = 0.01
"""Pause after some entries, because a thread that never rests delays the event loop."""


def measure(data_dir: Path, stop: threading.Event) -> DiskUse:
    """Return the bytes that each of `KINDS` uses; runs in a thread, for a minute or more if there are many files.

    What cannot be read, or vanishes meanwhile, counts as nothing.

    Parameters
    ----------
    stop
        Set by another thread to end at once; what was counted so far is then returned.
    """
    used = dict.fromkeys(KINDS, 0)
    waiting = [(str(data_dir), "")]
    while waiting and not stop.is_set():
        folder, kind = waiting.pop()
        for number, entry in enumerate(_entries(folder), 1):
            if number % _ENTRIES_AT_A_TIME == 0 and stop.wait(_REST_S):
                break
            its_kind = kind or _KIND_OF.get(entry.name, OTHER)
            try:
                used[its_kind] += entry.stat(follow_symlinks=False).st_blocks * _BLOCK_BYTES
                if entry.is_dir(follow_symlinks=False):
                    waiting.append((entry.path, its_kind))
            except OSError:
                continue
    return used


def _entries(folder: str) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            yield from entries
    except OSError:
        return
