"""Handlers that turn GFS, ERA5 and the climatology into flat fields all forecasts are compared with."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gaia.tasks.defined_tasks.weather.validator.copies.likeness import require_likely
from gaia.tasks.defined_tasks.weather.validator.reading.climatology_store import ClimatologyReader
from gaia.tasks.defined_tasks.weather.validator.reading.grib import ERA5, GFS, ReadField, read_fields
from gaia.tasks.defined_tasks.weather.variables import GRIDS, VARIABLES, split_field
from gaia.validator.utils.errors import OwnFailure, TransientError
from gaia.validator.utils.files import put_file

Field = npt.NDArray[np.float32]

_NAMED_DIGITS = 16
"""Hexadecimal digits of a digest that a file's name carries."""


def gfs_compute(payload: dict[str, Any]) -> dict[str, Any]:
    """Decode GFS messages to one flat file a field (`weather.hash.gfs_compute`).

    Parameters
    ----------
    payload
        ``grid``, ``source_path`` (GRIB2), ``fields``, ``init_time`` (ISO), ``lead_hours`` and ``out_dir``;
        also ``climatology``, name -> path of a field for the valid time, if it is at hand.

    Returns
    -------
    dict
        ``fields``: name -> ``path`` and ``sha256`` of a little-endian float32 file, (lat, lon) in C
        order, latitudes 90..-90, longitudes 0..360-d, in the unit of `VARIABLES`; of ERA5 also
        ``expver``, "0001" or, while preliminary, "0005"; ``digest`` of all values.

    Raises
    ------
    TransientError
        If the file is damaged, or lacks a field, or is of another time or grid than was asked for,
        or if a field cannot be what it is called.
    """
    init_time = datetime.fromisoformat(payload["init_time"])
    valid_time = init_time + timedelta(hours=payload["lead_hours"])
    fields = read_fields(
        Path(payload["source_path"]), GFS, payload["fields"], payload["grid"], init_time, valid_time
    )
    return _store_read(fields, payload)


def verification_compute(payload: dict[str, Any]) -> dict[str, Any]:
    """Decode ERA5 or the climatology to one flat file a field (`weather.hash.verification_compute`).

    Parameters
    ----------
    payload
        ``kind`` "era5" with ``source_path`` (GRIB), or "climatology" with ``store_dir`` (a mirrored
        zarr v2 store); ``grid``, ``fields``, ``valid_time`` (ISO) and ``out_dir``; with "era5" also
        ``climatology``, as `gfs_compute` takes it.

    Returns
    -------
    dict
        As `gfs_compute`.

    Raises
    ------
    TransientError
        As `gfs_compute`.
    """
    names, grid = payload["fields"], payload["grid"]
    valid_time = datetime.fromisoformat(payload["valid_time"])
    if payload["kind"] == "era5":
        read = read_fields(Path(payload["source_path"]), ERA5, names, grid, valid_time, valid_time)
        return _store_read(read, payload)
    reader = ClimatologyReader(Path(payload["store_dir"]))
    fields = {name: reader.field(name, valid_time, grid) for name in names}
    return store_fields(fields, names, grid, Path(payload["out_dir"]))


def _store_read(read: Mapping[str, ReadField], payload: Mapping[str, Any]) -> dict[str, Any]:
    names, grid = payload["fields"], payload["grid"]
    for name, path in payload.get("climatology", {}).items():
        if name in read:
            require_likely(name, read[name].values, _stored(Path(path), grid))
    values = {name: read[name].values for name in names}
    stored = store_fields(values, names, grid, Path(payload["out_dir"]))
    for name, entry in stored["fields"].items():
        if read[name].expver:
            entry["expver"] = read[name].expver
    return stored


def _stored(path: Path, grid: str) -> Field:
    try:
        return np.fromfile(path, "<f4").reshape(GRIDS[grid])
    except (OSError, ValueError) as error:
        raise OwnFailure(f"climatology field {path.name} cannot be read: {error}") from error


def store_fields(
    fields: Mapping[str, Field], names: Sequence[str], grid: str, directory: Path
) -> dict[str, Any]:
    """Check `fields` and write each as <name>.<digest>.f32; return what the handlers return.

    Other values of a field thus never take the place of those that were scored against.

    Raises
    ------
    TransientError
        If a field is not on the grid, not finite, or beyond what can be weather.
    OwnFailure
        If the disk does not take the files.
    """
    stored: dict[str, dict[str, str]] = {}
    for name in names:
        require_plausible(name, fields[name], grid)
        content = np.ascontiguousarray(fields[name], dtype="<f4").tobytes()
        sha256 = hashlib.sha256(content).hexdigest()
        path = directory / f"{name}.{sha256[:_NAMED_DIGITS]}.f32"
        _write(path, content)
        stored[name] = {"path": str(path), "sha256": sha256}
    return {"fields": stored, "digest": digest_of({name: entry["sha256"] for name, entry in stored.items()})}


def _write(path: Path, content: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        put_file(path, content)
    except OSError as error:
        raise OwnFailure(f"reference field {path.name} cannot be written: {error.strerror}") from error


def digest_of(digests: Mapping[str, str]) -> str:
    """Return one digest of a set of fields: SHA-256 of "name:sha256" lines, sorted by name."""
    lines = "".join(f"{name}:{digests[name]}\n" for name in sorted(digests))
    return hashlib.sha256(lines.encode()).hexdigest()


def require_plausible(name: str, field: Field, grid: str) -> None:
    """Raise `TransientError` unless `field` (lat, lon) is on the grid and holds only possible weather."""
    variable = VARIABLES[split_field(name)[0]]
    if field.shape != GRIDS[grid]:
        raise TransientError(f"reference {name} has shape {field.shape}, not that of grid {grid}")
    low, high = float(field.min()), float(field.max())
    # A NaN makes both comparisons false.
    if not (low >= variable.minimum and high <= variable.maximum):
        raise TransientError(f"reference {name} ranges from {low:g} to {high:g} {variable.unit}")
