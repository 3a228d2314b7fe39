"""Faults of the validator: dropped connections, a silent signer, a locked table, an outage."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from datetime import timedelta
from typing import Any

import asyncpg
import psutil

from campaigns.state_faults.playing import Fault, Scene, Stuck, steps_done
from gaia.localnet.options import FIRST_INIT_TIME, clock_file, data_dir
from gaia.localnet.view.watch import NOT_NOW
from gaia.validator.app.meeting.rendezvous import board_path, read_board
from gaia.validator.core.clock import SimulatedClock

OUTAGE = timedelta(hours=3)
_OPENING = FIRST_INIT_TIME + timedelta(hours=18)
_SIGNER = "chain_signer"
_KILL_ONE = """
SELECT pg_terminate_backend(pid)
  FROM pg_stat_activity
 WHERE application_name = 'gaia-validator' AND state <> 'idle'
 ORDER BY random() LIMIT 1
"""
_ENGINE_IS_UP = b'"event": "engine_started"'
_MEAN_GAP_S = 0.05
_LOOK_EVERY_S = 0.005


async def outage(scene: Scene) -> dict[str, Any]:
    """Kill the validator once every miner has accepted; start it three hours later.

    The clock stands still from the first request on, so no miner can be ready before.
    """
    subnet = scene.subnet
    path, end = clock_file(subnet.state_dir), subnet.options.clock_end
    with SimulatedClock.create(path, _OPENING, end).held("outage"):
        progress = await scene.until(
            lambda progress: (
                bool(progress.forecasts)
                and all(forecast.state == "requested" for forecast in progress.forecasts)
            )
        )
        await _kill_validator(scene)
        SimulatedClock.create(path, _OPENING + OUTAGE, end)
    subnet.start_validator()
    return {"requested": len(progress.forecasts), "hours": OUTAGE / timedelta(hours=1)}


async def backends(scene: Scene) -> dict[str, Any]:
    """Terminate busy database backends of the validator, one by one."""
    await scene.until(lambda progress: bool(progress.forecasts))
    killed, ends_at = 0, time.monotonic() + scene.form.patience_s * scene.patience
    calendar = SimulatedClock(clock_file(scene.subnet.state_dir))
    connection = await _connected(scene)
    held = ExitStack()
    try:
        while killed < scene.form.kills:
            scene.subnet.check()
            if killed == scene.form.free_kills:
                held.enter_context(calendar.held("backends"))
            if time.monotonic() > ends_at:
                raise Stuck(f"only {killed} busy backends were met")
            try:
                has_killed = await connection.fetchval(_KILL_ONE)
            except NOT_NOW:  # this was the server of before the outage, which ends with its validator
                connection.terminate()
                connection = await _connected(scene)
                continue
            if has_killed:
                killed += 1
                await asyncio.sleep(scene.random.expovariate(1 / _MEAN_GAP_S))
            await asyncio.sleep(_LOOK_EVERY_S)
    finally:
        held.close()
        connection.terminate()
    return {"kills": killed}


async def signer(scene: Scene) -> dict[str, Any]:
    """Stop the chain signer with SIGSTOP until a forecast waits for it; it may be replaced meanwhile."""
    await _until_some_work_is_done(scene)
    return await _signer_silent(scene, _stop_signer(scene))


async def question(scene: Scene) -> dict[str, Any]:
    """Stop the chain signer before the first miner is asked; `signer` does so later."""
    log = scene.subnet.state_dir / "logs" / "validator.log"
    with SimulatedClock(clock_file(scene.subnet.state_dir)).held("question"):
        await scene.until(lambda _: _ENGINE_IS_UP in log.read_bytes())
        signer_process = _stop_signer(scene)
    return await _signer_silent(scene, signer_process)


async def lock(scene: Scene) -> dict[str, Any]:
    """Lock the score tables, as maintenance does, until a forecast waits for them."""
    await _until_some_work_is_done(scene)
    connection = await _connected(scene)
    try:
        async with connection.transaction():
            await connection.execute("LOCK TABLE component_scores")
            seconds = await _while_it_hurts(scene, scene.form.locked_s)
    finally:
        connection.terminate()
    return {"locked_s": seconds}


FAULTS: Mapping[str, Fault] = {
    "outage": outage,
    "backends": backends,
    "signer": signer,
    "question": question,
    "lock": lock,
}
TOGETHER = ("outage", "backends", "signer", "lock")
"""Faults that one subnet can have in turn; only the first needs a clock that has not started."""


async def _until_some_work_is_done(scene: Scene) -> None:
    """Wait until a first day is scored, and then for as many steps as the seed decides."""
    progress = await scene.until(
        lambda progress: any(each.day1 is not None for each in progress.forecasts), at_work=True
    )
    # Each forecast has 13 steps; the last runs have not started.
    wanted = steps_done(progress) + scene.random.randrange(13 * len(scene.subnet.specs) // 3)
    await scene.until(lambda progress: steps_done(progress) >= wanted, at_work=True)


def _stop_signer(scene: Scene) -> psutil.Process:
    process = psutil.Process(read_board(board_path(data_dir(scene.subnet.state_dir))).processes[_SIGNER])
    process.suspend()
    return process


async def _signer_silent(scene: Scene, process: psutil.Process) -> dict[str, Any]:
    """Wake a stopped signer after its time, unless it was killed as silent."""
    try:
        seconds = await _while_it_hurts(scene, scene.form.signer_stopped_s)
    finally:
        with suppress(psutil.NoSuchProcess):
            process.resume()
    await scene.until(lambda _: _signer_of(scene) is not None)
    return {"stopped_s": seconds, "replaced": int(_signer_of(scene) != process.pid)}


async def _while_it_hurts(scene: Scene, seconds: float) -> float:
    """Wait for `seconds`, and then until a forecast had to wait for us; return the duration."""
    begun, waits = time.monotonic(), scene.waits()
    await asyncio.sleep(seconds)
    await scene.until(lambda _: scene.waits() > waits, at_work=True)
    return round(time.monotonic() - begun, 1)


async def _kill_validator(scene: Scene) -> None:
    validator = scene.subnet.validator
    assert validator is not None
    assert validator.pid is not None
    os.kill(validator.pid, signal.SIGKILL)
    while validator.is_running:
        await asyncio.sleep(_LOOK_EVERY_S)


async def _connected(scene: Scene) -> asyncpg.Connection[asyncpg.Record]:
    """Connect to the validator's database, which may still be starting."""
    ends_at = time.monotonic() + scene.form.patience_s * scene.patience
    while True:
        try:
            return await asyncpg.connect(scene.dsn, ssl=False)
        except NOT_NOW:
            scene.subnet.check()
            if time.monotonic() > ends_at:
                raise
            await asyncio.sleep(_LOOK_EVERY_S)


def _signer_of(scene: Scene) -> int | None:
    """Return the pid of the living signer; None if there is none."""
    pid = read_board(board_path(data_dir(scene.subnet.state_dir))).processes.get(_SIGNER)
    return pid if pid is not None and psutil.pid_exists(pid) else None
