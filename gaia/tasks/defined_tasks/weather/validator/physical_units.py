"""Physical units in the spelling of sources, and factors that convert to ours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

STANDARD_GRAVITY: Final = 9.80665
"""WMO constant in m s-2, exact by definition; turns geopotential height into geopotential."""

_UNITS: Final[Mapping[str, tuple[str, float]]] = {
    "K": ("K", 1.0),
    "m s**-1": ("m s-1", 1.0),
    "Pa": ("Pa", 1.0),
    "kg kg**-1": ("kg kg-1", 1.0),
    "m**2 s**-2": ("m2 s-2", 1.0),
    "gpm": ("m2 s-2", STANDARD_GRAVITY),
    "m": ("m2 s-2", STANDARD_GRAVITY),
}
"""Unit of a message -> our unit and the conversion factor."""


def factor_of(unit: str, wanted: str) -> float | None:
    """Return the factor from `unit` to `wanted`; None if there is no conversion.

    Examples
    --------
    >>> factor_of("gpm", "m2 s-2")
    9.80665
    >>> factor_of("hPa", "Pa")
    """
    ours, factor = _UNITS.get(unit, (unit, 1.0))
    return factor if ours == wanted else None
