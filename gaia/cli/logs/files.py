"""Reads the log files of a folder in the order of time, and follows them while they grow and rotate."""

from __future__ import annotations

import heapq
import math
import os
import re
import time
from collections import deque
from collections.abc import Generator, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType

from gaia.cli.logs.lines import Line, Wanted, line_of

_NAME = re.compile(r"(.+)\.log(?:\.(\d+))?")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LOOK_S = 0.25


def ends_of(folder: Path) -> dict[Path, int]:
    """Return the growing files of a folder and their sizes, from which `follow` goes on."""
    return {path: path.stat().st_size for path in _present(folder)}


def last_lines(
    folder: Path, wanted: Wanted, count: int, ends: Mapping[Path, int] = MappingProxyType({})
) -> list[Line]:
    """Return the newest `count` lines of all files that `wanted` chooses, in the order of time.

    Parameters
    ----------
    ends
        File -> number of its bytes to read; others are read as a whole.

    Raises
    ------
    OSError
        If a file cannot be read.
    """
    streams = [_lines_of(files, ends) for files in _families(folder, wanted).values()]
    merged = heapq.merge(*streams, key=lambda line: line.at)
    return list(deque((line for line in merged if wanted.is_met_by(line)), maxlen=count))


def follow(folder: Path, wanted: Wanted, ends: Mapping[Path, int]) -> Generator[list[Line], None, None]:
    """Yield the lines beyond `ends` and all that are written later, in batches; rotation loses none."""
    tails = {path: _Tail(path, end) for path, end in ends.items()}
    try:
        while True:
            for path in _present(folder):
                if path not in tails:
                    tails[path] = _Tail(path, 0)
            lines = sorted(
                (line for tail in tails.values() for line in tail.read()), key=lambda line: line.at
            )
            yield [line for line in lines if wanted.is_met_by(line)]
            time.sleep(_LOOK_S)
    finally:
        for tail in tails.values():
            tail.close()


class _Tail:
    """The unread end of one file."""

    def __init__(self, path: Path, start: int) -> None:
        self._path = path
        self._file = path.open("rb")
        self._file.seek(start)
        self._rest = b""
        self._at = datetime.now(UTC)

    def close(self) -> None:
        self._file.close()

    def read(self) -> Iterator[Line]:
        """Yield the whole lines that were written since the last call."""
        yield from self._read()
        if self._is_replaced():
            if self._rest:
                # Whoever wrote it was killed in the middle of the line.
                yield line_of(self._rest.decode(errors="replace"), self._at)
            self._file.close()
            self._file, self._rest = self._path.open("rb"), b""
            yield from self._read()

    def _read(self) -> Iterator[Line]:
        *whole, self._rest = (self._rest + self._file.read()).split(b"\n")
        for raw in whole:
            line = line_of(raw.decode(errors="replace"), self._at)
            self._at = line.at
            yield line

    def _is_replaced(self) -> bool:
        try:
            there = self._path.stat()
        except FileNotFoundError:
            return False  # between the renaming and the first line of the new file
        mine = os.fstat(self._file.fileno())
        return (there.st_dev, there.st_ino) != (mine.st_dev, mine.st_ino) or there.st_size < self._file.tell()


def _present(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*.log") if path.is_file())


def _families(folder: Path, wanted: Wanted) -> dict[str, list[Path]]:
    """Return name -> its files, the oldest first, without those that end before the wanted time."""
    found: dict[str, list[tuple[int, Path]]] = {}
    for path in folder.iterdir():
        match = _NAME.fullmatch(path.name)
        if match is None or not path.is_file():
            continue
        if wanted.since is not None and path.stat().st_mtime < wanted.since.timestamp():
            continue
        found.setdefault(match[1], []).append((int(match[2] or 0), path))
    return {name: [path for _, path in sorted(files, reverse=True)] for name, files in sorted(found.items())}


def _lines_of(files: list[Path], ends: Mapping[Path, int]) -> Iterator[Line]:
    at = _EPOCH
    for path in files:
        left = ends.get(path, math.inf)
        with path.open("rb") as file:
            for raw in file:
                left -= len(raw)
                if left < 0:
                    break  # it was written later, or only a part of it was there
                line = line_of(raw.decode(errors="replace").rstrip("\n"), at)
                at = line.at
                yield line
