"""Weight rule gaia-2.9: computes the weights of the live network, including its quirks.

Two quirks are left out for safety: the rule contains no uid, and a miner with uid 0 earns like
any other (docs/explanation/scoring.md).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from statistics import fmean, pstdev
from typing import Final

from gaia.validator.core.weights.rules.base import Copies, Entry, Run, Standing, WeightRule

# The best miner's bonus in a run (scoring.md, 3.5)
BONUS = 0.05
BONUS_FROM = 0.7
BONUS_WINNERS = 2
HIGHEST_RUN_SCORE = 1.1

# The generalised logistic (scoring.md, 3.6)
LOWEST, HIGHEST = 0.0, 0.98
STEEPNESS, OFFSET, ASYMMETRY, SLOPE = 70.0, 8.0, 0.3, 0.01
MIDPOINT_PERCENTILE = 80.0
FEWEST_DISTINCT = 3
LITTLE_CONTRAST = 0.03


def run_scores(entries: Mapping[str, Entry]) -> Run:
    """Return the present overall scores; leads that are not scored yet count as 0 (Q6)."""
    return {
        hotkey: None if entry.standing is Standing.EXCUSED else entry.overall
        for hotkey, entry in entries.items()
        if entry.overall is not None or entry.standing is Standing.EXCUSED
    }


def shares(
    runs: Sequence[Run],
    eligible: Collection[str],
    contrast_gamma: float,
    _copies: Copies,
) -> dict[str, float]:
    """Return the weights of eligible hotkeys from their means over the window."""
    return relative_weights(worths(runs, eligible), contrast_gamma)


def worths(runs: Sequence[Run], eligible: Collection[str]) -> dict[str, float]:
    """Return the means of eligible hotkeys over the window."""
    return {hotkey: mean for hotkey, mean in window_means(runs).items() if hotkey in eligible}


def window_means(runs: Sequence[Run]) -> dict[str, float]:
    """Return each hotkey's mean score with bonuses, over all runs from which it was not excused.

    Q6: absence from a run counts as 0, also before the hotkey was registered. A hotkey excused
    from every run has no mean.
    """
    totals: dict[str, list[float]] = {}
    excuses: Counter[str] = Counter()
    for run in runs:
        for hotkey, score in with_bonus(run).items():
            totals.setdefault(hotkey, []).append(score)
        excuses.update(hotkey for hotkey, score in run.items() if score is None)
    return {hotkey: math.fsum(scores) / (len(runs) - excuses[hotkey]) for hotkey, scores in totals.items()}


def with_bonus(run: Run) -> dict[str, float]:
    """Return the scores of a run with the bonus of the best miner, which at most two winners get (Q7).

    Examples
    --------
    >>> with_bonus({"a": 0.75, "b": 0.5, "excused": None})
    {'a': 0.8, 'b': 0.5}
    """
    scores = {hotkey: score for hotkey, score in run.items() if score is not None}
    best = max(scores.values(), default=0.0)
    winners = sum(score == best for score in scores.values())
    bonus = BONUS / winners if best >= BONUS_FROM and winners <= BONUS_WINNERS else 0.0
    return {
        hotkey: min(max(score + (bonus if score == best else 0.0), 0.0), HIGHEST_RUN_SCORE)
        for hotkey, score in scores.items()
    }


def relative_weights(scores: Mapping[str, float], contrast_gamma: float) -> dict[str, float]:
    """Return the weights of those with a positive score, summing to 1; empty if there are none.

    Q8: the weight is nearly a step at the 80th percentile, so the rank decides who earns. If all
    scores are similar (variation below `LITTLE_CONTRAST`), it is the relative score to the power
    of gamma.
    """
    best = max(scores.values(), default=0.0)
    relative = {hotkey: score / best for hotkey, score in scores.items() if score > 0}
    if not relative:
        return {}
    distinct = sorted(set(relative.values()))
    middle = percentile(
        distinct if len(distinct) >= FEWEST_DISTINCT else sorted(relative.values()), MIDPOINT_PERCENTILE
    )
    weights = {hotkey: logistic(x, middle) for hotkey, x in relative.items()}
    if pstdev(weights.values()) / fmean(weights.values()) < LITTLE_CONTRAST:
        weights = {hotkey: weight * relative[hotkey] ** contrast_gamma for hotkey, weight in weights.items()}
    total = math.fsum(weights.values())
    return {hotkey: weight / total for hotkey, weight in weights.items()}


def logistic(x: float, middle: float) -> float:
    """Return the weight of a relative score: nearly a step at `middle`, with a slight slope.

    Examples
    --------
    >>> [round(logistic(x, 0.8), 4) for x in (0.8, 0.85, 0.9, 1.0)]
    [0.0086, 0.4849, 0.9655, 0.99]
    """
    growth = math.pow(1.0 + OFFSET * math.exp(-STEEPNESS * (x - middle)), 1.0 / ASYMMETRY)
    return LOWEST + (HIGHEST - LOWEST) / growth + SLOPE * x


def percentile(ordered: Sequence[float], percent: float) -> float:
    """Return a percentile of values in ascending order, interpolated linearly between neighbours."""
    position = (len(ordered) - 1) * percent / 100.0
    below = math.floor(position)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (position - below)


RULE: Final = WeightRule(name="gaia-2.9", run_scores=run_scores, worths=worths, shares=shares)
