"""Two validators on one database: one is active, the other stands by, takes over, and signs nothing twice."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
import pytest
from monitored.programs import free_port

from gaia.cli.status.samples import Samples
from gaia.cli.status.scrape import metrics_at
from gaia.localnet.chain.node import LocalChain
from gaia.validator.db.access.lease import LEASE_S
from gaia.validator.db.connection import Database
from tests.integration.test_bad_input import Operator
from tests.support.patience import Deadline, patience
from tests.support.repository import ROOT
from tests.support.scored_run import record_scored_run
from tests.support.subnet import neurons

TAKEOVER_S = LEASE_S + 5.0


@pytest.fixture
async def chain() -> AsyncIterator[LocalChain]:
    # One epoch, so that each validator would have to set the same weights.
    chain = LocalChain(neurons(), block_time_s=1.0, tempo=9999)
    yield chain
    await chain.stop()


class Watched:
    """A running validator, and the log lines that it has written so far."""

    def __init__(self, process: Process, settings: dict[str, str]) -> None:
        self.process = process
        self._settings = settings
        self.lines: list[dict[str, Any]] = []
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            if line.startswith(b"{"):
                self.lines.append(json.loads(line))

    def events(self, name: str) -> list[dict[str, Any]]:
        return [line for line in self.lines if line["event"] == name]

    async def says(self, event: str, times: int = 1, seconds: float = 60.0) -> dict[str, Any]:
        """Wait until it has logged an event so many times; return the last one."""
        end = Deadline(seconds)
        while len(self.events(event)) < times:
            assert not end.has_passed, [line["event"] for line in self.lines]
            await asyncio.sleep(0.05)
        return self.events(event)[-1]

    async def status(self) -> dict[str, Any]:
        """Return what `gaia status --json` says of it."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("GAIA_")}
        asking = await asyncio.create_subprocess_exec(
            *[sys.executable, "-m", "gaia.cli", "status", "--json"],
            env={**inherited, "PYTHONPATH": str(ROOT), **self._settings},
            stdout=asyncio.subprocess.PIPE,
        )
        said, _ = await asking.communicate()
        found: dict[str, Any] = json.loads(said)
        assert asking.returncode == found["exit_code"]
        return found

    async def metric(self, name: str) -> float | None:
        """Return the sum of a metric that it serves."""
        text = await asyncio.to_thread(metrics_at, "127.0.0.1", int(self._settings["GAIA_METRICS_PORT"]))
        return Samples(text).value(name)

    def engine(self) -> int:
        """Return the pid of its present IO-Engine."""
        started = [line for line in self.events("child_started") if line.get("child") == "io_engine"]
        return int(started[-1]["pid"])

    async def end(self) -> None:
        """Kill the whole family."""
        with suppress(ProcessLookupError, psutil.NoSuchProcess):
            family = psutil.Process(self.process.pid).children(recursive=True)
            self.process.kill()
            for each in family:
                with suppress(psutil.NoSuchProcess):
                    each.kill()
        await self.process.wait()
        await self._reading


@pytest.fixture
async def two(
    chain: LocalChain, database: Database, empty_dsn: str, tmp_path: Path
) -> AsyncIterator[tuple[Watched, Watched]]:
    """An active validator and its standby, which have one database and one wallet, and each a folder of its own."""
    await record_scored_run(database, datetime.now(UTC))
    settings = {
        "GAIA_DATABASE_URL": empty_dsn,
        "GAIA_CHAIN_ENDPOINT": await chain.start(),
        "GAIA_CHAIN_TIMEOUT_S": "30",
        "GAIA_METAGRAPH_INTERVAL_S": "0.5",
        "GAIA_TICK_INTERVAL_S": "0.5",
        "GAIA_LAST_RUN": "2020-01-01T00:00:00Z",
        "GAIA_CDS_KEY": "11111111-2222-3333-4444-555555555555",
    }
    operator = Operator(tmp_path)
    running: list[Watched] = []
    try:
        for name in ("one", "two"):
            place = {"GAIA_DATA_DIR": str(tmp_path / name), "GAIA_METRICS_PORT": str(free_port())}
            process = await operator.start(**settings, **place)
            running.append(Watched(process, {**operator.settings, **settings, **place}))
            await running[-1].says("engine_started" if name == "one" else "standing_by")
        yield running[0], running[1]
    finally:
        for each in running:
            await each.end()


async def test_standby_waits_costs_nothing_and_takes_over_when_the_active_one_is_killed(
    two: tuple[Watched, Watched], chain: LocalChain, database: Database
) -> None:
    active, standby = two
    await active.says("weights_set")
    engine = psutil.Process(standby.engine())
    before, begun = sum(engine.cpu_times()[:2]), time.monotonic()
    await asyncio.sleep(5)
    share = (sum(engine.cpu_times()[:2]) - before) / (time.monotonic() - begun)
    assert standby.events("engine_started") == []

    killed_at = time.monotonic()
    await active.end()
    taken = await standby.says("lease_taken")
    took_s = time.monotonic() - killed_at
    await standby.says("engine_started")

    assert taken["waited"] is True
    assert took_s < patience(TAKEOVER_S)
    assert share < 0.02
    # The journal tells the successor that the epoch has its weights.
    await asyncio.sleep(2)
    async with database.reading() as connection:
        rows = await connection.fetch("SELECT state FROM weight_journal")
    assert [row["state"] for row in rows] == ["set"]
    assert len(chain.submitted) == 1


async def test_status_says_of_each_who_is_active_and_a_standby_is_well(two: tuple[Watched, Watched]) -> None:
    active, standby = two
    await active.says("weights_set")

    seen, waiting = await active.status(), await standby.status()

    assert seen["lease"]["is_ours"]
    assert not seen["stands_by"]
    assert (waiting["health"], waiting["stands_by"]) == ("well", True), waiting["troubles"]
    assert waiting["lease"] == {**seen["lease"], "is_ours": False}
    assert waiting["lease"]["holder"].endswith("/one")
    assert [await each.metric("gaia_lease_held") for each in two] == [1.0, 0.0]


async def test_active_validator_that_was_paused_stands_by_and_says_so(two: tuple[Watched, Watched]) -> None:
    active, standby = two
    supervisor, engine = active.process.pid, active.engine()
    os.kill(supervisor, signal.SIGSTOP)
    os.kill(engine, signal.SIGSTOP)
    try:
        await standby.says("engine_started", seconds=90)
    finally:
        os.kill(engine, signal.SIGCONT)
        os.kill(supervisor, signal.SIGCONT)

    await active.says("standing_by")
    assert len(standby.events("lease_lost")) == 0
    assert active.process.returncode is None


async def test_active_validator_that_is_stopped_in_order_passes_on_at_once(
    two: tuple[Watched, Watched],
) -> None:
    active, standby = two
    active.process.send_signal(signal.SIGTERM)

    await active.process.wait()
    ended_at = time.monotonic()
    await standby.says("lease_taken")

    assert time.monotonic() - ended_at < patience(3)
