"""Area weights of latitudes."""

from __future__ import annotations

from decimal import Decimal, localcontext
from functools import cache
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Weighting = Literal["area", "cos"]

_DIGITS = 50
_PI = Decimal("3.14159265358979323846264338327950288419716939937510582097494")


def cosine_weights(latitudes: ArrayLike) -> Floats:
    """Return each latitude's share of area, ``max(cos(lat), 0)``, not normalised.

    Parameters
    ----------
    latitudes : float array
        Degrees north.

    Examples
    --------
    >>> cosine_weights([0.0, 60.0]).round(12).tolist()
    [1.0, 0.5]
    """
    return np.maximum(np.cos(np.deg2rad(np.asarray(latitudes, np.float64))), 0.0)


def area_weights(latitudes: ArrayLike) -> Floats:
    """Return the exact area of each latitude's cells, not normalised.

    A cell reaches half-way to its neighbours. The outermost cells reach as far outwards as
    inwards, but not beyond a pole. Rows at the poles are thus half cells.

    Parameters
    ----------
    latitudes : float array, one dimension
        Degrees north, all rising or all falling. A single one weighs 1.

    Raises
    ------
    ValueError
        If the latitudes neither rise nor fall throughout.

    Notes
    -----
    The area is ``sin(upper edge) - sin(lower edge)``, as in WeatherBench 2 [1]_. Only outermost
    rows away from the pole differ, because WeatherBench 2 stretches them to the pole.

    References
    ----------
    .. [1] Rasp et al. (2024), WeatherBench 2, JAMES 16, doi:10.1029/2023MS004019.

    Examples
    --------
    >>> area_weights([90.0, 0.0, -90.0]).round(4).tolist()
    [0.2929, 1.4142, 0.2929]
    """
    given = np.asarray(latitudes, np.float64)
    if given.size == 1:
        return np.ones(1)
    steps = np.diff(given)
    if not (np.all(steps > 0) or np.all(steps < 0)):
        raise ValueError("latitudes neither rise nor fall throughout")
    inner = (given[1:] + given[:-1]) / 2
    edges = np.concatenate([[given[0] - steps[0] / 2], inner, [given[-1] + steps[-1] / 2]])
    return np.asarray(np.abs(np.diff(np.sin(np.deg2rad(edges.clip(-90.0, 90.0))))), np.float64)


@cache
def row_weights(latitudes: int, weighting: Weighting = "cos") -> Floats:
    """Return the weights of the rows of an even grid from pole to pole, summing to 1.

    The weights are computed to 50 digits and rounded once, which gives equal bits on every
    machine. If the weights of all rows are 0, they are equal instead.

    Examples
    --------
    >>> row_weights(3, "cos").tolist(), row_weights(3, "area").round(4).tolist()
    ([0.0, 1.0, 0.0], [0.1464, 0.7071, 0.1464])
    """
    with localcontext() as context:
        context.prec = _DIGITS
        step = _PI / max(latitudes - 1, 1)
        upper = [_sine(step * row) for row in range((latitudes + 1) // 2)]
        if weighting == "area" and latitudes > 1:
            upper = [sine * _sine(step / 2) for sine in upper]
            upper[0] = _sine(step / 4) ** 2
        shares = [*upper, *reversed(upper[: latitudes // 2])]
        total = sum(shares)
        weights = np.array([float(share / total) if total else 1.0 / latitudes for share in shares])
    weights.flags.writeable = False
    return weights


def _sine(angle: Decimal) -> Decimal:
    """Return the sine of an angle in radians, by its series."""
    term = total = angle
    square, order = angle * angle, 1
    while abs(term) > Decimal(10) ** -_DIGITS:
        order += 2
        term *= -square / (order * (order - 1))
        total += term
    return total
