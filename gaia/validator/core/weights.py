"""Scores of the runs in the window to one weight vector."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import fmean, pstdev

from gaia.validator.utils.ipc_types import Metagraph, Neuron

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

ACTIVE_VALIDATOR_BLOCKS = 500
U16_MAX = 65535


def weight_vector(
    runs: Sequence[Mapping[str, float | None]],
    metagraph: Metagraph,
    *,
    burn_fraction: float,
    burn_enabled: bool,
    burn_hotkey: str,
    contrast_gamma: float,
) -> dict[int, float] | None:
    """Turn the runs of the window into weights over uids.

    Parameters
    ----------
    runs
        One mapping a run, hotkey to overall score in [0, 1]. A hotkey that is
        absent from a run scored 0 in it; None, excused, leaves the run out of its mean.
    metagraph
        Who is registered now. Uids are looked up in it last of all.
    burn_fraction
        Part of the weight that is burnt, in [0, 1].
    burn_enabled
        Burn at all.
    burn_hotkey
        Hotkey that burns; "": the subnet owner's.
    contrast_gamma
        Exponent of the relative score applied where weights hardly differ.

    Returns
    -------
    dict
        Uid to weight, all positive, summing to 1. Everything goes to the burn
        hotkey where nobody earned anything. None: hold, set no weights; that is
        so where nobody earned anything and nothing is burnt, and where the burn
        hotkey is not registered, as its part is not ours to hand out.

    Notes
    -----
    Hotkeys no longer registered, miners without an address and validators (a
    permit, and weights set in the last `ACTIVE_VALIDATOR_BLOCKS`) earn nothing.
    """
    neurons = {neuron.hotkey: neuron for neuron in metagraph.neurons}
    burner = burn_hotkey or metagraph.owner_hotkey
    if burn_enabled and burner not in neurons:
        return None
    earned = {
        hotkey: score
        for hotkey, score in window_means(runs).items()
        if hotkey in neurons and _may_earn(neurons[hotkey], metagraph.block)
    }
    shares = relative_weights(earned, contrast_gamma)
    if burn_enabled:
        shares = _burn(shares, burner, burn_fraction)
    if not shares:
        return None
    return {neurons[hotkey].uid: weight for hotkey, weight in shares.items() if weight > 0}


def window_means(runs: Sequence[Mapping[str, float | None]]) -> dict[str, float]:
    """Return each hotkey's mean score with bonuses over all runs it was not excused from.

    Absence from a run counts as 0. A hotkey excused from every run has no mean.
    """
    totals: dict[str, list[float]] = {}
    excuses: Counter[str] = Counter()
    for run in runs:
        for hotkey, score in with_bonus(run).items():
            totals.setdefault(hotkey, []).append(score)
        excuses.update(hotkey for hotkey, score in run.items() if score is None)
    return {hotkey: math.fsum(scores) / (len(runs) - excuses[hotkey]) for hotkey, scores in totals.items()}


def with_bonus(run: Mapping[str, float | None]) -> dict[str, float]:
    """Return the scores of a run with the best miner's bonus, which at most two winners share.

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
    """Return the weights of those with a positive score, summing to 1; empty if there are none."""
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
    """Return the weight of a relative score: practically a step at `middle`, with a slight slope.

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


def quantise(weights: Mapping[int, float]) -> tuple[list[int], list[int]]:
    """Return uids in ascending order and their weights as the chain stores them.

    The largest becomes 65535; what rounds to 0 is left out.

    Examples
    --------
    >>> quantise({7: 0.75, 0: 0.25, 3: 0.0})
    ([0, 7], [21845, 65535])
    """
    largest = max(weights.values(), default=0.0)
    if largest <= 0:
        return [], []
    scaled = {uid: round(weight / largest * U16_MAX) for uid, weight in sorted(weights.items())}
    kept = {uid: weight for uid, weight in scaled.items() if weight > 0}
    return list(kept), list(kept.values())


def _may_earn(neuron: Neuron, block: int) -> bool:
    is_validator = neuron.validator_permit and block - neuron.last_update < ACTIVE_VALIDATOR_BLOCKS
    return bool(neuron.ip) and not is_validator


def _burn(shares: Mapping[str, float], burner: str, fraction: float) -> dict[str, float]:
    if not shares:
        return {burner: 1.0}
    kept = {hotkey: share * (1.0 - fraction) for hotkey, share in shares.items()}
    return {**kept, burner: kept.get(burner, 0.0) + fraction}
