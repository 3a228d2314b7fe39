"""Whether a field can be the weather its label says, judged by the climatology of its hour and day."""

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
"""Variables whose weather is their climatology and little more, at every level."""
_FARTHEST_MEAN = 0.5
"""Distance of the global means in standard deviations of the climatology; weather stays below 0.1,
neighbouring levels of temperature are 0.7 apart, units and other levels of geopotential several."""
_SPREAD: Final = (0.5, 2.0)
"""Standard deviation of a field by that of its climatology; weather is between 0.9 and 1.3."""
_LEAST_SPREAD_OF_OTHERS = 0.4
"""Winds and moisture always vary more than their climatology; a field that does not is none."""
_CALM_FROM_HPA = 300
"""Higher up a sudden warming can turn the two hemispheres round and moisture is the same all over."""
_WIDER_ABOVE = 2.0
"""By how much the margins of steady variables are wider there."""
_WINDIEST: Final[Mapping[str, float]] = {"10u": 8.0, "10v": 7.0}
"""Standard deviation in m/s: weather stays below 6; knots taken for m/s are above 8.5."""
_TURNED_MARGIN = 0.02
"""How much better a field fits its climatology upside down before it counts as upside down."""


def require_likely(name: str, field: Field, climatology: Field) -> None:
    """Raise `TransientError` where `field` cannot be `name` at the time `climatology` is for.

    Both are (lat, lon) on the same grid, with latitudes from north to south. The margins are
    several times wider than what weather has been seen to do: this finds
    other levels and units, constant and turned fields, not forecasts that are bad.
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
    """Return the correlation of two fields over the sphere; both vary."""
    (mean, spread), (other_mean, other_spread) = _moments(field, weights), _moments(other, weights)
    product = float(((field - mean) * (other - other_mean) * weights).mean() / weights.mean())
    return product / (spread * other_spread)
