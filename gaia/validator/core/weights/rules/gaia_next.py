"""Weight rule gaia-next: pay for skill that is sure to be there, once for every piece of work.

No step and no rank: a miner's pay changes smoothly with its own scores, and with
those of others only by division of the whole, or where the work is the same.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from itertools import groupby
from statistics import fmean
from typing import Final

from gaia.validator.core.weights.rules.base import Copies, Entry, Run, Standing, WeightRule

WORST: Final = -1.0
"""Score of a run or lead that is missing."""

ERRORS: Final = 1.0
"""How many standard errors the bound lies below the mean: the most for which a better run never lowers it."""

PRIOR_SPREAD: Final = 0.05
"""Standard deviation of run scores that is presumed, with the weight of one run, before any is seen."""

LAST: Final = math.inf


def run_scores(entries: Mapping[str, Entry]) -> Run:
    """Return each hotkey's mean over the leads that are settled; no hotkeys while none is.

    A lead is settled once it is scored for every forecast that was delivered.
    A forecast without a score for it then has -1; one that was rejected has -1 throughout.
    """
    delivered = [entry for entry in entries.values() if entry.standing is Standing.DELIVERED]
    settled = set.intersection(*(set(entry.leads) for entry in delivered)) if delivered else set()
    if not settled:
        return {}
    return {hotkey: _over(entry, sorted(settled)) for hotkey, entry in entries.items()}


def shares(
    runs: Sequence[Run],
    eligible: Collection[str],
    _contrast_gamma: float,
    copies: Copies,
) -> dict[str, float]:
    """Return the shares of eligible hotkeys: sure skill, each piece of work paid once."""
    counted = [run for run in runs if run]
    hotkeys = sorted({hotkey for run in counted for hotkey in run if hotkey in eligible})
    paid = rewards({hotkey: worth(counted, hotkey) for hotkey in hotkeys}, copies)
    total = math.fsum(paid.values())
    return {hotkey: reward / total for hotkey, reward in paid.items() if reward > 0.0}


def earning(runs: Sequence[Run], eligible: Collection[str]) -> list[str]:
    """Return the hotkeys that have something to be paid for, in order: copies of others need not be known."""
    counted = [run for run in runs if run]
    hotkeys = sorted({hotkey for run in counted for hotkey in run if hotkey in eligible})
    return [hotkey for hotkey in hotkeys if worth(counted, hotkey) > 0.0]


def worth(runs: Sequence[Run], hotkey: str) -> float:
    """Return the skill that a hotkey has for sure over the window, at least 0.

    Runs before its first count as 0, no better than what is public: to come anew
    gains nothing. A run missed later counts as -1.
    """
    first = next((place for place, run in enumerate(runs) if hotkey in run), len(runs))
    scores = [run.get(hotkey, WORST) for run in runs[first:]]
    counted = [score for score in scores if score is not None]
    return max(0.0, lower_bound([0.0] * first + counted)) if counted else 0.0


def lower_bound(scores: Sequence[float]) -> float:
    """Return the mean less its standard error, which one run leaves at `PRIOR_SPREAD`.

    With `ERRORS` standard errors and no more, the bound never falls when a score rises.

    Examples
    --------
    >>> lower_bound([0.25]), round(lower_bound([0.25] * 25), 12)
    (0.2, 0.248)
    """
    mean = fmean(scores)
    spread = math.fsum((score - mean) ** 2 for score in scores) + PRIOR_SPREAD**2
    return mean - ERRORS * math.sqrt(spread) / len(scores)


def rewards(worths: Mapping[str, float], copies: Copies) -> dict[str, float]:
    """Pay each piece of work once, to whom it belongs first.

    In the order of commitment, each hotkey gets its worth less what was paid
    already for the part of its work that overlaps: an equal copy gets nothing, a
    better one what it is better by. Those who commit at once divide what overlaps
    among themselves, in proportion. Nobody is charged for a copy that earns nothing.
    """
    ordered = sorted(worths, key=lambda hotkey: (copies.committed.get(hotkey, LAST), hotkey))
    paid: dict[str, float] = {}
    for _, group in groupby(ordered, key=lambda hotkey: copies.committed.get(hotkey, LAST)):
        left = {hotkey: _left(worths[hotkey], copies.overlap.get(hotkey, {}), paid) for hotkey in group}
        for hotkey, amount in left.items():
            others = copies.overlap.get(hotkey, {})
            claimed = amount + math.fsum(
                part * left[other] for other, part in others.items() if other in left and other != hotkey
            )
            paid[hotkey] = amount * amount / claimed if claimed > 0.0 else 0.0
    return paid


def _left(worth: float, overlap: Mapping[str, float], paid: Mapping[str, float]) -> float:
    charged = math.fsum(part * paid[other] for other, part in overlap.items() if other in paid)
    return max(0.0, worth - charged)


def _over(entry: Entry, leads: Sequence[int]) -> float | None:
    if entry.standing is Standing.EXCUSED:
        return None
    if entry.standing is Standing.REJECTED:
        return WORST
    return fmean(entry.leads.get(lead, WORST) for lead in leads)


RULE: Final = WeightRule(name="gaia-next", run_scores=run_scores, shares=shares, earning=earning)
