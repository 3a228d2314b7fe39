"""Reads fields from GRIB messages, and checks that each is the requested one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import eccodes
import numpy as np
import numpy.typing as npt

from gaia.tasks.defined_tasks.weather.validator.physical_units import factor_of
from gaia.tasks.defined_tasks.weather.variables import GRIDS, LEVELS_HPA, VARIABLES, field_name, split_field
from gaia.validator.utils.errors import TransientError

Field = npt.NDArray[np.float32]

_TOLERANCE_DEGREES = 1e-3
_INSTANT_OF_ONE_RUN = 0
"""Product definition template of a deterministic field at a point in time (WMO code table 4.0)."""
_ERA5_VERSIONS = frozenset({"0001", "0005"})
"""Versions of ERA5: final, and preliminary (ERA5T), which is replaced after some months."""

_SURFACES: Mapping[str, frozenset[tuple[str, int]]] = {
    "2t": frozenset({("heightAboveGround", 2), ("surface", 0)}),
    "10u": frozenset({("heightAboveGround", 10), ("surface", 0)}),
    "10v": frozenset({("heightAboveGround", 10), ("surface", 0)}),
    "msl": frozenset({("meanSea", 0), ("surface", 0)}),
}
"""Variable -> (eccodes typeOfLevel, level) in GFS and in ERA5."""


@dataclass(frozen=True, slots=True)
class Source:
    """Source of messages."""

    name: str
    centre: str


GFS: Final = Source("GFS", "kwbc")
ERA5: Final = Source("ERA5", "ecmf")


@dataclass(frozen=True, slots=True, eq=False)
class ReadField:
    """One field, and the version in its message."""

    values: Field
    """(lat, lon), latitudes 90..-90, longitudes 0..360-d, in our units."""
    expver: str
    """ECMWF's experiment version, such as "0001"; "" for GFS."""


def read_fields(
    path: Path, source: Source, fields: Sequence[str], grid: str, init_time: datetime, valid_time: datetime
) -> dict[str, ReadField]:
    """Return name -> field, for each of `fields`.

    Messages of other variables or levels are ignored. For an analysis or reanalysis, `init_time`
    and `valid_time` are equal.

    Raises
    ------
    TransientError
        If the file cannot be read, lacks a field or holds one twice. Also if a requested message
        has another source, time or grid, lacks points, or is not an instantaneous field of the
        deterministic run or reanalysis.
    """
    found: dict[str, ReadField] = {}
    try:
        for message in _messages(path):
            name = _name_of(message)
            if name not in fields:
                continue
            if name in found:
                raise TransientError(f"{source.name} file holds {name} twice")
            _require_identity(message, source, name, init_time, valid_time)
            _require_making(message, source, name, is_forecast=valid_time > init_time)
            _require_grid(message, source, name, grid)
            found[name] = ReadField(_values(message, name, source, grid), _text(message, "expver"))
    except (eccodes.CodesInternalError, OSError, ValueError, OverflowError) as error:
        raise TransientError(f"{source.name} file cannot be read: {error}") from error
    if missing := sorted(set(fields) - set(found)):
        raise TransientError(f"{source.name} file lacks {', '.join(missing)}")
    return found


def _messages(path: Path) -> Iterator[int]:
    """Yield a handle for each field; messages with several fields are split."""
    eccodes.codes_grib_multi_support_on()
    with path.open("rb") as file:
        while (message := eccodes.codes_grib_new_from_file(file)) is not None:
            try:
                yield message
            finally:
                eccodes.codes_release(message)


def _name_of(message: int) -> str:
    """Return our name of a message's field; "" if we do not use it."""
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


def _require_making(message: int, source: Source, name: str, *, is_forecast: bool) -> None:
    """Raise for ensemble members, means, extremes and other runs of the same centre."""
    expected: dict[str, frozenset[str]]
    if source is GFS:
        template = eccodes.codes_get_long(message, "productDefinitionTemplateNumber")
        if eccodes.codes_get_long(message, "edition") != 2 or template != _INSTANT_OF_ONE_RUN:
            raise TransientError(
                f"GFS file holds {name} of an ensemble or over a period (template {template})"
            )
        expected = {"dataType": frozenset({"fc"} if is_forecast else {"an", "fc"})}
    else:
        expected = {
            "class": frozenset({"ea"}),
            "stream": frozenset({"oper"}),
            "type": frozenset({"an"}),
            "number": frozenset({"", "0"}),
            "expver": _ERA5_VERSIONS,
        }
    expected["stepType"] = frozenset({"instant"})
    for key, allowed in expected.items():
        if (actual := _text(message, key)) not in allowed:
            raise TransientError(f"{source.name} file holds {name} of {key} {actual or 'unknown'}")


def _text(message: int, key: str) -> str:
    """Return the value of `key` in a message; "" if it is missing."""
    try:
        return str(eccodes.codes_get_string(message, key))
    except eccodes.KeyValueNotFoundError:
        return ""


def _time(message: int, date_key: str, time_key: str) -> datetime:
    date, time = eccodes.codes_get_long(message, date_key), eccodes.codes_get_long(message, time_key)
    try:
        return datetime.strptime(f"{date:08d}{time:04d}", "%Y%m%d%H%M").replace(tzinfo=UTC)
    except ValueError as error:
        raise TransientError(f"a message has the {date_key} {date} and the {time_key} {time}") from error


def _require_grid(message: int, source: Source, name: str, grid: str) -> None:
    lats, lons = GRIDS[grid]
    spacing = 360.0 / lons
    is_upward = bool(eccodes.codes_get(message, "jScansPositively"))
    north_south = (-90.0, 90.0) if is_upward else (90.0, -90.0)
    expected: dict[str, str | int] = {
        "gridType": "regular_ll",
        "Ni": lons,
        "Nj": lats,
        "iScansNegatively": 0,
        "jPointsAreConsecutive": 0,
        "alternativeRowScanning": 0,
    }
    corners = {
        "latitudeOfFirstGridPointInDegrees": north_south[0],
        "longitudeOfFirstGridPointInDegrees": 0.0,
        "latitudeOfLastGridPointInDegrees": north_south[1],
        "longitudeOfLastGridPointInDegrees": 360.0 - spacing,
        "iDirectionIncrementInDegrees": spacing,
        "jDirectionIncrementInDegrees": spacing,
    }
    actual = {key: eccodes.codes_get(message, key) for key in expected}
    reached = {key: eccodes.codes_get_double(message, key) for key in corners}
    is_there = np.allclose(list(reached.values()), list(corners.values()), rtol=0.0, atol=_TOLERANCE_DEGREES)
    if actual != expected or not is_there:
        raise TransientError(f"{source.name} file holds {name} on another grid: {actual | reached}")


def _values(message: int, name: str, source: Source, grid: str) -> Field:
    """Return the values of one message in our orientation and unit."""
    unit = eccodes.codes_get(message, "units")
    if (factor := factor_of(unit, VARIABLES[split_field(name)[0]].unit)) is None:
        raise TransientError(f"{source.name} file holds {name} in {unit}")
    # Some packings mark missing points without a bitmap; the number 9999 could pass as weather.
    eccodes.codes_set_double(message, "missingValue", np.nan)
    values = eccodes.codes_get_values(message).reshape(GRIDS[grid])
    if missing := values.size - np.count_nonzero(np.isfinite(values)):
        raise TransientError(f"{source.name} file holds {name} with {missing} points missing")
    is_upward = bool(eccodes.codes_get(message, "jScansPositively"))
    oriented = (values[::-1] if is_upward else values) * factor
    return np.ascontiguousarray(oriented, dtype=np.float32)
