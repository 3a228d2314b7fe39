"""Injects each fault, asks the tools, judges them, and waits until all is well again."""

from __future__ import annotations

import asyncio
import random
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final

import asyncpg
import httpx
from monitored.faults.scene import Stuck
from monitored.programs import free_port

from campaigns.operator_faults import judging
from campaigns.operator_faults.place import OperatedSubnet, Place
from campaigns.operator_faults.table import CALM, FAULTS, Fault
from campaigns.operator_faults.tools import Said, ToolFailed
from gaia.localnet.children import ChildFailed
from gaia.localnet.options import Options

MINERS: Final = 3
DAYS: Final = 5
SETTINGS: Final[Mapping[str, Any]] = {
    "chain_timeout_s": 3.0,
    "database_timeout_s": 3.0,
    "database_pool_size": 2,
    "source_timeout_s": 5.0,
    "compute_workers": 2,
}
"""Settings of the validator that shorten what a fault needs to be noticed."""
_START_S: Final = 180.0
_CALM_S: Final = 90.0
_PATIENT: Final = {"ProcessRestarting", "ProcessHighRestarts"}
"""Troubles that last for minutes after the fault is over; a fresh validator has none."""
_FAILURES: Final = (Stuck, ToolFailed, ChildFailed, OSError, httpx.HTTPError, asyncpg.PostgresError)
Row = dict[str, Any]


def chosen(count: int | None, seed: int) -> list[Fault]:
    """Return all faults, or `count` that need no run in progress; the seed decides which."""
    if count is None or count >= len(FAULTS):
        return list(FAULTS)
    picked = random.Random(seed).sample(CALM, min(count, len(CALM)))
    return [fault for fault in CALM if fault in picked]


async def play(
    folder: Path, faults: Sequence[Fault], patience: float, note: Callable[[Row], None]
) -> tuple[list[Row], dict[str, str]]:
    """Play `faults` in one subnet; return a row for each, and why others were not played."""
    rows: list[Row] = []
    unplayed: dict[str, str] = {}
    options = Options(miners=MINERS, days=DAYS, seed=3, metrics_port=free_port())
    async with OperatedSubnet(folder, options, SETTINGS) as subnet:
        await subnet.start()
        place = Place(subnet=subnet, patience=patience)
        await place.stop_calendar()
        await until_well(place, _START_S)
        before = (await place.run("doctor")).answer
        has_weights = False
        for fault in faults:
            print(f"{fault.name} ...", file=sys.stderr, flush=True)
            try:
                if not fault.is_in_a_run and not has_weights:
                    await _until_weights(place)
                    has_weights = True
                rows.append(await _played(fault, place, before))
                note(rows[-1])
                await until_well(place, _CALM_S)
            except _FAILURES as error:
                unplayed[fault.name] = f"{type(error).__name__}: {error}"
                print(f"  {unplayed[fault.name]}", file=sys.stderr, flush=True)
    return rows, unplayed


async def _played(fault: Fault, place: Place, before: Mapping[str, Any]) -> Row:
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(fault.cause(place))
        began = time.monotonic()
        first = await _detected(fault, place)
        seconds = time.monotonic() - began
        doctor, runbook, last = await _asked(place, fault.alert)
    verdicts = {
        "status": judging.of_status(fault, first.answer),
        "doctor": judging.of_doctor(fault, before, doctor.answer),
        "runbook": judging.of_runbook(fault, runbook.answer),
    }
    shown = {tool: {"said": verdict.said, "right": verdict.is_right} for tool, verdict in verdicts.items()}
    return {
        "fault": fault.name,
        "seconds": round(seconds, 1),
        "called_well": 0 in (first.exit_code, last.exit_code),
        **shown,
        "words": _words(first, doctor, runbook, judging.news_of(before, doctor.answer)),
    }


async def _asked(place: Place, alert: str) -> list[Said]:
    """Ask doctor, runbook and status."""
    # Alone, because its time is limited; so are the others if no validator runs, because they start its database.
    doctor = await place.run("doctor")
    if place.has_ended():
        return [doctor, await place.run("runbook", alert), await place.run("status")]
    return [doctor, *await asyncio.gather(place.run("runbook", alert), place.run("status"))]


def _words(status: Said, doctor: Said, runbook: Said, news: Sequence[str]) -> dict[str, list[str]]:
    """Return what the tools said at length, for those who mend them."""
    return {
        "status": [f"{each['name']}: {each['problem']}" for each in status.answer["troubles"]],
        "doctor": [
            f"{each['name']}: {each['words']}" for each in doctor.answer["checks"] if each["name"] in news
        ],
        "runbook": [f"{each['cause']} {each['evidence']}" for each in runbook.answer["findings"]],
    }


async def _detected(fault: Fault, place: Place) -> Said:
    """Ask for the status until it names the fault, or the detection time is over; return the last answer."""
    ends_at = time.monotonic() + fault.seconds * place.patience
    while True:
        said = await place.run("status")
        if judging.is_named(fault, said.answer) or time.monotonic() > ends_at:
            return said


async def until_well(place: Place, seconds: float) -> None:
    """Wait until `gaia status` calls the validator well; one that remembers deaths is started again.

    Raises
    ------
    Stuck
        If that takes longer than `seconds`, times the patience.
    """
    ends_at = time.monotonic() + seconds * place.patience
    while True:
        await place.settled()
        said = await place.run("status")
        names = set(judging.troubles_of(said.answer))
        if not names and said.exit_code == 0:
            return
        if time.monotonic() > ends_at:
            raise Stuck(f"it is not well again: {said.answer['troubles']}")
        if names and names <= _PATIENT:
            await place.restart()


async def _until_weights(place: Place) -> None:
    """Let the calendar go on until weights are on chain."""
    async with place.calendar_going_on():
        await place.progress(lambda progress: progress.weights is not None)
    await until_well(place, _CALM_S)
