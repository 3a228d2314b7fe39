"""Error of the best weighted mean of reference forecasts, chosen with hindsight."""

from __future__ import annotations

import math


def best_blend(gram: dict[tuple[str, str], float]) -> float | None:
    """Return the mean squared error of the best possible blend of reference forecasts.

    Parameters
    ----------
    gram
        (reference, reference) -> mean product of their errors; each pair occurs once.

    Returns
    -------
    float or None
        The least mean squared error over all weighted means, with weights that are not negative
        and sum to 1. No blend of public forecasts has a positive skill against it. None for
        fewer than two references.

    Examples
    --------
    >>> best_blend({("a", "a"): 1.0, ("b", "b"): 1.0, ("a", "b"): 0.0})
    0.5
    """
    names = sorted({name for pair in gram for name in pair})
    if len(names) < 2:
        return None
    if not all(map(math.isfinite, gram.values())):
        return math.nan
    product = {**gram, **{(b, a): value for (a, b), value in gram.items()}}
    best = min(product[name, name] for name in names)
    for place, one in enumerate(names):
        for other in names[place + 1 :]:
            # The point on the line between `one` and `other` with the least error.
            gain = product[other, other] - product[one, other]
            length = product[one, one] - 2 * product[one, other] + product[other, other]
            if 0 < gain < length:
                best = min(best, product[other, other] - gain * gain / length)
    return min(best, _best_of_three(product, names)) if len(names) == 3 else best


def _best_of_three(product: dict[tuple[str, str], float], names: list[str]) -> float:
    """Return the least error of blends of all three; infinite if the minimum lies on an edge."""
    a, b, c = names

    def inner(one: str, other: str) -> float:
        return product[one, other] - product[one, c] - product[other, c] + product[c, c]

    gain_a, gain_b = product[c, c] - product[a, c], product[c, c] - product[b, c]
    determinant = inner(a, a) * inner(b, b) - inner(a, b) ** 2
    if determinant <= 0:
        return math.inf
    share_a = (gain_a * inner(b, b) - gain_b * inner(a, b)) / determinant
    share_b = (gain_b * inner(a, a) - gain_a * inner(a, b)) / determinant
    if share_a < 0 or share_b < 0 or share_a + share_b > 1:
        return math.inf
    return max(product[c, c] - share_a * gain_a - share_b * gain_b, 0.0)
