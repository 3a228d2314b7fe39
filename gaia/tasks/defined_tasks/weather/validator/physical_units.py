"""Physical units as sources write them, and what turns their values into ours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

STANDARD_GRAVITY: Final = 9.80665
"""m s-2, exact by definition; turns geopotential height into geopotential (WMO)."""

_UNITS: Final[Mapping[str, tuple[str, float]]] = {
    "K": ("K", 1.0),
    "m s**-1": ("m s-1", 1.0),
    "Pa": ("Pa", 1.0),
    "kg kg**-1": ("kg kg-1", 1.0),
    "m**2 s**-2": ("m2 s-2", 1.0),
    "gpm": ("m2 s-2", STANDARD_GRAVITY),
    "m": ("m2 s-2", STANDARD_GRAVITY),
}
"""Unit of a message -> our unit, and the factor that leads to it."""


def factor_of(unit: str, wanted: str) -> float | None:
    """Return what values in `unit` are multiplied by to be in `wanted`; None where nothing makes them that.

    Examples
    --------
    >>> factor_of("gpm", "m2 s-2")
    9.80665
    >>> factor_of("hPa", "Pa")
    """
    ours, factor = _UNITS.get(unit, (unit, 1.0))
    return factor if ours == wanted else None
