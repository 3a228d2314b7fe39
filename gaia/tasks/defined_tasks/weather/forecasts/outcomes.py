"""What becomes of a forecast when a lead of it is scored or when it ends: decided here, stored by `ScoreBook`.

Everything here is a pure function of what the database holds and of what has happened: no clock, no
database, no settings.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gaia.tasks.defined_tasks.weather.forecasts.lifecycle import TRANSITIONS, Event, State
from gaia.tasks.defined_tasks.weather.lead_kinds import LeadKind
from gaia.tasks.defined_tasks.weather.rules import Component, RuleSet

if TYPE_CHECKING:
    from gaia.validator.db.inputs import Contract

LeadKey = tuple[str, int]
"""(kind, lead in hours)."""

_COMPLETED_BY = ((LeadKind.DAY1, Event.DAY1_SCORED), (LeadKind.FINAL, Event.FINAL_SCORED))
"""Both are looked at each time: the first day may be scored after every other lead."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Total:
    """A row of score_table, as far as it follows from scores of leads."""

    day1: float | None
    leads: Mapping[int, float]
    overall: float
    counted: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What the database holds of one forecast."""

    state: State
    scored: Mapping[str, Mapping[LeadKey, float]]
    """Rule set -> its lead scores so far."""

    has_contract: bool = True
    """Whether it is stored what the run is scored at."""

    def under(self, rules: RuleSet) -> Mapping[LeadKey, float]:
        """Return the lead scores so far under `rules`."""
        return self.scored.get(rules.name, {})


@dataclass(frozen=True, slots=True)
class Scored:
    """A lead was measured."""

    lead: LeadKey
    components: Sequence[Component]


@dataclass(frozen=True, slots=True)
class Forfeited:
    """A lead could not be had from its miner: it scores the worst."""

    lead: LeadKey


@dataclass(frozen=True, slots=True)
class GivenUp:
    """A lead can be scored for nobody: it is NaN, as if it had not been asked for."""

    lead: LeadKey


LeadChange = Scored | Forfeited | GivenUp


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """A forecast after a change, under the active rules."""

    state: State
    scored: Mapping[LeadKey, float]
    """All lead scores so far."""
    total: Total


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome(Standing):
    """A forecast after a change of one lead."""

    score: float
    """Of the lead."""


def outcome(known: Known, change: LeadChange, rules: RuleSet, contract: Contract) -> Outcome:
    """Return what follows from the change of one lead under `rules`, the active ones.

    A lead that is known keeps its score: the same change a second time changes nothing.
    """
    score = score_of_change(change, rules, contract)
    scored = {change.lead: score, **known.under(rules)}
    state = _moved_on(known.state, scored, contract)
    total = total_of(rules, scored, contract, state)
    return Outcome(state=state, score=score, scored=scored, total=total)


def ending(known: Known, event: Event, rules: RuleSet, contract: Contract) -> Standing | None:
    """Return what follows from `event`, which ends a forecast; None: it has ended already."""
    state = TRANSITIONS[known.state].get(event)
    if state is None:
        return None
    scored = known.under(rules)
    return Standing(state=state, scored=scored, total=total_of(rules, scored, contract, state))


def shadow_total(
    known: Known, new: Mapping[LeadKey, float], shadow: RuleSet, contract: Contract, active: Standing
) -> Total:
    """Return what follows under rules on trial, whose lead scores are those known and `new`.

    They move no forecast, and it counts under them only if they have scored every lead that the active
    rules have.
    """
    scored = {**new, **known.under(shadow)}
    is_whole = active.scored.keys() <= scored.keys()
    return total_of(shadow, scored, contract, active.state, is_whole=is_whole)


def standing_of(known: Known, rules: RuleSet, contract: Contract) -> Standing:
    """Return how a forecast stands under `rules`, the active ones, while nothing changes."""
    scored = known.under(rules)
    total = total_of(rules, scored, contract, known.state)
    return Standing(state=known.state, scored=scored, total=total)


def score_of_change(change: LeadChange, rules: RuleSet, contract: Contract) -> float:
    """Return what `rules` say the changed lead is worth."""
    match change:
        case Scored((kind, _), components):
            return score_of(rules, kind, components, contract.final_fields)
        case Forfeited():
            return rules.worst
        case GivenUp():
            return math.nan


def score_of(
    rules: RuleSet, kind: str, components: Sequence[Component], final_fields: Sequence[str]
) -> float:
    """Return what `rules` say one lead is worth."""
    if kind == LeadKind.DAY1:
        return rules.day1_score(components)
    return rules.lead_score(components, final_fields)


def total_of(
    rules: RuleSet,
    scored: Mapping[LeadKey, float],
    contract: Contract,
    state: State,
    *,
    is_whole: bool = True,
) -> Total:
    """Return what `rules` say a forecast is worth whose leads scored so far.

    `is_whole`: they have scored every lead that was scored at all; else it does not count.
    """
    # In the order of leads: the last bit of a sum depends on the order of its terms.
    ordered = sorted(scored.items())
    leads = {lead: score for (kind, lead), score in ordered if kind == LeadKind.FINAL}
    first = [score for (kind, _), score in ordered if kind == LeadKind.DAY1]
    # A lead that was given up for all alike is NaN, and counts for nobody.
    present = [score for score in first if not math.isnan(score)]
    absent = len(first) - len(present)
    day1 = sum(present) / (len(contract.day1_lead_hours) - absent) if present else None
    overall = rules.overall_score(day1, leads, contract.final_lead_hours)
    return Total(
        day1=day1,
        # A lead that had no score at all is NaN, for which JSON has no word.
        leads={lead: score for lead, score in leads.items() if not math.isnan(score)},
        overall=rules.worst if state is State.REJECTED else overall,
        counted=state is not State.EXCUSED and is_whole,
    )


def expected_leads(contract: Contract, kind: str) -> Sequence[int]:
    """Return the leads of one kind that a run is scored at, in hours."""
    return contract.day1_lead_hours if kind == LeadKind.DAY1 else contract.final_lead_hours


def _moved_on(state: State, scored: Mapping[LeadKey, float], contract: Contract) -> State:
    """Return the state past each kind of leads that is scored whole."""
    for kind, event in _COMPLETED_BY:
        if all((kind, hours) in scored for hours in expected_leads(contract, kind)):
            state = TRANSITIONS[state].get(event, state)
    return state
