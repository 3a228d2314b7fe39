"""Confidence interval of a mean over runs, corrected for autocorrelation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from statistics import fmean

# Two-sided 95 % points of Student's t for 1, 2, 3 ... degrees of freedom.
_T95 = (
    *(12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228),
    *(2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086),
    *(2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042),
)
_NORMAL95 = 1.960
_STEADY = 10
"""Fewest runs from which the lag-1 correlation is estimated; with fewer, the estimate is noise."""


def half_width(values: Sequence[float]) -> float | None:
    """Return the half width of the 95 % confidence interval of the mean of `values`, in order of time.

    Returns
    -------
    float or None
        In the unit of the values; None for fewer than two values.

    Notes
    -----
    The interval uses Student's t. Runs a day apart have similar errors. From ten runs on, the
    standard error is therefore multiplied by sqrt((1 + r) / (1 - r)), where r is the lag-1
    correlation, if r is positive [1]_. With fewer runs, they are treated as independent.

    References
    ----------
    .. [1] Wilks, D. S. (1997), Resampling hypothesis tests for autocorrelated fields,
       Journal of Climate 10, 65-82.

    Examples
    --------
    >>> half_width([1.0]) is None, round(half_width([1.0, 2.0, 3.0]), 3)
    (True, 2.484)
    """
    count = len(values)
    if count < 2:
        return None
    mean = fmean(values)
    departures = [value - mean for value in values]
    squares = math.fsum(x * x for x in departures)
    error = math.sqrt(squares / (count - 1) / count)
    if count >= _STEADY and squares > 0:
        together = math.fsum(x * y for x, y in pairwise(departures)) / squares
        likeness = min(max(together, 0.0), 0.9)
        error *= math.sqrt((1 + likeness) / (1 - likeness))
    return student95(count - 1) * error


def is_significant(values: Sequence[float]) -> bool:
    """Return whether the mean of `values` differs from 0 at the 95 % level; False for fewer than two."""
    width = half_width(values)
    return width is not None and abs(fmean(values)) > width


def student95(freedom: int) -> float:
    """Return the two-sided 95 % point of Student's t; beyond 30 degrees of freedom to within 0.001."""
    if freedom <= len(_T95):
        return _T95[freedom - 1]
    z = _NORMAL95
    # First terms of the expansion about the normal distribution (Abramowitz and Stegun 26.7.5).
    return z + (z**3 + z) / (4 * freedom) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
