"""Reads fields from GRIB messages, each checked to be what was asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import eccodes
import numpy as np
import numpy.typing as npt

from gaia.tasks.defined_tasks.weather.variables import GRIDS, LEVELS_HPA, VARIABLES, field_name
from gaia.validator.utils.errors import TransientError

Field = npt.NDArray[np.float32]

STANDARD_GRAVITY: Final = 9.80665
"""m s-2, exact by definition; turns geopotential height into geopotential (WMO)."""

_TOLERANCE_DEGREES = 1e-3

_SURFACES: Mapping[str, frozenset[tuple[str, int]]] = {
    "2t": frozenset({("heightAboveGround", 2), ("surface", 0)}),
    "10u": frozenset({("heightAboveGround", 10), ("surface", 0)}),
    "10v": frozenset({("heightAboveGround", 10), ("surface", 0)}),
    "msl": frozenset({("meanSea", 0), ("surface", 0)}),
}
"""Variable -> (eccodes typeOfLevel, level) in GFS and in ERA5."""

_UNITS: Mapping[str, tuple[str, float]] = {
    "K": ("K", 1.0),
    "m s**-1": ("m s-1", 1.0),
    "Pa": ("Pa", 1.0),
    "kg kg**-1": ("kg kg-1", 1.0),
    "m**2 s**-2": ("m2 s-2", 1.0),
    "gpm": ("m2 s-2", STANDARD_GRAVITY),
    "m": ("m2 s-2", STANDARD_GRAVITY),
}
"""Unit of a message -> our unit, and the factor that leads to it."""


@dataclass(frozen=True, slots=True)
class Source:
    """Whose messages are read."""

    name: str
    centre: str


GFS: Final = Source("GFS", "kwbc")
ERA5: Final = Source("ERA5", "ecmf")


def read_fields(
    path: Path, source: Source, fields: Sequence[str], grid: str, init_time: datetime, valid_time: datetime
) -> dict[str, Field]:
    """Return name -> float32 (lat, lon), latitudes 90..-90, longitudes 0..360-d, in our units.

    Messages of other variables or levels are passed over; for an analysis or a
    reanalysis `init_time` and `valid_time` are the same.

    Raises
    ------
    TransientError
        If the file cannot be read, lacks a field or holds one twice, or if a
        wanted message is of another source, time or grid.
    """
    found: dict[str, Field] = {}
    try:
        for message in _messages(path):
            name = _name_of(message)
            if name not in fields:
                continue
            if name in found:
                raise TransientError(f"{source.name} file holds {name} twice")
            _require_identity(message, source, name, init_time, valid_time)
            found[name] = _values(message, name, source, grid)
    except (eccodes.CodesInternalError, OSError) as error:
        raise TransientError(f"{source.name} file cannot be read: {error}") from error
    if missing := sorted(set(fields) - set(found)):
        raise TransientError(f"{source.name} file lacks {', '.join(missing)}")
    return found


def _messages(path: Path) -> Iterator[int]:
    """Yield a handle for each field; messages that hold several fields are taken apart."""
    eccodes.codes_grib_multi_support_on()
    with path.open("rb") as file:
        while (message := eccodes.codes_grib_new_from_file(file)) is not None:
            try:
                yield message
            finally:
                eccodes.codes_release(message)


def _name_of(message: int) -> str:
    """Return our name of a message's field, or "" if it is none of ours."""
    short_name = eccodes.codes_get(message, "shortName")
    surface = (eccodes.codes_get(message, "typeOfLevel"), eccodes.codes_get(message, "level"))
    for variable in VARIABLES.values():
        if short_name not in variable.grib_short_names:
            continue
        if variable.has_levels:
            is_ours = surface[0] == "isobaricInhPa" and surface[1] in LEVELS_HPA
            return field_name(variable.short_name, surface[1]) if is_ours else ""
        return variable.short_name if surface in _SURFACES[variable.short_name] else ""
    return ""


def _require_identity(
    message: int, source: Source, name: str, init_time: datetime, valid_time: datetime
) -> None:
    centre = eccodes.codes_get(message, "centre")
    started, valid = _time(message, "dataDate", "dataTime"), _time(message, "validityDate", "validityTime")
    if centre != source.centre:
        raise TransientError(f"{source.name} file holds {name} of {centre}")
    if (started, valid) != (init_time.astimezone(UTC), valid_time.astimezone(UTC)):
        raise TransientError(
            f"{source.name} file holds {name} of {started:%Y-%m-%dT%H} for {valid:%Y-%m-%dT%H}, "
            f"not of {init_time:%Y-%m-%dT%H} for {valid_time:%Y-%m-%dT%H}"
        )


def _time(message: int, date_key: str, time_key: str) -> datetime:
    date, time = eccodes.codes_get_long(message, date_key), eccodes.codes_get_long(message, time_key)
    return datetime.strptime(f"{date:08d}{time:04d}", "%Y%m%d%H%M").replace(tzinfo=UTC)


def _values(message: int, name: str, source: Source, grid: str) -> Field:
    """Return the values of one message in our orientation and unit."""
    lats, lons = GRIDS[grid]
    unit = eccodes.codes_get(message, "units")
    wanted_unit = VARIABLES[name].unit if name in VARIABLES else VARIABLES[name[0]].unit
    if unit not in _UNITS or _UNITS[unit][0] != wanted_unit:
        raise TransientError(f"{source.name} file holds {name} in {unit}")
    is_upward = bool(eccodes.codes_get(message, "jScansPositively"))
    corner = (-90.0, 0.0) if is_upward else (90.0, 0.0)
    expected: dict[str, Any] = {
        "gridType": "regular_ll",
        "Ni": lons,
        "Nj": lats,
        "iScansNegatively": 0,
        "jPointsAreConsecutive": 0,
        "alternativeRowScanning": 0,
        "bitmapPresent": 0,
    }
    actual = {key: eccodes.codes_get(message, key) for key in expected}
    first = (
        eccodes.codes_get_double(message, "latitudeOfFirstGridPointInDegrees"),
        eccodes.codes_get_double(message, "longitudeOfFirstGridPointInDegrees"),
    )
    if actual != expected or not np.allclose(first, corner, rtol=0.0, atol=_TOLERANCE_DEGREES):
        raise TransientError(f"{source.name} file holds {name} on another grid: {actual} from {first}")
    values = eccodes.codes_get_values(message).reshape(lats, lons) * _UNITS[unit][1]
    oriented = values[::-1] if is_upward else values
    return np.ascontiguousarray(oriented, dtype=np.float32)
