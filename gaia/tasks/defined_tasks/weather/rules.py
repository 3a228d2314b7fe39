"""What measures are worth: the scoring rules of the subnet, by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median

from gaia.tasks.defined_tasks.weather.variables import level_weights, split_field

# Day 1 (scoring.md, 3.3)
DAY1_SKILL_SHARE, DAY1_ACC_SHARE = 0.6, 0.4
LEAST_PATTERN_CORRELATION = 0.3
CLONE_DISTANCE: Mapping[str, float] = {"2t": 0.0025, "msl": 400.0, "10u": 0.01, "10v": 0.01, "z500": 100.0}
"""Mean squared difference to the GFS forecast, in the field's unit squared, below which a field is a copy."""
CLONE_PENALTY = 1.0
CLONE_CEILING = 0.05

# One lead against ERA5, and the whole forecast (scoring.md, 3.4)
SKILL_SHARE, ACC_SHARE, RMSE_SHARE = 0.6, 0.3, 0.1
FINAL_SHARE, DAY1_SHARE = 0.95, 0.05
DAY1_PASS = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Component:
    """The measures of one field at one lead; None where one is not defined or not asked for.

    `skill_climatology` and `skill_gfs` are those of gaia-2.9, of the forecast
    corrected with the truth; `skill_persistence` and `skill_blend` are plain. The four
    ``mse_<baseline>`` are the baselines' own errors, of which any plain skill follows.
    """

    field: str
    lead_hours: int
    rmse: float
    mse: float
    mae: float
    bias: float
    error_sd: float | None = None
    acc: float | None
    acc_uncentred: float | None = None
    skill_climatology: float | None
    skill_gfs: float | None = None
    skill_persistence: float | None = None
    skill_blend: float | None = None
    activity: float | None = None
    pattern_correlation: float | None = None
    clone_distance: float | None = None
    mse_climatology: float | None = None
    mse_gfs: float | None = None
    mse_persistence: float | None = None
    mse_blend: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleSet:
    """One named, unchanging way from components to scores in [0, 1]."""

    name: str
    day1_score: Callable[[Sequence[Component]], float]
    lead_score: Callable[[Sequence[Component], Sequence[str]], float]
    overall_score: Callable[[float | None, Mapping[int, float], Sequence[int]], float]


def day1_score(components: Sequence[Component]) -> float:
    """Score the first day: skill over the GFS forecast and anomaly correlation.

    ``0.6 mean(max(0, skill)) + 0.4 mean((acc + 1) / 2)`` over all components.
    A field that does not resemble the GFS forecast at all, or whose measure is
    undefined, counts as 0 and stays in the mean. A field closer to the GFS
    forecast than `CLONE_DISTANCE` loses skill, and holds the score down to `CLONE_CEILING`.
    """
    if not components:
        return 0.0
    sane = [component if _resembles_weather(component) else None for component in components]
    skills = [max(0.0, (c.skill_gfs or 0.0) - _clone_penalty(c)) if c else 0.0 for c in sane]
    correlations = [_unit_acc(c.acc) if c else 0.0 for c in sane]
    score = _clip(DAY1_SKILL_SHARE * fmean(skills) + DAY1_ACC_SHARE * fmean(correlations))
    return min(score, CLONE_CEILING) if any(map(_clone_penalty, components)) else score


def lead_score(components: Sequence[Component], expected_fields: Sequence[str]) -> float:
    """Score one lead against ERA5.

    ``0.6 mean(clip(skill)) + 0.3 mean((acc + 1) / 2) + 0.1 mean(1 / (1 + rmse / median rmse))``
    over variables. Levels of a variable are first averaged by the thickness they
    stand for: skill, acc and squared error, its root last. An undefined skill or
    acc counts as 0. If any expected field is missing the lead scores 0.
    """
    by_field = {component.field: component for component in components}
    if not expected_fields or not by_field.keys() >= set(expected_fields):
        return 0.0
    skills, correlations, errors = [], [], []
    for fields in _by_variable(expected_fields).values():
        weighted = [(weight, by_field[field]) for field, weight in fields.items()]
        skills.append(_clip(sum(w * (c.skill_climatology or 0.0) for w, c in weighted)))
        correlations.append(sum(w * _unit_acc(c.acc) for w, c in weighted))
        errors.append(sum(w * c.mse for w, c in weighted) ** 0.5)
    typical = median(errors)
    closeness = [1.0 / (1.0 + (error / typical if typical > 0 else 1.0)) for error in errors]
    return _clip(
        SKILL_SHARE * fmean(skills) + ACC_SHARE * fmean(correlations) + RMSE_SHARE * fmean(closeness)
    )


def overall_score(
    day1: float | None, lead_scores: Mapping[int, float], expected_leads: Sequence[int]
) -> float:
    """Score a whole forecast: the mean over all expected leads, and a little for passing day 1.

    A lead without a score counts as 0. `day1` None: not scored, so not passed. A
    rejected forecast is worth 0 whatever it had earned before; that is its state's to say.
    """
    final = sum(lead_scores.get(lead, 0.0) for lead in expected_leads) / max(len(expected_leads), 1)
    passed = day1 is not None and day1 >= DAY1_PASS
    return _clip(FINAL_SHARE * final + DAY1_SHARE * passed)


RULE_SETS: Mapping[str, RuleSet] = {
    rules.name: rules
    for rules in (
        RuleSet(name="gaia-2.9", day1_score=day1_score, lead_score=lead_score, overall_score=overall_score),
    )
}


def _resembles_weather(component: Component) -> bool:
    pattern = component.pattern_correlation
    return pattern is not None and pattern >= LEAST_PATTERN_CORRELATION


def _clone_penalty(component: Component) -> float:
    limit, distance = CLONE_DISTANCE.get(component.field), component.clone_distance
    if limit is None or distance is None or distance >= limit:
        return 0.0
    return CLONE_PENALTY * (1.0 - distance / limit)


def _by_variable(fields: Sequence[str]) -> dict[str, dict[str, float]]:
    """Variable -> its fields, each with the weight of its level among them."""
    levels: dict[str, dict[int | None, str]] = {}
    for field in fields:
        variable, level = split_field(field)
        levels.setdefault(variable, {})[level] = field
    grouped: dict[str, dict[str, float]] = {}
    for variable, names in levels.items():
        weights = level_weights([level for level in names if level is not None])
        grouped[variable] = {name: 1.0 if level is None else weights[level] for level, name in names.items()}
    return grouped


def _unit_acc(acc: float | None) -> float:
    return 0.0 if acc is None else (acc + 1.0) / 2.0


def _clip(value: float) -> float:
    return min(max(value, 0.0), 1.0)
