"""Reads single fields from the mirrored chunks of the WeatherBench2 climatology."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numcodecs
import numpy as np
import numpy.typing as npt

from gaia.tasks.defined_tasks.weather.validator.physical_units import factor_of
from gaia.tasks.defined_tasks.weather.variables import GRIDS, VARIABLES, split_field
from gaia.validator.utils.errors import TransientError

Field = npt.NDArray[np.float32]

_CODECS = frozenset({"blosc", "zstd", "zlib", "lz4"})
_DTYPES = frozenset({"<f4", "<f8", "<i2", "<i4", "<i8"})
_HOURS_A_DAY = 24
_LONGEST_AXIS = 10_000
_DECIMALS = 3
"""Tolerance of coordinates, in degrees."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Array:
    name: str
    dimensions: tuple[str, ...]
    shape: tuple[int, ...]
    chunks: tuple[int, ...]
    dtype: str
    compressor: Mapping[str, Any] | None
    separator: str
    unit: str
    """Unit in the store's spelling; "" if it has none."""
    scale: float
    offset: float
    """Value = stored number * `scale` + `offset`."""


class ClimatologyReader:
    """Fields of a zarr v2 store in `directory` of which only some chunks are present.

    Dimensions may have any order, and coordinates any direction. A finer grid than requested is
    thinned out.

    Raises
    ------
    TransientError
        If the metadata cannot be read.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        try:
            self._metadata: Mapping[str, Mapping[str, Any]] = json.loads(
                (directory / ".zmetadata").read_text()
            )["metadata"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise TransientError(f"climatology metadata cannot be read: {error}") from error

    def field(self, name: str, valid_time: datetime, grid: str) -> Field:
        """Return the climatology (lat, lon) of a field for the hour and day of year of `valid_time`.

        Between two hours of the store, the earlier one is used.

        Raises
        ------
        TransientError
            If it cannot be read, or lacks the field, the time or a grid point. Also if it has
            another unit, or its hours are not evenly spaced from 0.
        """
        variable, level = split_field(name)
        array = self._array(VARIABLES[variable].climatology_name)
        if not {"latitude", "longitude"} <= set(array.dimensions):
            raise TransientError(f"climatology of {array.name} has dimensions {array.dimensions}")
        moment = valid_time.astimezone(UTC)
        wanted = {"hour": moment.hour, "dayofyear": moment.timetuple().tm_yday, "level": level}
        fixed = {
            axis: self._position(dimension, wanted.get(dimension))
            for axis, dimension in enumerate(array.dimensions)
            if dimension not in ("latitude", "longitude")
        }
        unit = VARIABLES[variable].unit
        if (factor := factor_of(array.unit or unit, unit)) is None:
            raise TransientError(f"climatology holds {array.name} in {array.unit}, not in {unit}")
        for dimension, size in zip(array.dimensions, array.shape, strict=True):
            if (length := self._coordinate(dimension).size) != size:
                raise TransientError(f"climatology of {array.name} has {size} of {length} {dimension}")
        plane = self._plane(array, fixed) * factor
        if array.dimensions.index("latitude") > array.dimensions.index("longitude"):
            plane = plane.T
        return _thinned(plane, self._coordinate("latitude"), self._coordinate("longitude"), grid)

    def _position(self, dimension: str, value: int | None) -> int:
        """Return the index of `value` along a coordinate; for an hour, that of the last hour not after it."""
        coordinate = self._coordinate(dimension)
        # The mirror chose the chunks by position, which is only right for such hours.
        if dimension == "hour" and not np.array_equal(
            coordinate, np.arange(coordinate.size) * (_HOURS_A_DAY / coordinate.size)
        ):
            raise TransientError(f"climatology is given for the hours {coordinate.tolist()}")
        sought = np.nan if value is None else float(value)
        matches = coordinate <= sought if dimension == "hour" else coordinate == sought
        if not matches.any():
            raise TransientError(f"climatology lacks {dimension} {value}")
        return int(np.where(matches, coordinate, -np.inf).argmax())

    def _coordinate(self, name: str) -> npt.NDArray[np.float64]:
        array = self._array(name)
        if len(array.shape) != 1:
            raise TransientError(f"climatology coordinate {name} has shape {array.shape}")
        return self._plane(array, {}).astype(np.float64)

    def _plane(self, array: _Array, fixed: Mapping[int, int]) -> npt.NDArray[Any]:
        """Return the values of `array` at the `fixed` indices, with the other dimensions in the store's order."""
        free = [axis for axis in range(len(array.shape)) if axis not in fixed]
        plane = np.empty([array.shape[axis] for axis in free], array.dtype)
        counts = [range(-(-array.shape[axis] // array.chunks[axis])) for axis in free]
        for place in itertools.product(*counts):
            indices = {axis: fixed[axis] // array.chunks[axis] for axis in fixed}
            indices |= dict(zip(free, place, strict=True))
            chunk = self._chunk(array, [indices[axis] for axis in range(len(array.shape))])
            part = chunk[
                tuple(
                    fixed[axis] % array.chunks[axis] if axis in fixed else slice(None)
                    for axis in range(len(array.shape))
                )
            ]
            target = tuple(
                slice(index * array.chunks[axis], (index + 1) * array.chunks[axis])
                for axis, index in zip(free, place, strict=True)
            )
            room = plane[target]
            room[...] = part[tuple(slice(0, size) for size in room.shape)]
        return plane if (array.scale, array.offset) == (1.0, 0.0) else plane * array.scale + array.offset

    def _chunk(self, array: _Array, indices: Sequence[int]) -> npt.NDArray[Any]:
        path = self._directory / array.name / array.separator.join(map(str, indices))
        try:
            content = path.read_bytes()
            if array.compressor is not None:
                content = numcodecs.get_codec(dict(array.compressor)).decode(content)
            return np.frombuffer(content, array.dtype).reshape(array.chunks)
        except (OSError, ValueError, TypeError, RuntimeError) as error:
            raise TransientError(f"climatology chunk {array.name} {list(indices)}: {error}") from error

    def _array(self, name: str) -> _Array:
        try:
            description = self._metadata[f"{name}/.zarray"]
            attributes = self._metadata[f"{name}/.zattrs"]
            array = _Array(
                name=name,
                dimensions=tuple(attributes["_ARRAY_DIMENSIONS"]),
                shape=tuple(description["shape"]),
                chunks=tuple(description["chunks"]),
                dtype=description["dtype"],
                compressor=description["compressor"],
                separator=description.get("dimension_separator", "."),
                unit=str(attributes.get("units", "")),
                scale=float(attributes.get("scale_factor", 1.0)),
                offset=float(attributes.get("add_offset", 0.0)),
            )
            is_readable = (
                array.dtype in _DTYPES
                and (array.compressor is None or array.compressor["id"] in _CODECS)
                and not description.get("filters")
                and description["order"] == "C"
                and len(array.dimensions) == len(array.shape) == len(array.chunks)
                and all(1 <= size <= _LONGEST_AXIS for size in (*array.shape, *array.chunks))
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise TransientError(f"climatology does not describe {name}: {error!r}") from error
        if not is_readable:
            raise TransientError(f"climatology holds {name} in a form that is not read here: {description}")
        return array


def _thinned(
    plane: npt.NDArray[Any],
    lat: npt.NDArray[np.float64],
    lon: npt.NDArray[np.float64],
    grid: str,
) -> Field:
    """Return the rows and columns of (lat, lon) that lie on the grid, in its order."""
    lats, lons = GRIDS[grid]
    rows = _find(lat, np.linspace(90.0, -90.0, lats), "latitude")
    columns = _find(lon % 360.0, np.arange(lons) * (360.0 / lons), "longitude")
    return np.ascontiguousarray(plane[np.ix_(rows, columns)], dtype=np.float32)


def _find(have: npt.NDArray[np.floating], want: npt.NDArray[np.floating], name: str) -> list[int]:
    places = {round(float(value), _DECIMALS): index for index, value in enumerate(have)}
    try:
        return [places[round(float(value), _DECIMALS)] for value in want]
    except KeyError as error:
        raise TransientError(f"climatology lacks {name} {error}") from error
