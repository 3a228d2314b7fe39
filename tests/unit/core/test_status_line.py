"""The status line says "ok", or what is wrong, the worst first."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from gaia.validator.core.status.troubles import Health, Trouble
from gaia.validator.core.status_line import Situation, StatusLine, phase_of, status_line
from tests.support.fakes import a_metagraph

NOW = datetime(2026, 3, 26, 12, tzinfo=UTC)


def a_situation(*, last_update: int = 900, **changes: Any) -> Situation:
    """Everything is well at block 1000: weights are 100 blocks old."""
    metagraph = a_metagraph(["5Miner"])
    own, *others = metagraph.neurons
    own = msgspec.structs.replace(own, last_update=last_update)
    dull: dict[str, Any] = {
        "now": NOW,
        "metagraph": msgspec.structs.replace(metagraph, neurons=[own, *others]),
        "states": {
            "2026-03-25T00Z": {"scored_day1": 2, "rejected": 1},
            "2026-03-26T00Z": {"requested": 1, "frozen": 2},
        },
        "troubles": [],
        "next_due": NOW + timedelta(minutes=5),
        "queued": 3,
        "leased": 2,
        "healthy_seats": 4,
        "seats": 4,
        "lines_logged": {"warning": 5, "error": 1},
    }
    return Situation(**dull | changes)


def a_trouble(health: Health, problem: str) -> Trouble:
    return Trouble(health=health, name="ValidatorLogErrors", problem=problem, remedy="gaia logs")


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


def test_health_is_every_trouble_in_the_order_of_the_judge() -> None:
    troubles = [a_trouble(Health.STUCK, "the chain is away"), a_trouble(Health.DEGRADED, "tick is overdue")]

    assert status_line(a_situation(troubles=troubles)).health == "the chain is away; tick is overdue"


@pytest.mark.parametrize(("last_update", "age"), [(0, None), (250, 750)])
def test_age_of_weights_is_unknown_before_the_first(last_update: int, age: int | None) -> None:
    assert status_line(a_situation(last_update=last_update)).weights_age_blocks == age


def test_subnet_that_was_not_read_has_no_numbers() -> None:
    line = status_line(a_situation(metagraph=None))

    assert (line.block, line.neurons, line.weights_age_blocks) == (None, None, None)


def test_runs_that_cannot_be_read_are_unknown_and_not_none() -> None:
    line = status_line(a_situation(states=None))

    assert (line.run, line.phase, line.open_runs) == (None, "unknown", 0)


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
