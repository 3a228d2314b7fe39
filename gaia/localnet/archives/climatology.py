"""Serves the climatology in WeatherBench2's layout: zarr v2 by hour and day of year, made chunk by chunk."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from numcodecs import Blosc

from gaia.tasks.defined_tasks.weather.variables import GRIDS, VARIABLES, split_field

if TYPE_CHECKING:
    from gaia.localnet.weather.replay import WeatherReplay

HOURS = (0, 6, 12, 18)
DAYS = 366

_CODEC = {"id": "blosc", "cname": "lz4", "clevel": 5, "shuffle": 1, "blocksize": 0}


class ClimatologyStore:
    """Objects of one store, by their path in it.

    All hours and days of the year have the same values, because the replayed week is too
    short to distinguish them.
    """

    def __init__(self, replay: WeatherReplay, grid: str, fields: Sequence[str]) -> None:
        self._replay = replay
        self._grid = grid
        self._fields = frozenset(fields)
        split = [split_field(field) for field in fields]
        self._names = {VARIABLES[name].climatology_name: name for name, _ in split}
        self._levels = sorted({level for _, level in split if level is not None})
        self._field_chunk = lru_cache(maxsize=None)(self._encode_field)
        lats, lons = GRIDS[grid]
        self.name = f"1990-2019_6h_{lons}x{lats}.zarr"

    def read(self, path: str) -> bytes | None:
        """Return the object at `path`, such as "2m_temperature/0.31.0.0", or None."""
        if path == ".zmetadata":
            return json.dumps({"zarr_consolidated_format": 1, "metadata": self._metadata}).encode()
        if path in self._metadata:
            return json.dumps(self._metadata[path]).encode()
        array, _, chunk = path.partition("/")
        if f"{array}/.zarray" not in self._metadata or not self._has_chunk(array, chunk):
            return None
        if array in self._names:
            return self._field_chunk(array)
        return bytes(self._coordinates[array].tobytes())

    def write_metadata(self, directory: Path) -> None:
        """Write all objects except the chunks of fields below `directory`."""
        chunks = [f"{name}/0" for name in self._coordinates]
        for path in [".zmetadata", *self._metadata, *chunks]:
            content = self.read(path)
            assert content is not None
            target = directory / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)

    @cached_property
    def _coordinates(self) -> dict[str, npt.NDArray[Any]]:
        lats, lons = GRIDS[self._grid]
        coordinates: dict[str, npt.NDArray[Any]] = {
            "hour": np.array(HOURS, "<i8"),
            "dayofyear": np.arange(1, DAYS + 1, dtype="<i8"),
            "latitude": np.linspace(90.0, -90.0, lats).astype("<f4"),
            "longitude": (np.arange(lons) * (360.0 / lons)).astype("<f4"),
        }
        if self._levels:
            coordinates["level"] = np.array(self._levels, "<i8")
        return coordinates

    @cached_property
    def _metadata(self) -> Mapping[str, Mapping[str, Any]]:
        metadata: dict[str, Mapping[str, Any]] = {".zgroup": {"zarr_format": 2}, ".zattrs": {}}
        for name, values in self._coordinates.items():
            metadata |= _array(name, [name], values.shape, values.shape, values.dtype.str, None)
        for name in self._names:
            dimensions = self._dimensions(name)
            shape = [len(self._coordinates[dimension]) for dimension in dimensions]
            metadata |= _array(name, dimensions, shape, [1, 1, *shape[2:]], "<f4", _CODEC)
        return metadata

    def _dimensions(self, array: str) -> list[str]:
        levels = ["level"] if VARIABLES[self._names[array]].has_levels else []
        return ["hour", "dayofyear", *levels, "latitude", "longitude"]

    def _has_chunk(self, array: str, chunk: str) -> bool:
        description = self._metadata[f"{array}/.zarray"]
        counts = [-(-n // size) for n, size in zip(description["shape"], description["chunks"], strict=True)]
        indices = chunk.split(".")
        return len(indices) == len(counts) and all(
            index.isdecimal() and int(index) < count for index, count in zip(indices, counts, strict=True)
        )

    def _encode_field(self, array: str) -> bytes:
        variable = self._names[array]
        if VARIABLES[variable].has_levels:
            values = np.stack([self._plane(f"{variable}{level}") for level in self._levels])
        else:
            values = self._plane(variable)
        encoded: bytes = Blosc.from_config({k: v for k, v in _CODEC.items() if k != "id"}).encode(values)
        return encoded

    def _plane(self, field: str) -> npt.NDArray[np.float32]:
        if field not in self._fields:
            return np.full(GRIDS[self._grid], np.nan, np.float32)
        return self._replay.climatology(field, self._grid)


def _array(
    name: str,
    dimensions: Sequence[str],
    shape: Sequence[int],
    chunks: Sequence[int],
    dtype: str,
    compressor: Mapping[str, object] | None,
) -> dict[str, Mapping[str, Any]]:
    """Return the two metadata objects of one array."""
    return {
        f"{name}/.zarray": {
            "zarr_format": 2,
            "shape": list(shape),
            "chunks": list(chunks),
            "dtype": dtype,
            "compressor": compressor,
            "fill_value": "NaN" if "f" in dtype else None,
            "filters": None,
            "order": "C",
        },
        f"{name}/.zattrs": {"_ARRAY_DIMENSIONS": list(dimensions)},
    }
