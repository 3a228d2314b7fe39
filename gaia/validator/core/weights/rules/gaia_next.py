"""Weight rule gaia-next: pays for the lower confidence bound of skill, once for each piece of work.

It uses no step and no rank. A miner's pay changes smoothly with its own scores. Scores of others
affect it only through the division of the total, or through overlapping work.
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
"""Standard errors between mean and bound: the most for which a better run never lowers the bound."""

PRIOR_SPREAD: Final = 0.05
"""Prior standard deviation of run scores, with the weight of one run."""

LAST: Final = math.inf


def run_scores(entries: Mapping[str, Entry]) -> Run:
    """Return each hotkey's mean over the finalised leads; empty if no lead is finalised.

    A lead is finalised once it is scored for every delivered forecast. A forecast without a score
    for it then gets -1; a rejected one gets -1 for all leads.
    """
    delivered = [entry for entry in entries.values() if entry.standing is Standing.DELIVERED]
    finalised = set.intersection(*(set(entry.leads) for entry in delivered)) if delivered else set()
    if not finalised:
        return {}
    return {hotkey: _over(entry, sorted(finalised)) for hotkey, entry in entries.items()}


def shares(
    runs: Sequence[Run],
    eligible: Collection[str],
    _contrast_gamma: float,
    copies: Copies,
) -> dict[str, float]:
    """Return the shares of eligible hotkeys: lower bounds of skill, with each piece of work paid once."""
    paid = rewards(worths(runs, eligible), copies)
    total = math.fsum(paid.values())
    return {hotkey: reward / total for hotkey, reward in paid.items() if reward > 0.0}


def worths(runs: Sequence[Run], eligible: Collection[str]) -> dict[str, float]:
    """Return the lower bounds of skill of eligible hotkeys, in their order."""
    counted = [run for run in runs if run]
    hotkeys = sorted({hotkey for run in counted for hotkey in run if hotkey in eligible})
    return {hotkey: lower_confidence_skill(counted, hotkey) for hotkey in hotkeys}


def earning(runs: Sequence[Run], eligible: Collection[str]) -> list[str]:
    """Return the hotkeys with positive skill, in order, because copies of others do not matter."""
    return [hotkey for hotkey, worth in worths(runs, eligible).items() if worth > 0.0]


def lower_confidence_skill(runs: Sequence[Run], hotkey: str) -> float:
    """Return the lower confidence bound of a hotkey's mean skill over the window, at least 0.

    Runs before its first count as 0, the skill of a public forecast, so that a new registration
    gains nothing. A run missed later counts as -1.
    """
    first = next((place for place, run in enumerate(runs) if hotkey in run), len(runs))
    scores = [run.get(hotkey, WORST) for run in runs[first:]]
    counted = [score for score in scores if score is not None]
    return max(0.0, lower_bound([0.0] * first + counted)) if counted else 0.0


def lower_bound(scores: Sequence[float]) -> float:
    """Return the mean minus its standard error, which is `PRIOR_SPREAD` for one run.

    With at most `ERRORS` standard errors, the bound never falls when a score rises.

    Examples
    --------
    >>> lower_bound([0.25]), round(lower_bound([0.25] * 25), 12)
    (0.2, 0.248)
    """
    mean = fmean(scores)
    spread = math.fsum((score - mean) ** 2 for score in scores) + PRIOR_SPREAD**2
    return mean - ERRORS * math.sqrt(spread) / len(scores)


def rewards(worths: Mapping[str, float], copies: Copies) -> dict[str, float]:
    """Return hotkey -> pay, with each piece of work paid once, to the first who committed to it.

    In the order of commitment, each hotkey gets its skill minus the pay already given for
    overlapping work. An equal copy thus gets nothing; a better one gets the difference. Hotkeys that
    commit simultaneously share overlapping work in proportion. A copy that earns nothing costs the
    original nothing.
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


RULE: Final = WeightRule(
    name="gaia-next", run_scores=run_scores, worths=worths, shares=shares, earning=earning
)
