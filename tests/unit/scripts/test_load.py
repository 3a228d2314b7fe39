"""A load test counts wrong answers as failures, and names each limit that is broken."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from campaigns.load import judged
from campaigns.load_engine.answers import SCENARIOS, digest_of, fault_of, queue_fault_of
from campaigns.load_engine.prepared import prepare, with_own_place

from gaia.tasks.defined_tasks.weather.validator.handlers import resolve

WELL = {"requests": 10.0, "failures": 0.0, "p50_ms": 1.0, "p95_ms": 2.0, "p99_ms": 3.0}
ENGINE: dict[str, Any] = {
    "loop_lag_p99_ms": 4.0,
    "queue_depth_max": 9,
    "queue_depth": 0,
    "busy": 0,
    "units": 40,
}


def violations(
    statistics: dict[str, dict[str, float]] | None = None, exit_code: int = 0, **engine: Any
) -> list[str]:
    found: list[str] = judged(
        dict.fromkeys(SCENARIOS, WELL) if statistics is None else statistics, ENGINE | engine, exit_code
    )["violations"]
    return found


def test_a_load_that_keeps_all_limits_has_no_violation() -> None:
    assert violations() == []


@pytest.mark.parametrize(
    ("engine", "words"),
    [
        ({"loop_lag_p99_ms": 50.0}, "loop lag p99 is 50.0 ms"),
        ({"loop_lag_p99_ms": None}, "loop lag p99 is None"),
        ({"queue_depth_max": 10}, "10 units waited"),
        ({"queue_depth": 1, "busy": 2}, "3 units are left"),
        ({"exit_code": 70}, "ended with 70"),
    ],
)
def test_each_broken_limit_is_named(engine: dict[str, Any], words: str) -> None:
    (violation,) = violations(**engine)

    assert words in violation


def test_failed_answers_and_scenarios_that_were_never_asked_are_named() -> None:
    statistics = dict.fromkeys(list(SCENARIOS)[:-1], WELL)
    statistics["day1"] = WELL | {"failures": 2.0}

    assert violations(statistics) == [
        "day1: 2 of 10 answers failed or were wrong",
        "queue_health: nothing was asked",
    ]


def test_weights_of_the_scenarios_are_those_of_the_plan() -> None:
    assert list(SCENARIOS.values()) == [30, 20, 15, 25, 10]


def test_an_answer_that_differs_in_one_digit_is_a_fault() -> None:
    expected = digest_of({"components": [{"rmse": 1.25}], "path": "/a"})

    assert (
        fault_of({"value": {"components": [{"rmse": 1.25}], "path": "/b"}, "failure": None}, expected) == ""
    )
    assert "not the one" in fault_of({"value": {"components": [{"rmse": 1.26}]}, "failure": None}, expected)
    assert "MinerFault" in fault_of({"value": None, "failure": "MinerFault: no"}, expected)


def test_a_long_queue_and_a_missing_worker_are_faults() -> None:
    assert queue_fault_of({"depth": 9, "workers": 2}, 2, 10) == ""
    assert "10 units wait" in queue_fault_of({"depth": 10, "workers": 2}, 2, 10)
    assert "1 of 2 workers" in queue_fault_of({"depth": 0, "workers": 1}, 2, 10)


def test_every_kind_of_unit_is_prepared_and_gives_the_same_answer_twice(tmp_path: Path) -> None:
    prepared = prepare(tmp_path / "data", "1.0", miners=1)

    assert {unit.scenario for unit in prepared} == set(SCENARIOS) - {"queue_health"}
    for unit in prepared:
        again = resolve(unit.handler)(with_own_place(unit.payload, 7))
        assert digest_of(again) == unit.expected
