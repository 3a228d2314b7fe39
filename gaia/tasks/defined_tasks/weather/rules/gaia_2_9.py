"""Rule set gaia-2.9: computes the scores of the live network's validators, including their quirks.

docs/explanation/scoring.md names the quirks Q1 to Q9; so do the docstrings here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import fmean, median
from typing import Final

from gaia.tasks.defined_tasks.weather.rules.base import Component, RuleSet, by_variable, in_turn

# Day 1 (scoring.md, 3.3)
DAY1_SKILL_SHARE, DAY1_ACC_SHARE = 0.6, 0.4
LEAST_PATTERN_CORRELATION = 0.3
CLONE_DISTANCE: Mapping[str, float] = {"2t": 0.0025, "msl": 400.0, "10u": 0.01, "10v": 0.01, "z500": 100.0}
"""Mean squared difference from the GFS forecast (unit squared) below which a field is a copy."""
CLONE_PENALTY = 1.0
CLONE_CEILING = 0.05

# One lead against ERA5, and the whole forecast (scoring.md, 3.4)
SKILL_SHARE, ACC_SHARE, RMSE_SHARE = 0.6, 0.3, 0.1
FINAL_SHARE, DAY1_SHARE = 0.95, 0.05
DAY1_PASS = 0.1

ABORTED: Final = math.nan
"""Score of a lead that lacks an expected field; it makes all other leads count as 0."""


def day1_score(components: Sequence[Component]) -> float:
    """Score the first day: skill over the GFS forecast and anomaly correlation.

    ``0.6 mean(max(0, skill - penalty)) + 0.4 mean((acc + 1) / 2)``.

    Q1: the means leave out fields that do not resemble the GFS forecast, and undefined
    measures. A miner therefore gains by leaving out a bad field.
    Q2: a field closer to the GFS forecast than `CLONE_DISTANCE` limits the score to
    `CLONE_CEILING`; a little noise evades this.
    """
    sane = [component for component in components if _resembles_weather(component)]
    skills = [max(0.0, c.skill_gfs - _clone_penalty(c)) for c in sane if c.skill_gfs is not None]
    correlations = [(c.acc + 1.0) / 2.0 for c in sane if c.acc is not None]
    score = _clip(DAY1_SKILL_SHARE * _mean_or_0(skills) + DAY1_ACC_SHARE * _mean_or_0(correlations))
    return min(score, CLONE_CEILING) if any(map(_clone_penalty, sane)) else score


def lead_score(components: Sequence[Component], expected_fields: Sequence[str]) -> float:
    """Score one lead against ERA5.

    ``0.6 mean(clip(skill)) + 0.3 mean((acc + 1) / 2) + 0.1 mean(1 / (1 + rmse / typical))``
    over variables. The levels of a variable are first averaged, weighted by their thickness:
    skill, acc and squared error, whose root comes last.

    Q3: an undefined skill counts as 0, but a variable with an undefined acc is left out of
    the mean of acc. If all are undefined, the score is the skill alone.
    Q4: `typical` is the median of the forecast's own errors, over variables of different
    units. The third term is therefore about 0.05 for any forecast. A perfect one (typical 0:
    closeness one half) scores 0.95.
    Q5: a lead that lacks an expected field is `ABORTED`.
    """
    by_field = {component.field: component for component in components}
    if not expected_fields or not by_field.keys() >= set(expected_fields):
        return ABORTED
    skills, correlations, errors = [], [], []
    for fields in by_variable(expected_fields).values():
        weighted = [(weight, by_field[field]) for field, weight in fields.items()]
        skills.append(_clip(in_turn(w * _or_0(c.skill_climatology) for w, c in weighted)))
        if all(c.acc is not None for _, c in weighted):
            correlations.append(in_turn(w * (_or_0(c.acc) + 1.0) / 2.0 for w, c in weighted))
        errors.append(math.sqrt(in_turn(w * c.mse for w, c in weighted)))
    if not correlations:
        return fmean(skills)
    typical = median(errors)
    closeness = [1.0 / (1.0 + (error / typical if typical > 0 else 1.0)) for error in errors]
    return _clip(
        SKILL_SHARE * fmean(skills) + ACC_SHARE * fmean(correlations) + RMSE_SHARE * fmean(closeness)
    )


def overall_score(
    day1: float | None, lead_scores: Mapping[int, float], expected_leads: Sequence[int]
) -> float:
    """Score a whole forecast: the mean over all expected leads, and a bonus for passing day 1.

    A lead without a score counts as 0; if one lead is `ABORTED`, all count as 0 (Q5). With `day1`
    None, day 1 is not passed. The caller gives a rejected forecast `RULES.worst` instead.
    """
    passed = day1 is not None and day1 >= DAY1_PASS
    scores = [lead_scores.get(lead, 0.0) for lead in expected_leads]
    final = 0.0 if any(map(math.isnan, scores)) else in_turn(scores) / max(len(scores), 1)
    return _clip(FINAL_SHARE * final + DAY1_SHARE * passed)


RULES: Final = RuleSet(
    name="gaia-2.9",
    measures="gaia-2.9",
    worst=0.0,
    day1_score=day1_score,
    lead_score=lead_score,
    overall_score=overall_score,
)


def _resembles_weather(component: Component) -> bool:
    pattern = component.pattern_correlation
    return pattern is not None and pattern >= LEAST_PATTERN_CORRELATION


def _clone_penalty(component: Component) -> float:
    limit, distance = CLONE_DISTANCE.get(component.field), component.clone_distance
    if limit is None or distance is None or distance >= limit:
        return 0.0
    return CLONE_PENALTY * (1.0 - distance / limit)


def _mean_or_0(values: Sequence[float]) -> float:
    return fmean(values) if values else 0.0


def _or_0(value: float | None) -> float:
    return 0.0 if value is None else value


def _clip(value: float) -> float:
    return min(max(value, 0.0), 1.0)
