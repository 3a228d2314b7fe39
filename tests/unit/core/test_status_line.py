"""The status line says "ok", or what is wrong, the worst first."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from gaia.validator.core.status_line import Situation, StatusLine, phase_of, status_line
from gaia.validator.db.rows import IncidentRow, VectorInDoubt
from gaia.validator.db.states import VectorState
from tests.support.fakes import a_metagraph

NOW = datetime(2026, 3, 26, 12, tzinfo=UTC)


def a_situation(*, last_update: int = 900, **changes: Any) -> Situation:
    """Everything is well at block 1000: weights are 100 blocks old, and are set each 250."""
    metagraph = a_metagraph(["5Miner"])
    own, *others = metagraph.neurons
    own = msgspec.structs.replace(own, last_update=last_update)
    dull: dict[str, Any] = {
        "now": NOW,
        "metagraph": msgspec.structs.replace(metagraph, neurons=[own, *others]),
        "interval_blocks": 250,
        "signs_weights": True,
        "states": {
            "2026-03-25T00Z": {"scored_day1": 2, "rejected": 1},
            "2026-03-26T00Z": {"requested": 1, "frozen": 2},
        },
        "incidents": [],
        "doubts": [],
        "next_due": NOW + timedelta(minutes=5),
        "queued": 3,
        "leased": 2,
        "healthy_seats": 4,
        "seats": 4,
        "lines_logged": {"warning": 5, "error": 1, "critical": 0},
    }
    return Situation(**dull | changes)


def an_incident(party: str) -> IncidentRow:
    return IncidentRow(party=party, began_at=NOW - timedelta(hours=2), last_at=NOW, evidence="refused")


def a_doubt(age: timedelta) -> VectorInDoubt:
    return VectorInDoubt(epoch=7, state=VectorState.INTENDED, intended_at=NOW - age, error=None)


def test_line_holds_what_an_operator_asks_and_health_first() -> None:
    line = status_line(a_situation())

    assert StatusLine.__struct_fields__[0] == "health"
    assert msgspec.to_builtins(line) == {
        "health": "ok",
        "now": "2026-03-26T12:00:00Z",
        "run": "2026-03-26T00Z",
        "phase": "freezing manifests",
        "open_runs": 2,
        "forecasts": {"planned": 0, "requested": 1, "frozen": 2, "scored_day1": 2, "rejected": 1},
        "next_due": "2026-03-26T12:05:00Z",
        "block": 1000,
        "neurons": 2,
        "weights_age_blocks": 100,
        "queued": 3,
        "leased": 2,
        "healthy_seats": 4,
        "seats": 4,
        "errors_logged": 1,
        "warnings_logged": 5,
    }


@pytest.mark.parametrize(
    ("changes", "health"),
    [
        ({"metagraph": None}, "the chain was not read yet"),
        ({"metagraph": a_metagraph([], own_uid=None)}, "our hotkey has no validator permit"),
        ({"incidents": [an_incident("chain")]}, "chain fails since 2026-03-26 10:00Z"),
        ({"overdue": ["main_scoring"]}, "main_scoring is overdue"),
        ({"last_update": 249}, "weights are 751 blocks old"),
        ({"healthy_seats": 3}, "3 of 4 compute seats are healthy"),
        ({"doubts": [a_doubt(timedelta(hours=2))]}, "1 weight vectors are in doubt"),
    ],
)
def test_what_is_wrong_is_named(changes: dict[str, Any], health: str) -> None:
    assert status_line(a_situation(**changes)).health == health


@pytest.mark.parametrize(
    "changes",
    [
        {"last_update": 0},
        {"last_update": 250},
        {"last_update": 1, "signs_weights": False},
        {"seats": 0, "healthy_seats": 0},
        {"doubts": [a_doubt(timedelta(minutes=5))]},
        {"states": {}},
    ],
    ids=["never set", "in time", "dry run", "cluster", "being set", "no run"],
)
def test_what_is_usual_is_no_trouble(changes: dict[str, Any]) -> None:
    assert status_line(a_situation(**changes)).health == "ok"


def test_the_worst_comes_first() -> None:
    situation = a_situation(metagraph=None, healthy_seats=0, incidents=[an_incident("weights")])

    assert status_line(situation).health == (
        "the chain was not read yet; weights fails since 2026-03-26 10:00Z; 0 of 4 compute seats are healthy"
    )


@pytest.mark.parametrize(
    ("states", "phase"),
    [
        ({"planned": 1, "frozen": 9}, "asking miners"),
        ({"frozen": 1, "scored_day1": 9}, "awaiting GFS"),
        ({"scored_day1": 1, "scored": 9}, "awaiting ERA5"),
        ({"scored": 9, "rejected": 1}, "completing"),
    ],
)
def test_phase_of_a_run_is_that_of_its_last_forecast(states: dict[str, int], phase: str) -> None:
    assert phase_of(states) == phase


def test_no_run_has_no_phase() -> None:
    line = status_line(a_situation(states={}))

    assert (line.run, line.phase) == (None, "no run is open")
