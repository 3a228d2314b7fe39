"""Writes GRIB messages and index lines in the form that NOAA and ECMWF publish."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import eccodes
import numpy as np

from gaia.tasks.defined_tasks.weather.variables import VARIABLES, split_field

if TYPE_CHECKING:
    from gaia.localnet.weather.errors import Field

_BITS_PER_VALUE = 16
_GRAVITY = 9.80665
"""WMO's constant, which turns the geopotential height of GFS into geopotential."""

_GFS_PARAMETERS: Mapping[str, tuple[int, int, int]] = {
    "2t": (0, 0, 0),
    "t": (0, 0, 0),
    "q": (0, 1, 0),
    "10u": (0, 2, 2),
    "u": (0, 2, 2),
    "10v": (0, 2, 3),
    "v": (0, 2, 3),
    "msl": (0, 3, 1),
    "z": (0, 3, 5),
}
"""GRIB2 discipline, category and number (WMO code table 4.2)."""
_GFS_SURFACES: Mapping[str, tuple[int, int]] = {
    "2t": (103, 2),
    "10u": (103, 10),
    "10v": (103, 10),
    "msl": (101, 0),
}
"""GRIB2 type and value of the first fixed surface (WMO code table 4.5)."""
_ISOBARIC = 100

_ERA5_PARAMETERS: Mapping[str, int] = {
    "z": 129,
    "t": 130,
    "u": 131,
    "v": 132,
    "q": 133,
    "msl": 151,
    "10u": 165,
    "10v": 166,
    "2t": 167,
}
"""ECMWF parameter numbers (table 128)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GfsFile:
    """One file of the NOAA bucket and its index."""

    content: bytes
    index: str


def gfs_file(fields: Mapping[str, Field], init_time: datetime, lead_hours: int) -> GfsFile:
    """Return GRIB2 messages of `fields` (lat, lon), with NOAA's complex packing and spatial differencing."""
    messages: list[bytes] = []
    lines: list[str] = []
    start = 0
    for number, (field, values) in enumerate(fields.items(), start=1):
        messages.append(_gfs_message(field, values, init_time, lead_hours))
        lines.append(_index_line(number, start, field, init_time, lead_hours))
        start += len(messages[-1])
    return GfsFile(content=b"".join(messages), index="".join(lines))


def era5_file(fields: Sequence[tuple[str, datetime, Field]]) -> bytes:
    """Return GRIB1 messages of (field, valid_time, values), simple packing of 16 bits, as the CDS sends them."""
    return b"".join(_era5_message(field, values, valid_time) for field, valid_time, values in fields)


def _index_line(number: int, start: int, field: str, init_time: datetime, lead_hours: int) -> str:
    variable, level = split_field(field)
    name = VARIABLES[variable].gfs_idx_name.format(level=level)
    time = f"{lead_hours} hour fcst" if lead_hours else "anl"
    return f"{number}:{start}:d={init_time:%Y%m%d%H}:{name}:{time}:\n"


def _gfs_message(field: str, values: Field, init_time: datetime, lead_hours: int) -> bytes:
    variable, level = split_field(field)
    discipline, category, number = _GFS_PARAMETERS[variable]
    surface, value = _GFS_SURFACES.get(variable, (_ISOBARIC, (level or 0) * 100))
    keys = {
        "centre": "kwbc",
        "tablesVersion": 2,
        "typeOfProcessedData": 1 if lead_hours else 0,
        "typeOfGeneratingProcess": 2,
        "stepUnits": 1,
        "stepRange": str(lead_hours),
        "discipline": discipline,
        "parameterCategory": category,
        "parameterNumber": number,
        "typeOfFirstFixedSurface": surface,
        "scaleFactorOfFirstFixedSurface": 0,
        "scaledValueOfFirstFixedSurface": value,
        "packingType": "grid_complex_spatial_differencing",
    }
    published = values.astype(np.float64) / _GRAVITY if variable == "z" else values
    return _message("regular_ll_sfc_grib2", _time_keys(init_time) | keys, published)


def _era5_message(field: str, values: Field, valid_time: datetime) -> bytes:
    variable, level = split_field(field)
    keys: dict[str, object] = {
        "centre": "ecmf",
        "paramId": _ERA5_PARAMETERS[variable],
        "setLocalDefinition": 1,
        "localDefinitionNumber": 1,
        "class": "ea",
        "type": "an",
        "stream": "oper",
        # 0005 is ERA5T, the preliminary release that is published first.
        "expver": "0005",
    }
    if level is None:
        return _message("regular_ll_sfc_grib1", _time_keys(valid_time) | keys, values)
    return _message("regular_ll_pl_grib1", _time_keys(valid_time) | keys | {"level": level}, values)


def _time_keys(moment: datetime) -> dict[str, object]:
    return {"dataDate": int(f"{moment:%Y%m%d}"), "dataTime": int(f"{moment:%H%M}")}


def _message(sample: str, keys: Mapping[str, Any], values: np.ndarray[Any, Any]) -> bytes:
    lats, lons = values.shape
    spacing = 360.0 / lons
    grid = {
        "Ni": lons,
        "Nj": lats,
        "latitudeOfFirstGridPointInDegrees": 90.0,
        "longitudeOfFirstGridPointInDegrees": 0.0,
        "latitudeOfLastGridPointInDegrees": -90.0,
        "longitudeOfLastGridPointInDegrees": 360.0 - spacing,
        "iDirectionIncrementInDegrees": spacing,
        "jDirectionIncrementInDegrees": spacing,
        "jScansPositively": 0,
    }
    message = eccodes.codes_grib_new_from_samples(sample)
    try:
        for key, value in {**grid, **keys, "bitsPerValue": _BITS_PER_VALUE}.items():
            eccodes.codes_set(message, key, value)
        eccodes.codes_set_values(message, values.astype(np.float64).ravel())
        content: bytes = eccodes.codes_get_message(message)
        return content
    finally:
        eccodes.codes_release(message)
