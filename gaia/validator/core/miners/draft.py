"""A file that is written beside its place and takes it once it is whole; every failure of it is ours."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from gaia.validator.utils.borders import Party, border
from gaia.validator.utils.errors import OwnFailure


class Draft:
    """Use it as a context: what was not kept by its end is removed.

    Every method raises `OwnFailure` where the disk fails, so that a failure of
    the network in between cannot be taken for one.

    Parameters
    ----------
    target
        Where the file belongs; folders are made.
    """

    def __init__(self, target: Path) -> None:
        self._target = target
        self._draft = target.with_name(f".{target.name}.part")
        with our_disk(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            self._file = self._draft.open("wb")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with our_disk(self._target):
            try:
                self._file.close()
            finally:
                self._draft.unlink(missing_ok=True)

    def write(self, piece: bytes) -> None:
        with our_disk(self._target):
            self._file.write(piece)

    def keep(self) -> None:
        """Close the file and put it in its place."""
        with our_disk(self._target):
            self._file.close()
            self._draft.replace(self._target)


@contextmanager
def our_disk(path: Path) -> Iterator[None]:
    """Turn every failure of the body, which touches nothing but files, into `OwnFailure`."""
    with border(Party.DISK, f"storing {path.name}"):
        try:
            yield
        except OSError as error:
            raise OwnFailure(f"{path.name} cannot be stored: {error.strerror}") from error
