"""Limited holds end after their time, which counts only while somebody looked and nothing else held."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from gaia.validator.core.weights.gates import BOUNDED, Gate, Hold
from gaia.validator.core.weights.hold_clock import HoldClock

BEGIN = datetime(2026, 4, 10, tzinfo=UTC)


class Watched:
    """A clock of six hours, looked at every half hour."""

    def __init__(self) -> None:
        self.clock = HoldClock(timedelta(hours=6))
        self.now = BEGIN

    def look(self, *gates: Gate, after: timedelta = timedelta(minutes=30)) -> Gate | None:
        self.now += after
        hold = self.clock.judge([Hold(gate=gate, reason=gate) for gate in gates], self.now)
        return None if hold is None else hold.gate

    def looks(self, number: int, *gates: Gate) -> set[Gate | None]:
        return {self.look(*gates) for _ in range(number)}


@pytest.fixture
def watched() -> Watched:
    return Watched()


@pytest.mark.parametrize("gate", sorted(BOUNDED))
def test_limited_hold_ends_after_its_time(gate: Gate, watched: Watched) -> None:
    assert watched.looks(12, gate) == {gate}
    assert watched.look(gate) is None


@pytest.mark.parametrize("gate", sorted(set(Gate) - BOUNDED))
def test_other_holds_last(gate: Gate, watched: Watched) -> None:
    assert watched.looks(100, gate) == {gate}


def test_gate_that_opens_in_between_holds_for_its_whole_time_again(watched: Watched) -> None:
    watched.looks(10, Gate.DRIFT)
    assert watched.look() is None

    assert watched.looks(12, Gate.DRIFT) == {Gate.DRIFT}


def test_time_of_another_hold_does_not_count_and_is_not_lost(watched: Watched) -> None:
    watched.looks(7, Gate.DRIFT)  # three hours
    assert watched.looks(100, Gate.FRESHNESS, Gate.DRIFT) == {Gate.FRESHNESS}
    assert watched.looks(100, Gate.OVERLAPS) == {Gate.OVERLAPS}

    assert watched.looks(6, Gate.DRIFT) == {Gate.DRIFT}
    assert watched.look(Gate.DRIFT) is None


def test_time_without_a_look_counts_for_an_hour_at_most(watched: Watched) -> None:
    watched.look(Gate.DRIFT)

    assert watched.look(Gate.DRIFT, after=timedelta(days=3)) is Gate.DRIFT
    assert watched.looks(9, Gate.DRIFT) == {Gate.DRIFT}
    assert watched.look(Gate.DRIFT) is None


def test_each_gate_has_a_time_of_its_own(watched: Watched) -> None:
    watched.looks(13, Gate.COVERAGE)

    assert watched.look(Gate.COVERAGE, Gate.DRIFT) is Gate.DRIFT


def test_hold_that_has_ended_lets_pass_until_its_gate_was_open(watched: Watched) -> None:
    watched.looks(13, Gate.COVERAGE)
    assert [hold.gate for hold in watched.clock.journalled()] == [Gate.COVERAGE]

    assert watched.looks(3, Gate.COVERAGE) == {None}
    assert watched.clock.journalled() == []
    assert watched.look() is None
    assert watched.look(Gate.COVERAGE) is Gate.COVERAGE


def test_vector_that_could_not_be_journalled_passes_at_the_next_look(watched: Watched) -> None:
    watched.looks(13, Gate.DRIFT)

    assert watched.look(Gate.DRIFT) is None
