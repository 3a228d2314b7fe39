"""A unit reaches the pool with its deadline, and only an answer of the declared type comes back."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
import structlog

from gaia.tasks.defined_tasks.weather.unit_client import UnitClient
from gaia.tasks.defined_tasks.weather.units import FindOverlaps, Overlaps
from gaia.validator.app.logging_config import configure_logging
from gaia.validator.utils.errors import MinerFault, TransientError
from gaia.validator.utils.identities import Hotkey, JobId
from gaia.validator.utils.ipc_types import Failure, Priority, ResultUnit, WorkUnit
from gaia.validator.utils.logs.context import bound

UNIT = FindOverlaps(hotkeys=[Hotkey("5A")], products=[])
JOB = JobId("overlaps/1")


class Pool:
    """Answers every unit alike, and keeps them."""

    def __init__(self, **result: Any) -> None:
        self.units: list[WorkUnit] = []
        self._result = result

    async def dispatch_and_wait(self, unit: WorkUnit) -> ResultUnit:
        self.units.append(unit)
        return ResultUnit(job_id=unit.job_id, attempt=1, cpu_s=0.25, **self._result)


async def test_a_unit_has_its_handler_deadline_priority_and_name() -> None:
    pool = Pool(value={"pairs": [], "missing": []})

    await UnitClient(pool, 30.0, lambda: 1000.0).run_unit(UNIT, JOB, priority=Priority.AHEAD)

    assert pool.units == [
        WorkUnit(
            job_id=JOB,
            handler="weather.copies.overlaps",
            payload={"hotkeys": ["5A"], "products": []},
            deadline_at=1030.0,
            priority=10,
            trace_id="overlaps/1",
        )
    ]


async def test_an_answer_comes_as_its_type_with_what_it_cost() -> None:
    pool = Pool(value={"pairs": [["5A", "5B", 0.5]], "missing": []})

    done = await UnitClient(pool, 30.0).run_unit(UNIT, JOB)

    assert done.answer == Overlaps(pairs=[("5A", "5B", 0.5)], missing=[])
    assert done.cpu_s == 0.25
    assert pool.units[0].priority == 100


@pytest.mark.parametrize(
    "value", [{}, None, {"pairs": [["5A"]], "missing": []}, {"pairs": 3, "missing": None}]
)
async def test_an_answer_of_another_type_is_a_failure_that_may_pass(value: Any) -> None:
    with pytest.raises(TransientError, match="weather.copies.overlaps has the wrong type"):
        await UnitClient(Pool(value=value), 30.0).run_unit(UNIT, JOB)


async def test_what_the_handler_raised_is_raised_here() -> None:
    pool = Pool(failure=Failure.of(MinerFault("late")))

    with pytest.raises(MinerFault, match="late"):
        await UnitClient(pool, 30.0).run_unit(UNIT, JOB)


@pytest.mark.parametrize(
    ("result", "outcome"),
    [
        ({"value": {"pairs": [], "missing": []}}, "ok"),
        ({"failure": Failure.of(MinerFault("late"))}, "MinerFault"),
    ],
)
async def test_each_finished_unit_is_one_line_with_its_cost(
    result: dict[str, Any], outcome: str, capsys: pytest.CaptureFixture[str]
) -> None:
    configure_logging("INFO", "json")
    pool = Pool(**result, wall_s=0.5, peak_rss_bytes=3 * 2**20)

    with bound(run_id="2026-03-25T00Z", trace_id="a1"), suppress(MinerFault):
        await UnitClient(pool, 30.0).run_unit(UNIT, JOB)

    (line,) = [json.loads(text) for text in capsys.readouterr().err.splitlines()]
    assert (line["logger"], line["event"], line["level"]) == ("performance", "unit_finished", "info")
    told = {"outcome": outcome, "job_id": JOB, "run_id": "2026-03-25T00Z", "trace_id": "a1", "attempt": 1}
    cost = {"handler": UNIT.handler, "wall_s": 0.5, "cpu_s": 0.25, "peak_rss_mib": 3.0}
    assert line.items() >= (told | cost).items()
    # The worker gets the trace, so that its own lines can be joined with these.
    assert pool.units[0].trace_id == "a1"
    structlog.reset_defaults()
