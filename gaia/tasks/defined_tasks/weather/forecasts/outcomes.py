"""Decides what follows for a forecast when one of its leads is scored, or when it ends.

All functions are pure: they get what the database holds and what has happened. They use no clock, no
database and no settings; `ScoreBook` stores the result.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gaia.tasks.defined_tasks.weather.forecasts.lifecycle import TRANSITIONS, Event, State
from gaia.tasks.defined_tasks.weather.lead_kinds import LeadKind
from gaia.tasks.defined_tasks.weather.rules import Component, RuleSet
from gaia.tasks.defined_tasks.weather.rules.base import in_turn

if TYPE_CHECKING:
    from gaia.validator.db.inputs import Contract

LeadKey = tuple[str, int]
"""(kind, lead in hours)."""

_COMPLETED_BY = ((LeadKind.DAY1, Event.DAY1_SCORED), (LeadKind.FINAL, Event.FINAL_SCORED))
"""Both kinds are checked each time, because day 1 may be scored after every other lead."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Total:
    """The part of a row of score_table that follows from lead scores."""

    day1: float | None
    leads: Mapping[int, float]
    overall: float
    counted: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What the database holds about one forecast."""

    state: State
    scored: Mapping[str, Mapping[LeadKey, float]]
    """Rule set -> its lead scores so far."""

    has_contract: bool = True
    """Whether the run's contract is stored."""

    def under(self, rules: RuleSet) -> Mapping[LeadKey, float]:
        """Return the present lead scores under `rules`."""
        return self.scored.get(rules.name, {})


@dataclass(frozen=True, slots=True)
class Scored:
    """A lead was measured."""

    lead: LeadKey
    components: Sequence[Component]


@dataclass(frozen=True, slots=True)
class Forfeited:
    """The miner did not deliver the lead: it gets the worst score."""

    lead: LeadKey


@dataclass(frozen=True, slots=True)
class GivenUp:
    """The lead cannot be scored for any miner: it is NaN and does not count."""

    lead: LeadKey


LeadChange = Scored | Forfeited | GivenUp


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """State and scores of a forecast after a change, under the active rules."""

    state: State
    scored: Mapping[LeadKey, float]
    """All present lead scores."""
    total: Total


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome(Standing):
    """State and scores of a forecast after a change of one lead."""

    score: float
    """Score of the lead."""


def outcome(known: Known, change: LeadChange, rules: RuleSet, contract: Contract) -> Outcome:
    """Return the outcome of a change of one lead under the active `rules`.

    A lead that has a score keeps it, so repeating a change has no effect.
    """
    score = score_of_change(change, rules, contract)
    scored = {change.lead: score, **known.under(rules)}
    state = _moved_on(known.state, scored, contract)
    total = total_of(rules, scored, contract, state)
    return Outcome(state=state, score=score, scored=scored, total=total)


def ending(known: Known, event: Event, rules: RuleSet, contract: Contract) -> Standing | None:
    """Return the outcome of `event`, which ends a forecast; None if it has already ended."""
    state = TRANSITIONS[known.state].get(event)
    if state is None:
        return None
    scored = known.under(rules)
    return Standing(state=state, scored=scored, total=total_of(rules, scored, contract, state))


def shadow_total(
    known: Known, new: Mapping[LeadKey, float], shadow: RuleSet, contract: Contract, active: Standing
) -> Total:
    """Return the row under shadow rules, whose lead scores are the known ones and `new`.

    Shadow rules never change a forecast's state. It counts under them only if they have scored
    every lead that the active rules have scored.
    """
    scored = {**new, **known.under(shadow)}
    is_whole = active.scored.keys() <= scored.keys()
    return total_of(shadow, scored, contract, active.state, is_whole=is_whole)


def standing_of(known: Known, rules: RuleSet, contract: Contract) -> Standing:
    """Return the present outcome of a forecast under the active `rules`."""
    scored = known.under(rules)
    total = total_of(rules, scored, contract, known.state)
    return Standing(state=known.state, scored=scored, total=total)


def score_of_change(change: LeadChange, rules: RuleSet, contract: Contract) -> float:
    """Return the score of the changed lead under `rules`."""
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
    """Return the score of one lead under `rules`."""
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
    """Return the scores of a forecast under `rules`, from its lead scores.

    `is_whole` says that these rules scored every lead that was scored at all; else it does not count.
    """
    # In the order of leads, because the last bit of a sum depends on the order of its terms.
    ordered = sorted(scored.items())
    leads = {lead: score for (kind, lead), score in ordered if kind == LeadKind.FINAL}
    first = [score for (kind, _), score in ordered if kind == LeadKind.DAY1]
    # A lead that is NaN was given up for all miners, and counts for none.
    present = [score for score in first if not math.isnan(score)]
    absent = len(first) - len(present)
    day1 = in_turn(present) / (len(contract.day1_lead_hours) - absent) if present else None
    known = {lead: score for lead, score in leads.items() if not math.isnan(score)}
    expected = [lead for lead in contract.final_lead_hours if lead in known or lead not in leads]
    overall = rules.overall_score(day1, known, expected)
    return Total(
        day1=day1,
        # JSON cannot hold NaN.
        leads=known,
        overall=rules.worst if state is State.REJECTED else overall,
        # Without a lead that counts, what is left would be the worst score, for what we have lost.
        counted=state is not State.EXCUSED and is_whole and bool(expected or not leads),
    )


def expected_leads(contract: Contract, kind: str) -> Sequence[int]:
    """Return the leads of one kind at which a run is scored, in hours."""
    return contract.day1_lead_hours if kind == LeadKind.DAY1 else contract.final_lead_hours


def _moved_on(state: State, scored: Mapping[LeadKey, float], contract: Contract) -> State:
    """Return the state after all complete kinds of leads."""
    for kind, event in _COMPLETED_BY:
        if all((kind, hours) in scored for hours in expected_leads(contract, kind)):
            state = TRANSITIONS[state].get(event, state)
    return state
