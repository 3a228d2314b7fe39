"""Handlers that compute Gram matrices of forecast errors, and pairwise overlaps."""

from __future__ import annotations

import hashlib
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from gaia.tasks.defined_tasks.weather.copies.sketch_layout import PUBLIC, matrix_name, sketch_name
from gaia.tasks.defined_tasks.weather.units import (
    ComputeGramMatrix,
    FindOverlaps,
    GramMatrixComputed,
    Overlaps,
    StoredGramMatrix,
)
from gaia.tasks.defined_tasks.weather.validator.blends import best_blend
from gaia.tasks.defined_tasks.weather.validator.copies.sketches import (
    POINTS,
    Floats,
    in_units,
    overlaps,
    residual_errors,
)
from gaia.validator.utils.errors import TransientError
from gaia.validator.utils.files import put_file

DIGITS: Final = 6
"""Decimals of an overlap; rounding removes differences between processors."""
_SKETCH_BYTES: Final = 4 * POINTS

Floats32 = NDArray[np.float32]


def compute_gram_matrix(unit: ComputeGramMatrix) -> GramMatrixComputed:
    """Compute the Gram matrices of the errors of all forecasts at a lead; store them under their digest.

    One matrix holds raw errors in units of the best public forecast's error (`sketches.in_units`),
    the other residual errors (`sketches.residual_errors`). Both are summed over the fields.

    The file is little-endian float64: the upper triangle of the raw matrix, then that of the
    residual matrix, row by row.

    Raises
    ------
    TransientError
        If the disk fails.
    """
    folder, size = Path(unit.folder), unit.fields * _SKETCH_BYTES
    there = [hotkey for hotkey in unit.hotkeys if _size_of(folder / sketch_name(hotkey)) == size]
    public = folder / PUBLIC
    baselines, rest = divmod(_size_of(public), size)
    if rest or baselines < 1:
        there = []
    raw, residual = (np.zeros((len(there), len(there))) for _ in range(2))
    try:
        if there:
            paths = [folder / sketch_name(hotkey) for hotkey in there]
            for errors, known in _fields(paths, public, unit.fields, baselines):
                _add_field(raw, residual, errors, known)
        sha256 = _keep(np.concatenate([_triangle(raw), _triangle(residual)]), Path(unit.out_dir))
    except OSError as error:
        raise TransientError(f"the Gram matrix cannot be computed: {error}") from error
    absent = [hotkey for hotkey in unit.hotkeys if hotkey not in set(there)]
    return GramMatrixComputed(sha256=sha256, hotkeys=there, absent=absent)


def pairwise_overlaps(unit: FindOverlaps) -> Overlaps:
    """Sum the Gram matrices of the window, and return the overlap of each two hotkeys.

    Products of raw errors are averaged over the common leads of two hotkeys, so that few leads do
    not look like small errors. Products of residual errors are summed, so that a lead that one of
    them lacks adds nothing. Overlaps have `DIGITS` decimals.

    Raises
    ------
    TransientError
        If the disk fails.
    """
    count = len(unit.hotkeys)
    raw, residual, in_common = (np.zeros((count, count)) for _ in range(3))
    missing = []
    for kept in unit.products:
        matrices = _read(kept)
        if matrices is None:
            missing.append(kept.sha256)
            continue
        places = [(here, there) for here, there in enumerate(kept.places) if there is not None]
        here, there = ([pair[side] for pair in places] for side in (0, 1))
        for total, part in zip((raw, residual), matrices, strict=True):
            total[np.ix_(here, here)] += part[np.ix_(there, there)]
        in_common[np.ix_(here, here)] += 1.0
    shared = overlaps(raw / np.maximum(in_common, 1.0), residual).round(DIGITS)
    pairs = [
        (unit.hotkeys[one], unit.hotkeys[other], float(shared[one, other]))
        for one, other in zip(*np.nonzero(np.triu(shared, 1)), strict=True)
    ]
    return Overlaps(pairs=pairs, missing=missing)


def _add_field(raw: Floats, residual: Floats, errors: Floats32, known: Floats32) -> None:
    """Add one field's errors (forecast, point) to the matrices; `known` are the errors of public forecasts."""
    unit = _least_public(known)
    if unit > 0.0:
        scaled = in_units(errors.astype(np.float64), known, unit)
        raw += scaled @ scaled.T
    left = residual_errors(errors, known).astype(np.float64)
    residual += left @ left.T


def _least_public(known: Floats32) -> float:
    """Return the squared error of the best public forecast, including their best blend."""
    among = known.astype(np.float64) @ known.T.astype(np.float64)
    names = [str(place) for place in range(len(known))]
    gram = {
        (one, other): float(among[i, j])
        for i, one in enumerate(names)
        for j, other in enumerate(names)
        if i <= j
    }
    blended = best_blend(gram)
    return min(float(among.diagonal().min()), np.inf if blended is None else blended)


def _fields(
    paths: Sequence[Path], public: Path, fields: int, baselines: int
) -> Iterator[tuple[Floats32, Floats32]]:
    """Yield the errors of forecasts and public forecasts field by field; memory does not grow with fields."""
    errors = np.empty((len(paths), POINTS), "<f4")
    known = np.empty((baselines, POINTS), "<f4")
    for field in range(fields):
        for row, path in zip(errors, paths, strict=True):
            _read_into(row, path, field * _SKETCH_BYTES)
        _read_into(known, public, field * known.nbytes)
        yield errors, known


def _read_into(values: Floats32, path: Path, offset: int) -> None:
    with path.open("rb") as file:
        file.seek(offset)
        content = file.read(values.nbytes)
    if len(content) != values.nbytes:
        raise OSError(f"{path.name} ended early")
    values[...] = np.frombuffer(content, "<f4").reshape(values.shape)


def _triangle(matrix: Floats) -> Floats:
    return matrix[np.triu_indices(len(matrix))]


def _keep(values: Floats, directory: Path) -> str:
    """Write values to a file named by their digest, flushed to disk; return the digest."""
    content = values.astype("<f8").tobytes()
    sha256 = hashlib.sha256(content).hexdigest()
    directory.mkdir(parents=True, exist_ok=True)
    put_file(directory / matrix_name(sha256), content, sync=True)
    return sha256


def _read(kept: StoredGramMatrix) -> tuple[Floats, Floats] | None:
    """Return the matrices (raw, residual) of a lead; None if they are missing or damaged.

    Raises
    ------
    TransientError
        If the disk fails, because an unreadable file is not a missing one.
    """
    path, size = Path(kept.path), 8 * kept.size * (kept.size + 1)
    if _size_of(path) != size:
        return None
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise TransientError(f"the Gram matrix cannot be read: {error}") from error
    if hashlib.sha256(content).hexdigest() != kept.sha256:
        return None
    return tuple(_square(part, kept.size) for part in np.split(np.frombuffer(content, "<f8"), 2))  # type: ignore[return-value]


def _square(triangle: Floats, size: int) -> Floats:
    matrix = np.zeros((size, size))
    matrix[np.triu_indices(size)] = triangle
    return matrix + np.triu(matrix, 1).T


def _size_of(path: Path) -> int:
    """Return the size of a regular file; -1 if there is none."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return -1
    except OSError as error:
        raise TransientError(f"{path.name} cannot be examined: {error}") from error
    return found.st_size if stat.S_ISREG(found.st_mode) else -1
