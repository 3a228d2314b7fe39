"""Rank correlation with ties: Spearman's and Kendall's coefficients."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations
from statistics import fmean


def spearman(one: Sequence[float], other: Sequence[float]) -> float | None:
    """Return Spearman's rank correlation; tied values share the mean of their ranks.

    Returns
    -------
    float or None
        In [-1, 1]; None where one side is all ties, or there are fewer than two values.

    Examples
    --------
    >>> spearman([1, 2, 3], [10, 20, 30]), spearman([1, 2], [5, 5])
    (1.0, None)
    """
    return correlation(ranks(one), ranks(other))


def kendall(one: Sequence[float], other: Sequence[float]) -> float | None:
    """Return Kendall's tau-b: pairs in the same order minus pairs in opposite order, corrected for ties.

    Returns
    -------
    float or None
        In [-1, 1]; None where one side is all ties, or there are fewer than two values.

    References
    ----------
    Kendall, M. G. (1945), The treatment of ties in ranking problems, Biometrika 33, 239-251.

    Examples
    --------
    >>> kendall([1, 2, 3], [3, 2, 1])
    -1.0
    """
    difference = untied_one = untied_other = 0
    for (a, x), (b, y) in combinations(list(zip(one, other, strict=True)), 2):
        first, second = _sign(a - b), _sign(x - y)
        difference += first * second
        untied_one += first * first
        untied_other += second * second
    if not untied_one or not untied_other:
        return None
    return difference / math.sqrt(untied_one * untied_other)


def ranks(values: Sequence[float]) -> list[float]:
    """Return the rank of each value, from 1; equal values share the mean of their ranks.

    >>> ranks([0.5, 0.1, 0.5])
    [2.5, 1.0, 2.5]
    """
    order = sorted(range(len(values)), key=values.__getitem__)
    found = [0.0] * len(values)
    start = 0
    while start < len(order):
        end = start
        while end < len(order) and values[order[end]] == values[order[start]]:
            end += 1
        for place in order[start:end]:
            found[place] = (start + 1 + end) / 2
        start = end
    return found


def correlation(one: Sequence[float], other: Sequence[float]) -> float | None:
    """Return Pearson's correlation; None where a side does not vary."""
    if len(one) < 2:
        return None
    mean_one, mean_other = fmean(one), fmean(other)
    a, b = [x - mean_one for x in one], [x - mean_other for x in other]
    product = math.sqrt(math.fsum(x * x for x in a) * math.fsum(x * x for x in b))
    if product == 0:
        return None
    return min(1.0, max(-1.0, math.fsum(x * y for x, y in zip(a, b, strict=True)) / product))


def _sign(value: float) -> int:
    return (value > 0) - (value < 0)
