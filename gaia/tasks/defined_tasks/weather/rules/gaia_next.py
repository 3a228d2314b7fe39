"""Rule set gaia-next: skill over the best public forecast; missing data get the worst score."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Final

from gaia.tasks.defined_tasks.weather.rules.base import Component, RuleSet, by_variable, in_turn

WORST: Final = -1.0
"""Score of a missing field, lead or forecast, and the lowest possible score."""


def public_skill(component: Component) -> float:
    """Return the plain MSE skill over the best public forecast of this field at this lead, in [-1, 1].

    ``max(-1, 1 - mse / min(mse of GFS, climatology, persistence, their blend))``,
    over the given baselines. The best baseline is chosen after the truth is known, so no public
    forecast can beat it and none has skill on average. Nothing is corrected with the truth.
    Without a baseline the skill is -1.

    Examples
    --------
    >>> measured = dict(field="2t", lead_hours=24, rmse=1.0, mae=1.0, bias=0.0, acc=None, skill_climatology=None)
    >>> public_skill(Component(mse=1.0, mse_gfs=4.0, mse_blend=2.0, **measured))
    0.5
    """
    reference = _best_public_mse(component)
    if reference is None or not math.isfinite(component.mse):
        return WORST
    if reference <= 0.0:
        return 0.0 if component.mse <= 0.0 else WORST
    return max(WORST, 1.0 - component.mse / reference)


def day1_score(components: Sequence[Component]) -> float:
    """Score the first day: the mean public skill, for information.

    It earns nothing, because its analysis is public before forecasts are due.
    """
    return fmean(map(public_skill, components)) if components else WORST


def lead_score(components: Sequence[Component], expected_fields: Sequence[str]) -> float:
    """Score one lead: the mean public skill over variables, levels weighted by thickness.

    An expected field without a component counts as -1; components of other fields are ignored.
    """
    if not expected_fields:
        return WORST
    skills = {component.field: public_skill(component) for component in components}
    grouped = by_variable(expected_fields).values()
    return fmean(
        in_turn(weight * skills.get(field, WORST) for field, weight in fields.items()) for fields in grouped
    )


def overall_score(
    _day1: float | None,
    lead_scores: Mapping[int, float],
    expected_leads: Sequence[int],
) -> float:
    """Score a whole forecast: the mean over all expected leads; a lead without a score counts as -1."""
    return fmean(lead_scores.get(lead, WORST) for lead in expected_leads) if expected_leads else WORST


RULES: Final = RuleSet(
    name="gaia-next",
    measures="plain",
    worst=WORST,
    day1_score=day1_score,
    lead_score=lead_score,
    overall_score=overall_score,
    finds_copies=True,
)


def _best_public_mse(component: Component) -> float | None:
    given = (
        component.mse_gfs,
        component.mse_climatology,
        component.mse_persistence,
        component.mse_blend,
    )
    return min((mse for mse in given if mse is not None), default=None)
