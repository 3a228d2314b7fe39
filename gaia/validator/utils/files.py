"""Atomic writes: the only place that writes a draft beside a file and renames it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from gaia.validator.utils.errors import OwnFailure


class Draft:
    """A file beside its destination, which it replaces when it is kept.

    Every method raises the `OSError` of the disk. Readers of the destination see the former file or
    the new one, never a part.

    Parameters
    ----------
    path
        The destination; its folder must exist.
    sync
        Flush the content to the disk before it replaces the destination, and its name afterwards.
    is_shared
        Other processes may write the same destination at this moment: the draft bears our pid. Otherwise the next
        writer overwrites what a killed one left.
    """

    def __init__(self, path: Path, *, sync: bool = False, is_shared: bool = True) -> None:
        self._path = path
        self._sync = sync
        self._place = path.with_name(f"{path.name}.{os.getpid()}.part" if is_shared else f"{path.name}.part")
        self._file = self._place.open("wb")

    def write(self, content: bytes) -> None:
        """Append `content`."""
        if self._file.closed:
            self._file = self._place.open("ab")
        self._file.write(content)

    def pause(self) -> None:
        """Free the descriptor until the next write, so that many drafts may exist at once."""
        self._file.close()

    def keep(self) -> None:
        """Replace the destination by the draft."""
        if self._sync:
            self.write(b"")
            self._file.flush()
            os.fsync(self._file.fileno())
        self._file.close()
        self._place.replace(self._path)
        if self._sync:
            _flush_folder(self._path.parent)

    def drop(self) -> None:
        """Remove the draft if it was not kept."""
        with suppress(OSError):
            self._file.close()
        self._place.unlink(missing_ok=True)


def put_file(path: Path, content: bytes, *, sync: bool = False) -> None:
    """Replace the file at `path` with `content` in one step; its folder must exist.

    Raises
    ------
    OSError
        If the disk fails; the former file then stays unchanged.
    """
    draft = Draft(path, sync=sync)
    try:
        draft.write(content)
        draft.keep()
    finally:
        with suppress(OSError):
            draft.drop()


def put_folder(draft: Path, place: Path) -> None:
    """Give a finished folder its name, for good; nothing may stand at `place`.

    Raises
    ------
    OSError
        If the disk fails.
    """
    draft.rename(place)
    _flush_folder(place.parent)


@contextmanager
def whole_file(path: Path, *, sync: bool = False) -> Iterator[WholeFile]:
    """Yield a file that appears at `path` only if the body ends without an error; make missing folders.

    One process at a time writes a file so; its draft replaces the one that a killed process left.

    Raises
    ------
    OwnFailure
        If the disk fails. Errors of the body that are not about writing are raised unchanged,
        because a socket's error is not our disk's.
    """
    with _disk(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = Draft(path, sync=sync, is_shared=False)
    try:
        yield WholeFile(draft, path)
        with _disk(path):
            draft.keep()
    finally:
        with suppress(OSError):
            draft.drop()


class WholeFile:
    """The file that the body of `whole_file` writes; it raises disk failures as `OwnFailure`."""

    def __init__(self, draft: Draft, path: Path) -> None:
        self._draft = draft
        self._path = path

    def write(self, content: bytes) -> None:
        """Append `content`."""
        with _disk(self._path):
            self._draft.write(content)


def _flush_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _disk(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OwnFailure(f"{path.name} cannot be stored: {error.strerror or error}") from error
