"""Files of sketches: written field by field, in their place only once they are whole."""

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
    """One file of little-endian float32, one sketch after another; memory does not grow with it.

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
            # A batch has more sketches than the sandbox allows descriptors.
            self._draft.pause()
        except OSError as error:
            raise OwnFailure(f"{self._path.name} cannot be written: {error}") from error

    def keep(self) -> None:
        """Put what was added in its place, where what an earlier attempt left is replaced."""
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
    """The sketches that one unit makes of one lead: of each forecast that asks, and of what is public.

    Use it as a context: what was added is kept if it is left without an error.
    Parameters are the name of each forecast and the path of its sketch, "" for none.
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
        """Add one field of what is public, unless an earlier unit has, or nobody asks."""
        for file in self._public:
            for sketch in sketches():
                file.add(sketch)

    def drop(self, name: str) -> None:
        """Forget the sketch of a forecast that failed."""
        file = self._files.pop(name, None)
        if file is not None:
            file.drop()
