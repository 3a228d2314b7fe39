"""Builds forecast stores as miners write them, and reference fields as the validator keeps them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numcodecs import Blosc
from numpy.typing import NDArray

from gaia.tasks.defined_tasks.weather.validator.reading.chunks import Contract
from gaia.tasks.defined_tasks.weather.variables import split_field
from gaia.tasks.defined_tasks.weather.wire.store_layout import chunk_path, file_digest, metadata_path

CONTRACT = Contract(grid="1.0", steps=4, step_hours=6)
SHAPE = CONTRACT.field_shape

Values = NDArray[np.float32]


def a_field(seed: int = 0, mean: float = 280.0, spread: float = 8.0) -> Values:
    """Smooth enough to be compressed, different for each seed; the caller's to change."""
    return _field(seed, mean, spread).copy()


@lru_cache(maxsize=64)
def _field(seed: int, mean: float, spread: float) -> Values:
    rng = np.random.default_rng(seed)
    waves = rng.normal(size=(6, 3))
    lat, lon = np.meshgrid(np.linspace(-1.5, 1.5, SHAPE[0]), np.linspace(0.0, 6.2, SHAPE[1]), indexing="ij")
    pattern = sum(a * np.sin(3 * b * lat + (i + 1) * lon + c) for i, (a, b, c) in enumerate(waves))
    noise = 0.05 * rng.normal(size=SHAPE)
    return np.asarray(mean + spread / 3 * (pattern + noise), np.float32)


def metadata_of(field: str, contract: Contract = CONTRACT) -> dict[str, Any]:
    variable = split_field(field)[0]
    return {
        "zarr_format": 2,
        "shape": list(contract.array_shape(variable)),
        "chunks": list(contract.chunk_shape(variable)),
        "dtype": "<f4",
        "compressor": {"id": "blosc", "cname": "zstd", "clevel": 3, "shuffle": 2, "blocksize": 0},
        "fill_value": "NaN",
        "order": "C",
        "filters": None,
        "dimension_separator": ".",
    }


def packed(values: NDArray[Any], cname: str = "zstd") -> bytes:
    return bytes(Blosc(cname=cname, clevel=3, shuffle=Blosc.BITSHUFFLE).encode(values))


def put(directory: Path, digests: dict[str, str], path: str, content: bytes) -> None:
    """Store one file and promise it."""
    target = directory / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(content)
    digests[path] = file_digest(path, content)


def a_store(directory: Path, fields: Mapping[str, Values], lead_hours: int = 12) -> dict[str, Any]:
    """Write a store that holds `fields` at one lead; return the payload of a handler that reads it."""
    digests: dict[str, str] = {}
    for field, values in fields.items():
        put(directory, digests, metadata_path(field), json.dumps(metadata_of(field)).encode())
        put(directory, digests, chunk_path(field, lead_hours, CONTRACT.step_hours), packed(values))
    return {
        "store_dir": str(directory),
        "digests": digests,
        "grid": CONTRACT.grid,
        "steps": CONTRACT.steps,
        "step_hours": CONTRACT.step_hours,
        "lead_hours": lead_hours,
        "fields": list(fields),
    }


def reference_files(directory: Path, fields: Mapping[str, Values]) -> dict[str, str]:
    """Write `fields` as the validator keeps them; return field to path."""
    directory.mkdir(parents=True, exist_ok=True)
    paths = {}
    for field, values in fields.items():
        path = directory / f"{field}.f32"
        path.write_bytes(np.asarray(values, "<f4").tobytes())
        paths[field] = str(path)
    return paths
