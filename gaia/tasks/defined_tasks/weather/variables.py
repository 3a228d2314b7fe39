"""Names, units, levels and limits of the variables of a forecast."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

LEVELS_HPA = (50, 100, 150, 200, 250, 300, 400, 500, 600, 700, 850, 925, 1000)

GRIDS: Mapping[str, tuple[int, int]] = {"1.0": (181, 360), "0.25": (721, 1440)}
"""Name of a grid -> (latitudes 90..-90, longitudes 0..360-d)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Variable:
    """One physical variable, on the surface or on all of `LEVELS_HPA`."""

    short_name: str
    """ECMWF short name, as in stores and field names."""
    standard_name: str
    """CF standard name."""
    unit: str
    has_levels: bool
    minimum: float
    """Smallest possible value in weather, at any level, in `unit`."""
    maximum: float
    """Largest possible value in weather, at any level, in `unit`."""
    grib_short_names: tuple[str, ...]
    """Its name in eccodes, for ERA5 and GFS messages."""
    gfs_idx_name: str
    """"NAME:level" in a GFS index; "{level}" stands for the level in hPa."""
    cds_name: str
    """Its name in requests to the Climate Data Store."""
    climatology_name: str
    """Its name in the WeatherBench2 climatology."""


_ALL = (
    Variable(
        short_name="2t",
        standard_name="air_temperature",
        unit="K",
        has_levels=False,
        minimum=150.0,
        maximum=360.0,
        grib_short_names=("2t",),
        gfs_idx_name="TMP:2 m above ground",
        cds_name="2m_temperature",
        climatology_name="2m_temperature",
    ),
    Variable(
        short_name="10u",
        standard_name="eastward_wind",
        unit="m s-1",
        has_levels=False,
        minimum=-120.0,
        maximum=120.0,
        grib_short_names=("10u",),
        gfs_idx_name="UGRD:10 m above ground",
        cds_name="10m_u_component_of_wind",
        climatology_name="10m_u_component_of_wind",
    ),
    Variable(
        short_name="10v",
        standard_name="northward_wind",
        unit="m s-1",
        has_levels=False,
        minimum=-120.0,
        maximum=120.0,
        grib_short_names=("10v",),
        gfs_idx_name="VGRD:10 m above ground",
        cds_name="10m_v_component_of_wind",
        climatology_name="10m_v_component_of_wind",
    ),
    Variable(
        short_name="msl",
        standard_name="air_pressure_at_mean_sea_level",
        unit="Pa",
        has_levels=False,
        minimum=80_000.0,
        maximum=115_000.0,
        grib_short_names=("msl", "prmsl"),
        gfs_idx_name="PRMSL:mean sea level",
        cds_name="mean_sea_level_pressure",
        climatology_name="mean_sea_level_pressure",
    ),
    Variable(
        short_name="t",
        standard_name="air_temperature",
        unit="K",
        has_levels=True,
        minimum=130.0,
        maximum=360.0,
        grib_short_names=("t",),
        gfs_idx_name="TMP:{level} mb",
        cds_name="temperature",
        climatology_name="temperature",
    ),
    Variable(
        short_name="u",
        standard_name="eastward_wind",
        unit="m s-1",
        has_levels=True,
        minimum=-250.0,
        maximum=250.0,
        grib_short_names=("u",),
        gfs_idx_name="UGRD:{level} mb",
        cds_name="u_component_of_wind",
        climatology_name="u_component_of_wind",
    ),
    Variable(
        short_name="v",
        standard_name="northward_wind",
        unit="m s-1",
        has_levels=True,
        minimum=-250.0,
        maximum=250.0,
        grib_short_names=("v",),
        gfs_idx_name="VGRD:{level} mb",
        cds_name="v_component_of_wind",
        climatology_name="v_component_of_wind",
    ),
    Variable(
        short_name="q",
        standard_name="specific_humidity",
        unit="kg kg-1",
        has_levels=True,
        minimum=-0.01,
        maximum=0.1,
        grib_short_names=("q",),
        gfs_idx_name="SPFH:{level} mb",
        cds_name="specific_humidity",
        climatology_name="specific_humidity",
    ),
    Variable(
        short_name="z",
        standard_name="geopotential",
        unit="m2 s-2",
        has_levels=True,
        minimum=-10_000.0,
        maximum=250_000.0,
        # GFS publishes geopotential height in metres; the reader turns it into geopotential.
        grib_short_names=("z", "gh"),
        gfs_idx_name="HGT:{level} mb",
        cds_name="geopotential",
        climatology_name="geopotential",
    ),
)

VARIABLES: Mapping[str, Variable] = {variable.short_name: variable for variable in _ALL}

SURFACE_FIELDS = tuple(variable.short_name for variable in _ALL if not variable.has_levels)
"""Names of the fields on the surface."""
ALL_FIELDS = SURFACE_FIELDS + tuple(
    f"{variable.short_name}{level}" for variable in _ALL if variable.has_levels for level in LEVELS_HPA
)
"""Names of all fields that a forecast may contain."""

_LEVEL_TEXTS = frozenset(str(level) for level in LEVELS_HPA)


def split_field(field: str) -> tuple[str, int | None]:
    """Return (variable, level in hPa) of a field name; the level is None on the surface.

    Raises
    ------
    ValueError
        If no field has this name.

    Examples
    --------
    >>> split_field("z500"), split_field("2t")
    (('z', 500), ('2t', None))
    """
    if field in VARIABLES and not VARIABLES[field].has_levels:
        return field, None
    name, digits = field[:1], field[1:]
    if name in VARIABLES and digits in _LEVEL_TEXTS:
        return name, int(digits)
    raise ValueError(f"no such field: {field!r}")


def field_name(variable: str, level: int | None = None) -> str:
    """Return the field name of a variable at a level, the inverse of `split_field`."""
    return variable if level is None else f"{variable}{level}"


def level_weights(levels: Sequence[int] = LEVELS_HPA) -> dict[int, float]:
    """Return level -> its share of the atmosphere's thickness; the shares sum to 1.

    A level stands for half the pressure distance between its neighbours, the outermost for half
    an interval (scoring.md, 3.1). A single level weighs 1.
    """
    ordered = sorted(levels)
    if len(ordered) < 2:
        return dict.fromkeys(ordered, 1.0)
    last = len(ordered) - 1
    thickness = {
        level: (ordered[min(i + 1, last)] - ordered[max(i - 1, 0)]) / 2.0 for i, level in enumerate(ordered)
    }
    total = sum(thickness.values())
    return {level: value / total for level, value in thickness.items()}
