"""What follows from a change of one forecast holds for every history of changes, without a database."""

from __future__ import annotations

import math
import struct
from dataclasses import replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gaia.tasks.defined_tasks.weather.forecasts.lifecycle import LIVING, Event, State
from gaia.tasks.defined_tasks.weather.forecasts.outcomes import (
    Forfeited,
    GivenUp,
    Known,
    LeadChange,
    Outcome,
    Scored,
    Total,
    ending,
    outcome,
    shadow_total,
    standing_of,
    total_of,
)
from gaia.tasks.defined_tasks.weather.lead_kinds import LeadKind
from gaia.tasks.defined_tasks.weather.rules import RULE_SETS, Component, RuleSet
from gaia.validator.db.inputs import Contract

CONTRACT = Contract(
    day1_lead_hours=(6, 12, 18), final_lead_hours=(24, 48), day1_fields=("2t",), final_fields=("2t",)
)
LEADS = [
    *((LeadKind.DAY1, hours) for hours in CONTRACT.day1_lead_hours),
    *((LeadKind.FINAL, hours) for hours in CONTRACT.final_lead_hours),
]
AT_WORK = (State.FROZEN, State.SCORED_DAY1, State.SCORED, State.REJECTED, State.EXCUSED)
ENDINGS = (Event.MINER_FAILED, Event.VALIDATOR_FAILED)

shares = st.floats(0.0, 1.0)
leads = st.sampled_from(LEADS)
rule_sets = st.sampled_from(list(RULE_SETS.values()))


@st.composite
def components(draw: st.DrawFn) -> Component:
    rmse = draw(st.floats(0.01, 10.0))
    return Component(
        field="2t",
        lead_hours=24,
        rmse=rmse,
        mse=rmse * rmse,
        mae=rmse,
        bias=draw(st.floats(-5.0, 5.0)),
        acc=draw(st.none() | shares),
        skill_climatology=draw(st.none() | shares),
        skill_gfs=draw(st.none() | shares),
        mse_climatology=draw(st.none() | st.floats(0.1, 100.0)),
        mse_gfs=draw(st.none() | st.floats(0.1, 100.0)),
    )


changes: st.SearchStrategy[LeadChange] = st.one_of(
    st.builds(Scored, leads, st.lists(components(), min_size=1, max_size=1)),
    st.builds(Forfeited, leads),
    st.builds(GivenUp, st.sampled_from(LEADS[:3])),
)
histories = st.lists(changes, max_size=8)


def after(history: list[LeadChange], rules: RuleSet, state: State = State.FROZEN) -> Known:
    """What the database holds of a forecast that went through `history`."""
    known = Known(state=state, scored={})
    for change in history:
        result = outcome(known, change, rules, CONTRACT)
        known = Known(state=result.state, scored={rules.name: result.scored})
    return known


def bits(total: Total) -> tuple[object, ...]:
    """A total so that equal means the same bits, NaN among them."""
    values = [total.day1, total.overall, *total.leads.values()]
    return (
        total.counted,
        tuple(total.leads),
        *(None if value is None else struct.pack("<d", value) for value in values),
    )


@given(histories, changes, rule_sets, st.sampled_from(AT_WORK))
def test_same_change_a_second_time_changes_nothing(
    history: list[LeadChange], change: LeadChange, rules: RuleSet, state: State
) -> None:
    once = after([*history, change], rules, state)

    again = outcome(once, change, rules, CONTRACT)

    assert again.state is once.state
    assert bits(again.total) == bits(standing_of(once, rules, CONTRACT).total)


@given(histories, changes, rule_sets)
def test_lead_that_is_known_keeps_its_score(
    history: list[LeadChange], change: LeadChange, rules: RuleSet
) -> None:
    known = after(history, rules)

    result = outcome(known, change, rules, CONTRACT)

    before = {lead: struct.pack("<d", score) for lead, score in known.under(rules).items()}
    now = {lead: struct.pack("<d", score) for lead, score in result.scored.items()}
    assert before.items() <= now.items()
    assert set(now) - set(before) <= {change.lead}


@given(st.lists(changes, max_size=6, unique_by=lambda change: change.lead), rule_sets, st.randoms())
def test_order_in_which_leads_come_makes_no_difference_to_a_bit(
    history: list[LeadChange], rules: RuleSet, chance: Random
) -> None:
    shuffled = list(history)
    chance.shuffle(shuffled)

    one, other = after(history, rules), after(shuffled, rules)

    assert one.state is other.state
    assert bits(standing_of(one, rules, CONTRACT).total) == bits(standing_of(other, rules, CONTRACT).total)


