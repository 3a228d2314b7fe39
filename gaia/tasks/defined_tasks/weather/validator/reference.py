"""Handlers that decode GFS, ERA5 and the climatology to flat reference fields."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from gaia.tasks.defined_tasks.weather.units import DecodeGfs, DecodeVerification, FieldFile, StoredFields
from gaia.tasks.defined_tasks.weather.validator.copies.likeness import require_likely
from gaia.tasks.defined_tasks.weather.validator.reading.climatology_store import ClimatologyReader
from gaia.tasks.defined_tasks.weather.validator.reading.grib import ERA5, GFS, ReadField, read_fields
from gaia.tasks.defined_tasks.weather.variables import GRIDS, VARIABLES, split_field
from gaia.validator.utils.errors import OwnFailure, TransientError
from gaia.validator.utils.files import put_file

Field = npt.NDArray[np.float32]

_NAMED_DIGITS = 16
"""Number of hexadecimal digits of the digest in a file name."""


def gfs_compute(unit: DecodeGfs) -> StoredFields:
    """Decode GFS messages to one flat file per field, in the unit of `VARIABLES`.

    Raises
    ------
    TransientError
        If the file is damaged, lacks a field, or has another time or grid. Also if a field cannot
        be the variable and level of its label.
    """
    init_time = datetime.fromisoformat(unit.init_time)
    valid_time = init_time + timedelta(hours=unit.lead_hours)
    read = read_fields(Path(unit.source_path), GFS, unit.fields, unit.grid, init_time, valid_time)
    return _store_read(read, unit)


def verification_compute(unit: DecodeVerification) -> StoredFields:
    """Decode ERA5 or the climatology to one flat file per field.

    Raises
    ------
    TransientError
        As `gfs_compute`.
    """
    valid_time = datetime.fromisoformat(unit.valid_time)
    if unit.kind == "era5":
        read = read_fields(Path(unit.source_path), ERA5, unit.fields, unit.grid, valid_time, valid_time)
        return _store_read(read, unit)
    reader = ClimatologyReader(Path(unit.store_dir))
    fields = {name: reader.field(name, valid_time, unit.grid) for name in unit.fields}
    return store_fields(fields, unit.fields, unit.grid, Path(unit.out_dir))


def _store_read(read: Mapping[str, ReadField], unit: DecodeGfs | DecodeVerification) -> StoredFields:
    for name, path in unit.climatology.items():
        if name in read:
            require_likely(name, read[name].values, _stored(Path(path), unit.grid))
    values = {name: read[name].values for name in unit.fields}
    versions = {name: read[name].expver for name in unit.fields}
    return store_fields(values, unit.fields, unit.grid, Path(unit.out_dir), versions)


def _stored(path: Path, grid: str) -> Field:
    try:
        return np.fromfile(path, "<f4").reshape(GRIDS[grid])
    except (OSError, ValueError) as error:
        raise OwnFailure(f"climatology field {path.name} cannot be read: {error}") from error


def store_fields(
    fields: Mapping[str, Field],
    names: Sequence[str],
    grid: str,
    directory: Path,
    versions: Mapping[str, str] = MappingProxyType({}),
) -> StoredFields:
    """Check `fields`, write each as <name>.<digest>.f32, and return the answer of the handlers.

    New values of a field thus never replace the values that forecasts were scored against.
    `versions` is field -> `FieldFile.expver`.

    Raises
    ------
    TransientError
        If a field is not on the grid, not finite, or outside the limits of weather.
    OwnFailure
        If the files cannot be written.
    """
    stored: dict[str, FieldFile] = {}
    for name in names:
        require_plausible(name, fields[name], grid)
        content = np.ascontiguousarray(fields[name], dtype="<f4").tobytes()
        sha256 = hashlib.sha256(content).hexdigest()
        path = directory / f"{name}.{sha256[:_NAMED_DIGITS]}.f32"
        _write(path, content)
        stored[name] = FieldFile(path=str(path), sha256=sha256, expver=versions.get(name, ""))
    digest = digest_of({name: entry.sha256 for name, entry in stored.items()})
    return StoredFields(fields=stored, digest=digest)


def _write(path: Path, content: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        put_file(path, content)
    except OSError as error:
        raise OwnFailure(f"reference field {path.name} cannot be written: {error.strerror}") from error


def digest_of(digests: Mapping[str, str]) -> str:
    """Return the digest of a set of fields: SHA-256 of "name:sha256" lines, sorted by name."""
    lines = "".join(f"{name}:{digests[name]}\n" for name in sorted(digests))
    return hashlib.sha256(lines.encode()).hexdigest()


def require_plausible(name: str, field: Field, grid: str) -> None:
    """Raise `TransientError` unless `field` (lat, lon) is on the grid and within the limits of weather."""
    variable = VARIABLES[split_field(name)[0]]
    if field.shape != GRIDS[grid]:
        raise TransientError(f"reference {name} has shape {field.shape}, not that of grid {grid}")
    low, high = float(field.min()), float(field.max())
    # A NaN makes both comparisons false.
    if not (low >= variable.minimum and high <= variable.maximum):
        raise TransientError(f"reference {name} ranges from {low:g} to {high:g} {variable.unit}")
