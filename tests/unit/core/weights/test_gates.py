"""Gates: what holds a vector, and that nothing a miner or an outage does can turn a hold into a payment."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gaia.validator.core.weights import gates
from gaia.validator.core.weights.gates import (
    LEAST_MINERS,
    LEAST_RUNS,
    Gate,
    LastVector,
    Limits,
    coverage,
    drift,
    effective_number,
    hold_on_change,
    hold_on_data,
    shares_of,
)
from gaia.validator.core.weights.inputs import VectorInputs
from gaia.validator.core.weights.rules.base import Entry, Standing
from gaia.validator.core.weights.vector import Registered, Terms

NOW = datetime(2026, 4, 10, tzinfo=UTC)
LIMITS = Limits(max_age=timedelta(hours=144), min_coverage=0.8, max_drift=0.5, min_spread=0.25)
TERMS = Terms(rule="gaia-2.9", burn_fraction=0.5, burn_enabled=True, burn_hotkey="", contrast_gamma=1.3)
SHARES = st.dictionaries(st.sampled_from("abcdefgh"), st.floats(0.01, 1.0), max_size=8).map(
    lambda weights: shares_of(weights, "")
)


@pytest.fixture(autouse=True)
def few_miners(monkeypatch: pytest.MonkeyPatch) -> None:
    """Judge drift and spread among the few miners of these tests, too."""
    monkeypatch.setattr(gates, "LEAST_MINERS", 1.0)


def an_entry(overall: float | None = 0.5, leads: tuple[int, ...] = (), **changes: Standing) -> Entry:
    return Entry(
        standing=changes.get("standing", Standing.DELIVERED),
        overall=overall,
        leads=dict.fromkeys(leads, 0.5),
    )


def inputs_of(runs: int = LEAST_RUNS, **entries: Entry) -> VectorInputs:
    return VectorInputs(
        terms=TERMS,
        present=Registered(uids={"owner": 0}, eligible=frozenset(), owner_hotkey="owner"),
        runs={f"run-{number}": entries for number in range(runs)},
    )


def a_last(weights: dict[str, float], runs: int = LEAST_RUNS, terms: Terms = TERMS) -> LastVector:
    return LastVector(weights=weights, inputs=replace(inputs_of(runs), terms=terms))


def gates_of_change(
    weights: dict[str, float], last: LastVector | None, inputs: VectorInputs | None = None
) -> list[Gate]:
    holds = hold_on_change(weights, inputs or inputs_of(), last, LIMITS)
    return [hold.gate for hold in holds]


def test_scores_of_the_limit_pass_and_older_ones_hold() -> None:
    assert not list(hold_on_data(inputs_of(), NOW - timedelta(hours=144), NOW, LIMITS))

    (hold,) = hold_on_data(inputs_of(), NOW - timedelta(hours=145), NOW, LIMITS)

    assert hold.gate is Gate.FRESHNESS
    assert hold.reason == "the newest score is 145 hours old, and 144 are allowed"


def test_coverage_expects_of_each_delivered_forecast_what_another_has() -> None:
    runs = {
        "first": {"a": an_entry(leads=(24, 48)), "b": an_entry(leads=(24,)), "c": an_entry(None)},
        "second": {"a": an_entry()},
    }

    assert coverage(runs) == (3 + 2 + 0 + 1) / (3 * 3 + 1)


@pytest.mark.parametrize("standing", [Standing.AWAITED, Standing.REJECTED, Standing.EXCUSED])
def test_forecast_that_was_not_delivered_is_not_expected(standing: Standing) -> None:
    assert coverage({"run": {"a": an_entry(leads=(24,)), "b": an_entry(None, standing=standing)}}) == 1.0


def test_half_scored_first_run_holds() -> None:
    entries = {str(number): an_entry(0.5 if number < 7 else None) for number in range(10)}

    (hold,) = hold_on_data(inputs_of(1, **entries), NOW, NOW, LIMITS)

    assert hold.gate is Gate.COVERAGE
    assert hold.reason.startswith("70.0% of the scores")


def test_run_that_nobody_delivered_lacks_no_score() -> None:
    assert coverage({}) == coverage({"run": {"a": an_entry(None, standing=Standing.REJECTED)}}) == 1.0


@given(one=SHARES, other=SHARES)
def test_drift_is_a_distance_between_0_and_1(one: dict[str, float], other: dict[str, float]) -> None:
    assert 0.0 <= drift(one, other) <= 1.0
    assert drift(one, other) == pytest.approx(drift(other, one), abs=1e-12)
    assert drift(one, one) == 0.0


@given(shares=SHARES)
def test_effective_number_lies_between_one_and_the_number_of_miners(shares: dict[str, float]) -> None:
    assert effective_number(shares) <= len(shares) + 1e-9
    assert effective_number(shares) >= min(1, len(shares)) - 1e-9


def test_change_of_the_burn_is_no_drift() -> None:
    weights = {"owner": 0.9, "a": 0.06, "b": 0.04}

    assert gates_of_change(weights, a_last({"owner": 0.0, "a": 0.6, "b": 0.4})) == []


def test_weight_that_goes_to_others_is_held() -> None:
    last = a_last({"owner": 0.5, "a": 0.4, "b": 0.1})

    assert gates_of_change({"owner": 0.5, "a": 0.16, "b": 0.34}, last) == []
    assert gates_of_change({"owner": 0.5, "a": 0.14, "b": 0.36}, last) == [Gate.DRIFT]


def test_weight_on_few_miners_is_held() -> None:
    last = a_last(dict.fromkeys("abcdefghij", 0.1))

    assert Gate.SPREAD in gates_of_change({"a": 0.99, "b": 0.01}, last)
    assert Gate.SPREAD not in gates_of_change({"a": 1.0, "b": 1.0, "c": 1.0}, last)


def test_burn_alone_is_held_after_a_vector_that_paid_miners() -> None:
    assert gates_of_change({"owner": 1.0}, a_last({"owner": 0.5, "a": 0.5})) == [Gate.DRIFT, Gate.SPREAD]
    assert gates_of_change({"owner": 1.0}, a_last({"owner": 1.0})) == []


def test_last_vector_of_few_runs_is_no_measure() -> None:
    last = a_last({"a": 1.0}, LEAST_RUNS - 1)

    assert gates_of_change({"b": 1.0}, last, inputs_of(LEAST_RUNS)) == []
    assert gates_of_change({"b": 1.0}, None) == []


def test_winners_of_a_small_subnet_may_change_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gates, "LEAST_MINERS", LEAST_MINERS)
    few, many = dict.fromkeys("abcdefg", 1.0), dict.fromkeys("abcdefgh", 1.0)

    assert gates_of_change({"x": 1.0}, a_last(few)) == []
    assert gates_of_change({"x": 1.0}, a_last(many)) == [Gate.DRIFT, Gate.SPREAD]


def test_runs_that_are_lost_are_held() -> None:
    last = a_last({"a": 1.0}, 15)

    assert gates_of_change({"a": 1.0}, last, inputs_of(12)) == []
    assert gates_of_change({"a": 1.0}, last, inputs_of(11)) == [Gate.COVERAGE]
    assert gates_of_change({"b": 1.0}, last, inputs_of(1)) == [Gate.COVERAGE, Gate.DRIFT]


def test_scores_of_one_paid_miner_that_are_lost_are_held() -> None:
    entries = {str(number): an_entry(leads=(24,)) for number in range(20)}
    inputs = inputs_of(LEAST_RUNS, **entries, a=an_entry(None))

    assert coverage(inputs.runs) > LIMITS.min_coverage
    assert gates_of_change({"a": 1.0}, a_last({"a": 1.0}), inputs) == [Gate.COVERAGE]
    assert gates_of_change({"b": 1.0}, a_last({"b": 1.0}), inputs) == []


def test_terms_that_the_operator_changed_are_not_compared() -> None:
    last = a_last({"a": 1.0}, terms=replace(TERMS, rule="gaia-next"))

    assert gates_of_change({"b": 1.0}, last) == []


def test_shares_of_nothing_are_nothing() -> None:
    assert shares_of({"owner": 1.0}, "owner") == {}
    assert drift({}, {}) == effective_number({}) == 0.0
    assert math.isclose(sum(shares_of({"a": 3.0, "b": 5.0}, "").values()), 1.0)