@given(histories, rule_sets)
def test_state_says_which_kinds_of_leads_are_scored_whole(history: list[LeadChange], rules: RuleSet) -> None:
    known = after(history, rules)

    scored = known.under(rules).keys()
    has_day1 = all((LeadKind.DAY1, hours) in scored for hours in CONTRACT.day1_lead_hours)
    has_final = all((LeadKind.FINAL, hours) in scored for hours in CONTRACT.final_lead_hours)
    assert known.state is (State.FROZEN if not has_day1 else State.SCORED if has_final else State.SCORED_DAY1)


@given(histories, rule_sets, st.sampled_from([state for state in State if state not in LIVING]))
def test_forecast_that_has_ended_is_moved_by_nothing(
    history: list[LeadChange], rules: RuleSet, state: State
) -> None:
    known = after(history, rules, state)

    assert known.state is state
    assert [ending(known, event, rules, CONTRACT) for event in ENDINGS] == [None, None]


@given(histories, rule_sets, st.sampled_from(LIVING))
def test_rejected_forecast_is_worth_the_worst_and_an_excused_one_is_not_counted(
    history: list[LeadChange], rules: RuleSet, state: State
) -> None:
    known = replace(after(history, rules), state=state)

    rejected = ending(known, Event.MINER_FAILED, rules, CONTRACT)
    excused = ending(known, Event.VALIDATOR_FAILED, rules, CONTRACT)

    assert rejected is not None
    assert excused is not None
    assert (rejected.state, rejected.total.overall, rejected.total.counted) == (
        State.REJECTED,
        rules.worst,
        True,
    )
    assert (excused.state, excused.total.counted) == (State.EXCUSED, False)


@given(histories, histories, st.sampled_from(AT_WORK))
def test_forecast_counts_under_shadow_rules_only_if_they_scored_every_lead(
    history: list[LeadChange], theirs: list[LeadChange], state: State
) -> None:
    rules, shadow = RULE_SETS["gaia-2.9"], RULE_SETS["gaia-next"]
    known = Known(state=state, scored=dict(after(history, rules).scored) | dict(after(theirs, shadow).scored))

    total = shadow_total(known, {}, shadow, CONTRACT, standing_of(known, rules, CONTRACT))

    has_all = known.under(rules).keys() <= known.under(shadow).keys()
    assert total.counted == (has_all and state is not State.EXCUSED)


@given(histories, leads, rule_sets)
def test_forfeited_lead_scores_the_worst(
    history: list[LeadChange], lead: tuple[LeadKind, int], rules: RuleSet
) -> None:
    known = after([change for change in history if change.lead != lead], rules)

    result = outcome(known, Forfeited(lead), rules, CONTRACT)

    assert result.score == result.scored[lead] == rules.worst


@pytest.mark.parametrize("rules", RULE_SETS.values(), ids=list(RULE_SETS))
def test_lead_of_the_first_day_that_was_given_up_counts_as_if_it_had_not_been_asked_for(
    rules: RuleSet,
) -> None:
    given_up = after([Forfeited(LEADS[0]), GivenUp(LEADS[1]), GivenUp(LEADS[2])], rules)

    total = standing_of(given_up, rules, CONTRACT).total

    assert total.day1 == rules.worst
    assert given_up.state is State.SCORED_DAY1


@pytest.mark.parametrize("rules", RULE_SETS.values(), ids=list(RULE_SETS))
@pytest.mark.parametrize("score", [-1.0, 0.25, 1.0])
def test_lead_against_era5_that_was_given_up_counts_as_if_it_had_not_been_asked_for(
    rules: RuleSet, score: float
) -> None:
    known, lost = (LeadKind.FINAL, 24), (LeadKind.FINAL, 48)
    shorter = replace(CONTRACT, final_lead_hours=(24,))

    total = total_of(rules, {known: score, lost: math.nan}, CONTRACT, State.SCORED_DAY1)

    assert total == total_of(rules, {known: score}, shorter, State.SCORED_DAY1)
    assert not math.isnan(total.overall)


def test_lead_without_a_score_is_not_written_into_the_row() -> None:
    rules = RULE_SETS["gaia-2.9"]
    known = Known(state=State.FROZEN, scored={rules.name: {(LeadKind.FINAL, 24): math.nan}})

    result: Outcome = outcome(known, Forfeited((LeadKind.FINAL, 48)), rules, CONTRACT)

    assert result.total.leads == {48: rules.worst}
