"""One table is the state machine, and the database obeys it."""

import re

import pytest

from gaia.tasks.defined_tasks.weather.forecasts.lifecycle import LIVING, TRANSITIONS, Event, State, moves_for
from gaia.validator.db.schema.files import read_migrations


def reachable() -> set[State]:
    seen, frontier = {State.PLANNED}, [State.PLANNED]
    while frontier:
        for target in TRANSITIONS[frontier.pop()].values():
            if target not in seen:
                seen.add(target)
                frontier.append(target)
    return seen


def test_every_state_can_be_reached() -> None:
    assert reachable() == set(State)


@pytest.mark.parametrize("state", LIVING)
def test_every_living_state_can_end_by_either_side(state: State) -> None:
    assert TRANSITIONS[state][Event.MINER_FAILED] is State.REJECTED
    assert TRANSITIONS[state][Event.VALIDATOR_FAILED] is State.EXCUSED


def test_final_states_are_left_by_nothing() -> None:
    assert {state for state in State if not TRANSITIONS[state]} == {
        State.SCORED,
        State.REJECTED,
        State.EXCUSED,
    }


def test_moves_name_every_state_an_event_may_leave() -> None:
    assert moves_for(Event.ACCEPTED) == {State.PLANNED: State.REQUESTED}
    assert set(moves_for(Event.MINER_FAILED)) == set(LIVING)


def test_schema_knows_exactly_the_states_of_the_table() -> None:
    sql = "".join(migration.sql for migration in read_migrations())
    *_, check = re.findall(r"CONSTRAINT forecasts_state_check CHECK \(state IN \((.*?)\)\)", sql, re.DOTALL)
    words = re.sub(r"--.*", "", check)

    assert set(re.findall(r"'(\w+)'", words)) == set(State)
