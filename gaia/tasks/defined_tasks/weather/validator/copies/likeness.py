"""Checks that a field is the variable and level of its label, by the climatology of its hour and day."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
import numpy.typing as npt

from gaia.tasks.defined_tasks.weather.validator.areas import area_weights
from gaia.tasks.defined_tasks.weather.variables import split_field
from gaia.validator.utils.errors import TransientError

Field = npt.NDArray[np.float32]

_STEADY: Final = frozenset({"2t", "msl", "t", "z"})
"""Variables that differ little from their climatology, at every level."""
_FARTHEST_MEAN = 0.5
"""Largest distance of the global means, in standard deviations of the climatology.

Weather stays below 0.1. Neighbouring levels of temperature differ by 0.7; other units and levels of
geopotential differ by several."""
_SPREAD: Final = (0.5, 2.0)
"""Limits of the ratio of a field's standard deviation to its climatology's; weather is between 0.9 and 1.3."""
_LEAST_SPREAD_OF_OTHERS = 0.4
"""Least ratio of standard deviations for winds and moisture, which vary more than their climatology."""
_CALM_FROM_HPA = 300
"""Level above which a sudden warming can swap the hemispheres, and moisture is nearly constant."""
_WIDER_ABOVE = 2.0
"""Factor by which the margins of steady variables are wider above that level."""
_WINDIEST: Final[Mapping[str, float]] = {"10u": 8.0, "10v": 7.0}
"""Largest standard deviation in m/s; weather stays below 6, and knots read as m/s are above 8.5."""
_TURNED_MARGIN = 0.02
"""Least gain in correlation by flipping a field, from which it counts as upside down."""


def require_likely(name: str, field: Field, climatology: Field) -> None:
    """Raise `TransientError` if `field` cannot be `name` at the time of `climatology`.

    Both are (lat, lon) on one grid, with latitudes from north to south. The margins are several
    times wider than observed weather. This finds other levels and units, constant fields and
    flipped fields, but not bad forecasts.
    """
    variable, level = split_field(name)
    weights = area_weights(np.linspace(90.0, -90.0, field.shape[0]))[:, None]
    mean, spread = _moments(field, weights)
    usual_mean, usual_spread = _moments(climatology, weights)
    told = (
        f"{name} cannot have mean {mean:g} and standard deviation {spread:g};"
        f" its climatology has {usual_mean:g} and {usual_spread:g}"
    )
    is_low = level is None or level >= _CALM_FROM_HPA
    if variable in _STEADY:
        wider = 1.0 if is_low else _WIDER_ABOVE
        is_likely = (
            abs(mean - usual_mean) <= wider * _FARTHEST_MEAN * usual_spread
            and _SPREAD[0] * usual_spread / wider <= spread <= _SPREAD[1] * usual_spread * wider
        )
    else:
        least = _LEAST_SPREAD_OF_OTHERS * usual_spread if is_low or variable != "q" else 0.0
        is_likely = least <= spread <= _WINDIEST.get(name, np.inf)
    if not is_likely:
        raise TransientError(told)
    if variable in _STEADY and is_low:
        fit, turned = (_fit(field, usual, weights) for usual in (climatology, climatology[::-1]))
        if turned > fit + _TURNED_MARGIN:
            raise TransientError(f"{name} fits its climatology better upside down")


def _moments(field: Field, weights: npt.NDArray[np.float64]) -> tuple[float, float]:
    """Return the mean and the standard deviation over the sphere."""
    mean = float((field * weights).mean() / weights.mean())
    variance = float((np.square(field - mean) * weights).mean() / weights.mean())
    return mean, variance**0.5


def _fit(field: Field, other: Field, weights: npt.NDArray[np.float64]) -> float:
    """Return the correlation of two varying fields over the sphere."""
    (mean, spread), (other_mean, other_spread) = _moments(field, weights), _moments(other, weights)
    product = float(((field - mean) * (other - other_mean) * weights).mean() / weights.mean())
    return product / (spread * other_spread)
