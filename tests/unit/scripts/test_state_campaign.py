"""What a campaign against a validator's own things calls a violation."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest
from campaigns.state_faults.reading import Reading, judge

Row = Mapping[str, Any]

RUN = "2026-03-25T00Z"
MOMENT = datetime(2026, 3, 25, 18, 5, tzinfo=UTC)
FORECAST: dict[str, Any] = {
    "state": "scored",
    "reason": None,
    "committed_at": MOMENT,
    "committed_round": MOMENT,
}
LEAD: dict[str, Any] = {"score": 0.1, "reason": None}


def reading(forecast: Row = FORECAST, lead: Row = LEAD, **options: Any) -> Reading:
    tables: dict[str, dict[tuple[str, ...], Row]] = {
        "forecasts": {(RUN, "5A"): forecast},
        "lead_scores": {(RUN, "5A", "gaia-2.9", "final", "24"): lead},
        "component_scores": {(RUN, "5A"): {"rmse": float("nan")}},
        "score_table": {},
    }
    values: dict[str, Any] = {"tables": tables, "vector": "[]", "doubts": (), "vectors": 1}
    return Reading(**values | options)


def violations(faulty: Reading, *, late: bool = False) -> list[str]:
    return judge(reading(), faulty, late=late)[1]


def test_same_rows_are_no_violation() -> None:
    figures, found = judge(reading(), reading(), late=False)

    assert found == []
    assert (figures["rows"], figures["differing"]) == (3, 0)


def test_score_that_differs_in_the_last_bit_is_found() -> None:
    found = violations(reading(lead=LEAD | {"score": 0.1 + 2**-56}))

    assert found == [f"lead_scores {RUN} 5A gaia-2.9 final 24: score=0.10000000000000002"]


def test_row_that_is_missing_is_found() -> None:
    tables = {**reading().tables, "component_scores": {}}

    assert violations(reading(tables=tables)) == [f"component_scores {RUN} 5A: missing"]


@pytest.mark.parametrize("state", ["rejected", "excused"])
def test_forecast_that_is_lost_is_named(state: str) -> None:
    found = violations(reading(forecast=FORECAST | {"state": state, "reason": "no manifest within 2 h"}))

    assert found[0] == f"{state}: {RUN} 5A"


def test_forfeited_lead_is_named() -> None:
    found = violations(reading(lead={"score": 0.0, "reason": "unreachable in 2 attempts"}))

    assert found[0] == f"forfeited: {RUN} 5A gaia-2.9 final 24"


@pytest.mark.parametrize(("late", "count"), [(False, 1), (True, 0)])
def test_moment_of_freezing_may_differ_after_an_outage_only(late: bool, count: int) -> None:
    later = FORECAST | {"committed_at": MOMENT.replace(hour=21)}

    assert len(violations(reading(forecast=later), late=late)) == count


def test_weights_that_differ_and_vectors_in_doubt_are_found() -> None:
    found = violations(reading(vector="[[1, 65535]]", doubts=("the vector of epoch 3 is intended",)))

    assert found == ["the last weights are [[1, 65535]], not []", "the vector of epoch 3 is intended"]


def test_undisturbed_subnet_in_which_a_miner_loses_proves_nothing() -> None:
    assert reading().losses() == []
    assert reading(forecast=FORECAST | {"state": "excused"}).losses() == [f"excused: {RUN} 5A"]
