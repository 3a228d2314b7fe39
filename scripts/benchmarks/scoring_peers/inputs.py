"""Realistic fields, and all forms in which they are stored."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numcodecs import Blosc
from numpy.typing import NDArray

from gaia.localnet.archives.grib import gfs_file
from gaia.localnet.weather.pack import WeatherPack
from gaia.tasks.defined_tasks.weather.validator.reading.chunks import Contract
from gaia.tasks.defined_tasks.weather.variables import GRIDS, VARIABLES, split_field
from gaia.tasks.defined_tasks.weather.wire.store_layout import chunk_path, file_digest, metadata_path

FIELDS = ("2t", "msl", "10u", "10v", "z500")
INIT = datetime(2026, 3, 25, tzinfo=UTC)
LEAD_HOURS = 12
ROLES = ("truth", "climatology", "baseline")
CODEC = Blosc(cname="zstd", clevel=3, shuffle=Blosc.BITSHUFFLE)

Field = NDArray[np.float32]


def some_fields(grid: str, seed: int) -> dict[str, Field]:
    """Return one state of real ERA5 on `grid`, with noise if the grid is finer than the data."""
    pack, rng = WeatherPack(), np.random.default_rng(seed)
    fields = {}
    for name in FIELDS:
        frames = pack.frames(name)
        values = finer(frames[seed % len(frames)], GRIDS[grid])
        roughness = 0.02 * float(values.std())
        fields[name] = (values + roughness * rng.normal(size=values.shape)).astype(np.float32)
    return fields


def finer(values: Field, shape: tuple[int, int]) -> NDArray[np.float64]:
    """Return values interpolated linearly to `shape`, with periodic longitudes."""
    rows, columns = (np.linspace(0, old - 1, new) for old, new in zip(values.shape, shape, strict=True))
    columns = np.arange(shape[1]) * values.shape[1] / shape[1]
    west, north = np.floor(columns).astype(int), np.minimum(np.floor(rows).astype(int), values.shape[0] - 2)
    across, down = columns - west, (rows - north)[:, None]
    east = (west + 1) % values.shape[1]
    upper = values[north][:, west] * (1 - across) + values[north][:, east] * across
    lower = values[north + 1][:, west] * (1 - across) + values[north + 1][:, east] * across
    return np.asarray(upper * (1 - down) + lower * down, np.float64)


class Day1:
    """One first day: a miner's spooled store, reference fields, and the same data as plain zarr stores."""

    def __init__(self, folder: Path, grid: str, miners: int) -> None:
        self.grid, self.folder = grid, folder
        self.contract = Contract(grid=grid, steps=2, step_hours=6)
        self.fields = {role: some_fields(grid, seed) for seed, role in enumerate(ROLES, start=1)}
        self.forecasts = [some_fields(grid, 10 + miner) for miner in range(miners)]
        self.paths = {role: self._own_fields(role) for role in ROLES}
        self.spools = [self._spool(f"miner-{n}", fields) for n, fields in enumerate(self.forecasts)]

    def payload(self, miner: int = 0) -> dict[str, Any]:
        """Return the payload of `weather.score.day1`."""
        return self._shared() | self.spools[miner]

    def batch(self, size: int) -> dict[str, Any]:
        """Return the payload of `weather.score.batch`."""
        forecasts = {str(place): self.spools[place % len(self.spools)] for place in range(size)}
        return self._shared() | {"kind": "day1", "forecasts": forecasts}

    def zarr_stores(self) -> dict[str, str]:
        """Write every role as a zarr store with one chunk per field; return role -> path."""
        paths = {}
        rows, columns = self.contract.field_shape
        coords = {"lat": np.linspace(90, -90, rows), "lon": np.arange(columns) * 360.0 / columns}
        for role, fields in ({"forecast": self.forecasts[0]} | self.fields).items():
            dataset = xr.Dataset({name: (("lat", "lon"), values) for name, values in fields.items()}, coords)
            encoding = {name: {"chunks": (rows, columns), "compressors": CODEC} for name in fields}
            paths[role] = str(self.folder / f"{role}.zarr")
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                dataset.to_zarr(paths[role], mode="w", zarr_format=2, encoding=encoding)
        return paths

    def sources(self) -> dict[str, Path]:
        """Write the GFS files from which the reference fields are decoded."""
        paths = {}
        for role, (init_time, lead) in {
            "truth": (INIT.replace(hour=LEAD_HOURS), 0),
            "baseline": (INIT, LEAD_HOURS),
        }.items():
            paths[role] = self.folder / f"{role}.grib2"
            paths[role].write_bytes(gfs_file(self.fields[role], init_time, lead).content)
        return paths

    def _shared(self) -> dict[str, Any]:
        return {
            "grid": self.grid,
            "steps": self.contract.steps,
            "step_hours": self.contract.step_hours,
            "lead_hours": LEAD_HOURS,
            "fields": list(FIELDS),
            **self.paths,
        }

    def _own_fields(self, role: str) -> dict[str, str]:
        paths = {}
        for name, values in self.fields[role].items():
            path = self.folder / role / f"{name}.f32"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(values.astype("<f4").tobytes())
            paths[name] = str(path)
        return paths

    def _spool(self, name: str, fields: Mapping[str, Field]) -> dict[str, Any]:
        directory, digests = self.folder / name, {}
        for field, values in fields.items():
            files = {
                metadata_path(field): json.dumps(self._metadata(field)).encode(),
                chunk_path(field, LEAD_HOURS, self.contract.step_hours): bytes(CODEC.encode(values)),
            }
            for path, content in files.items():
                target = directory / path
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(content)
                digests[path] = file_digest(path, content)
        return {"store_dir": str(directory), "digests": digests}

    def _metadata(self, field: str) -> dict[str, Any]:
        variable = split_field(field)[0]
        assert variable in VARIABLES
        return {
            "zarr_format": 2,
            "shape": list(self.contract.array_shape(variable)),
            "chunks": list(self.contract.chunk_shape(variable)),
            "dtype": "<f4",
            "compressor": CODEC.get_config(),
            "fill_value": "NaN",
            "order": "C",
            "filters": None,
        }
