"""Handlers: hold the errors of a lead's forecasts against each other, and say who shares work."""

from __future__ import annotations

import hashlib
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from gaia.tasks.defined_tasks.weather.copies.sketch_layout import PUBLIC, product_name, sketch_name
from gaia.tasks.defined_tasks.weather.units import (
    FindOverlaps,
    KeptProducts,
    MakeProducts,
    Overlaps,
    ProductsMade,
)
from gaia.tasks.defined_tasks.weather.validator.blends import best_blend
from gaia.tasks.defined_tasks.weather.validator.copies.sketches import (
    POINTS,
    Floats,
    in_units,
    overlaps,
    own_errors,
)
from gaia.validator.utils.errors import TransientError
from gaia.validator.utils.files import put_file

DIGITS: Final = 6
"""Decimals of an overlap: what processors do differently in its last bits is not kept."""
_SKETCH_BYTES: Final = 4 * POINTS

Floats32 = NDArray[np.float32]


def make_products(unit: MakeProducts) -> ProductsMade:
    """Multiply the errors of all forecasts of a lead with each other; keep the products by their digest.

    A field counts by its errors in units of the best public forecast's (`sketches.in_units`),
    and by its own errors (`sketches.own_errors`); both are added up over the fields.

    The file is little-endian float64: the upper triangle of the products of whole errors,
    then that of own errors, row by row.

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
    whole, own = (np.zeros((len(there), len(there))) for _ in range(2))
    try:
        if there:
            paths = [folder / sketch_name(hotkey) for hotkey in there]
            for errors, known in _fields(paths, public, unit.fields, baselines):
                _add_field(whole, own, errors, known)
        sha256 = _keep(np.concatenate([_triangle(whole), _triangle(own)]), Path(unit.out_dir))
    except OSError as error:
        raise TransientError(f"the Gram matrix cannot be computed: {error}") from error
    absent = [hotkey for hotkey in unit.hotkeys if hotkey not in set(there)]
    return ProductsMade(sha256=sha256, hotkeys=there, absent=absent)


def find_overlaps(unit: FindOverlaps) -> Overlaps:
    """Add the products of the window up, and say how much of the work of each two is the same.

    Products of whole errors are means over the leads that both have, so that who has
    few does not seem to err little; those of own errors are sums, in which a lead
    that one of them lacks is nothing they share. Overlaps have `DIGITS` decimals.

    Raises
    ------
    TransientError
        If the disk fails.
    """
    count = len(unit.hotkeys)
    whole, own, together = (np.zeros((count, count)) for _ in range(3))
    missing = []
    for kept in unit.products:
        products = _read(kept)
        if products is None:
            missing.append(kept.sha256)
            continue
        places = [(here, there) for here, there in enumerate(kept.places) if there is not None]
        here, there = ([pair[side] for pair in places] for side in (0, 1))
        for total, part in zip((whole, own), products, strict=True):
            total[np.ix_(here, here)] += part[np.ix_(there, there)]
        together[np.ix_(here, here)] += 1.0
    shared = overlaps(whole / np.maximum(together, 1.0), own).round(DIGITS)
    pairs = [
        (unit.hotkeys[one], unit.hotkeys[other], float(shared[one, other]))
        for one, other in zip(*np.nonzero(np.triu(shared, 1)), strict=True)
    ]
    return Overlaps(pairs=pairs, missing=missing)


def _add_field(whole: Floats, own: Floats, errors: Floats32, known: Floats32) -> None:
    """Add the products of one field's errors, (forecast, point); `known` are those of public forecasts."""
    unit = _least_public(known)
    if unit > 0.0:
        scaled = in_units(errors.astype(np.float64), known, unit)
        whole += scaled @ scaled.T
    left = own_errors(errors, known).astype(np.float64)
    own += left @ left.T


def _least_public(known: Floats32) -> float:
    """Return the square error of the best public forecast, their best blend included."""
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
    """Yield the errors of forecasts and of public ones field by field: memory does not grow with fields."""
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
    """Write values under the name of their digest, on disk before it is told; return the digest."""
    content = values.astype("<f8").tobytes()
    sha256 = hashlib.sha256(content).hexdigest()
    directory.mkdir(parents=True, exist_ok=True)
    put_file(directory / product_name(sha256), content, sync=True)
    return sha256


def _read(kept: KeptProducts) -> tuple[Floats, Floats] | None:
    """Return the products (whole, own) of a lead; None if they are gone or not what was kept.

    Raises
    ------
    TransientError
        If the disk fails: what can't be read now is not gone.
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
