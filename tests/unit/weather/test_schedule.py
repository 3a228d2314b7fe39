"""Runs are due by what is missing, never by what was heard."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gaia.tasks.defined_tasks.weather.schedule import Cadence, due_runs, next_opening, run_id_of

DAY = datetime(2026, 3, 25, tzinfo=UTC)


def a_cadence(**changes: Any) -> Cadence:
    defaults: dict[str, Any] = {
        "opens_after": timedelta(hours=18),
        "jitter": timedelta(),
        "look_back": timedelta(hours=6),
        "salt": "5F",
    }
    return Cadence(**(defaults | changes))


def test_run_is_not_due_before_it_opens() -> None:
    assert due_runs(DAY.replace(hour=17, minute=59), set(), a_cadence()) == []


def test_run_of_the_day_is_due_from_its_opening_and_starts_at_midnight() -> None:
    assert due_runs(DAY.replace(hour=18), set(), a_cadence()) == [DAY]


def test_recorded_run_is_not_due_again() -> None:
    assert due_runs(DAY.replace(hour=19), {DAY}, a_cadence()) == []


def test_late_tick_still_finds_the_run() -> None:
    assert due_runs(DAY.replace(hour=23, minute=30), set(), a_cadence()) == [DAY]


def test_run_missed_by_more_than_the_look_back_is_let_go() -> None:
    assert due_runs(DAY + timedelta(days=1, hours=1), set(), a_cadence()) == []


def test_run_after_the_last_one_never_opens() -> None:
    assert due_runs(DAY.replace(hour=18), set(), a_cadence(last_run=DAY - timedelta(days=1))) == []


def test_jitter_delays_the_opening_alike_for_every_question() -> None:
    cadence = a_cadence(jitter=timedelta(minutes=30))

    opening = next_opening(DAY, set(), cadence)

    assert opening is not None
    assert DAY.replace(hour=18) <= opening < DAY.replace(hour=18, minute=30)
    assert due_runs(opening - timedelta(microseconds=1), set(), cadence) == []
    assert due_runs(opening, set(), cadence) == [DAY]


def test_validators_with_different_keys_open_at_different_moments() -> None:
    jitter = timedelta(minutes=30)

    openings = {next_opening(DAY, set(), a_cadence(jitter=jitter, salt=salt)) for salt in "abcd"}

    assert len(openings) == 4


def test_hindcast_reuses_the_run_of_a_cycle_it_has() -> None:
    cadence = a_cadence(hindcast=timedelta(days=8), look_back=timedelta(minutes=29))
    now = DAY.replace(hour=7, minute=10)
    cycle = datetime(2026, 3, 17, 6, tzinfo=UTC)

    assert due_runs(now, set(), cadence) == [cycle]
    assert due_runs(now, {cycle}, cadence) == []


def test_next_opening_is_none_after_the_last_run() -> None:
    assert next_opening(DAY.replace(hour=19), {DAY}, a_cadence(last_run=DAY)) is None


@given(st.integers(0, 60 * 24 * 20), st.integers(1, 30))
def test_ticking_at_any_pace_opens_each_day_once(start_minutes: int, pace_minutes: int) -> None:
    cadence = a_cadence(jitter=timedelta(minutes=30))
    now = DAY + timedelta(minutes=start_minutes)
    recorded: list[datetime] = []

    for _ in range(3 * 24 * 60 // pace_minutes):
        recorded += due_runs(now, set(recorded), cadence)
        now += timedelta(minutes=pace_minutes)

    assert len(recorded) == len(set(recorded))
    assert recorded == sorted(recorded)
    assert len(recorded) in (2, 3, 4)


@pytest.mark.parametrize(
    ("init_time", "name"),
    [(DAY, "2026-03-25T00Z"), (DAY.replace(hour=18), "2026-03-25T18Z")],
)
def test_run_is_named_by_its_initial_time(init_time: datetime, name: str) -> None:
    assert run_id_of(init_time) == name
