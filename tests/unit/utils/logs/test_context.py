"""What is bound to the lines of one task stays with it, and is on no line of another."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
import uvloop

from gaia.validator.app.logging_config import configure_logging
from gaia.validator.utils.logs.context import bound, new_trace, present_trace, shared_task, unbound

Capture = pytest.CaptureFixture[str]

log = structlog.get_logger()


@pytest.fixture(autouse=True)
def _defaults_afterwards() -> Iterator[None]:
    yield
    structlog.reset_defaults()


def _lines(capsys: Capture) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


async def test_lines_of_tasks_that_a_body_starts_are_bound_too(capsys: Capture) -> None:
    configure_logging("INFO", "json")

    async def lane() -> None:
        await asyncio.sleep(0)
        log.info("file_fetched")

    with bound(hotkey="5F3s", uid=7):
        async with asyncio.TaskGroup() as group:
            group.create_task(lane())
    log.info("idle")

    fetched, idle = _lines(capsys)
    assert (fetched["hotkey"], fetched["uid"]) == ("5F3s", 7)
    assert fetched["elapsed_s"] >= 0
    assert {"hotkey", "uid", "elapsed_s"}.isdisjoint(idle)


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run])
def test_no_miners_values_are_on_the_line_of_another(run: Any, capsys: Capture) -> None:
    """A hundred steps at once, which yield at random, fail at random, and share a worker task."""
    configure_logging("INFO", "json")
    chance = random.Random(7)

    async def shared(mark: str) -> None:
        await asyncio.sleep(0)
        log.info("shared_work", mark=mark)

    async def step(number: int) -> None:
        with bound(hotkey=f"miner-{number}", uid=number, trace_id=new_trace()):
            trace = present_trace()
            for _ in range(5):
                for _ in range(chance.randrange(4)):
                    await asyncio.sleep(0)
                log.info("step", mine=number, trace=trace)
            work = shared_task(shared(f"of {number}"))
            if chance.random() < 0.3:
                await work
                raise ValueError(number)
            await work
            log.info("step", mine=number, trace=trace)

    async def all_steps() -> None:
        await asyncio.gather(*(step(number) for number in range(100)), return_exceptions=True)
        log.info("idle")

    run(all_steps())

    lines = _lines(capsys)
    steps = [line for line in lines if line["event"] == "step"]
    assert len(steps) > 500
    assert all((line["uid"], line["trace_id"]) == (line["mine"], line["trace"]) for line in steps)
    assert all(line["hotkey"] == f"miner-{line['mine']}" for line in steps)
    others = [line for line in lines if line["event"] != "step"]
    assert len(others) == 101
    assert all({"hotkey", "uid", "trace_id", "elapsed_s"}.isdisjoint(line) for line in others)


def test_inner_values_end_with_their_body(capsys: Capture) -> None:
    configure_logging("INFO", "json")
    with bound(run_id="2026-03-25T00Z", trace_id="a"):
        with bound(trace_id="b", hotkey="5F3s"):
            log.info("inner")
        log.info("outer")

    inner, outer = _lines(capsys)
    assert (inner["run_id"], inner["trace_id"], inner["hotkey"]) == ("2026-03-25T00Z", "b", "5F3s")
    assert (outer["run_id"], outer["trace_id"], outer.get("hotkey")) == ("2026-03-25T00Z", "a", None)


def test_line_about_something_else_than_the_caller_is_unbound(capsys: Capture) -> None:
    configure_logging("INFO", "json")
    with bound(hotkey="5F3s"):
        with unbound():
            log.error("unit_quarantined", job_id="of another")
        log.info("step_failed")

    other, own = _lines(capsys)
    assert {"hotkey", "elapsed_s"}.isdisjoint(other)
    assert own["hotkey"] == "5F3s"


def test_values_of_the_line_win_over_those_that_are_bound(capsys: Capture) -> None:
    configure_logging("INFO", "json")
    with bound(hotkey="bound", elapsed_s=0):
        log.info("answer", hotkey="own")

    (line,) = _lines(capsys)
    assert line["hotkey"] == "own"


def test_two_traces_differ() -> None:
    assert len({new_trace() for _ in range(1000)}) == 1000
