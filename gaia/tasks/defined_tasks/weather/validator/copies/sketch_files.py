"""Writes files of sketches field by field; a file appears only when it is complete."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from gaia.tasks.defined_tasks.weather.copies.sketch_layout import PUBLIC
from gaia.validator.utils.errors import OwnFailure
from gaia.validator.utils.files import Draft

Sketch = NDArray[np.float32]


class SketchFile:
    """One file of little-endian float32, one sketch after another; memory does not grow with the file.

    Raises
    ------
    OwnFailure
        If the disk fails.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._draft: Draft | None = None

    def add(self, sketch: Sketch) -> None:
        try:
            if self._draft is None:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                self._draft = Draft(self._path)
            self._draft.write(np.ascontiguousarray(sketch, "<f4").tobytes())
            # A batch can have more sketches than the sandbox allows descriptors.
            self._draft.pause()
        except OSError as error:
            raise OwnFailure(f"{self._path.name} cannot be written: {error}") from error

    def keep(self) -> None:
        """Publish the file, in place of any from an earlier attempt."""
        if self._draft is None:
            raise OwnFailure(f"{self._path.name} cannot be kept: nothing was added")
        try:
            self._draft.keep()
        except OSError as error:
            raise OwnFailure(f"{self._path.name} cannot be kept: {error}") from error

    def drop(self) -> None:
        if self._draft is not None:
            self._draft.drop()


class LeadSketches:
    """The sketches of one unit and lead: of each forecast with a path, and of the public forecasts.

    Use it as a context: the files are published if the body ends without an error. The argument
    maps the name of each forecast to the path of its sketch, "" for none.
    """

    def __init__(self, wanted: Mapping[str, str]) -> None:
        self._files = {name: SketchFile(Path(path)) for name, path in wanted.items() if path}
        folders = {Path(path).parent for path in wanted.values() if path}
        self._public = [SketchFile(folder / PUBLIC) for folder in folders if not (folder / PUBLIC).exists()]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for file in (*self._public, *self._files.values()):
            if error is None:
                file.keep()
            else:
                file.drop()

    def of(self, name: str) -> SketchFile | None:
        return self._files.get(name)

    def add_public(self, sketches: Callable[[], Iterable[Sketch]]) -> None:
        """Add one field of the public forecasts, unless an earlier unit has done so or no sketch is made."""
        for file in self._public:
            for sketch in sketches():
                file.add(sketch)

    def drop(self, name: str) -> None:
        """Drop the sketch of a failed forecast."""
        file = self._files.pop(name, None)
        if file is not None:
            file.drop()
