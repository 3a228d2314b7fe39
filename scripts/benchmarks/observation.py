"""Measures what observation costs the IO-Engine: the lag of its loop and its CPU time, with observation on and off."""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple

from benchmarks import database as filled

if TYPE_CHECKING:
    from gaia.validator.app.observation.observer import Observer
    from gaia.validator.db.connection import Database

MOST_LAG_RATIO = 1.2
MOST_CPU_SHARE = 0.02
_PROBE_S = 0.01
_TICK_S = 0.1
_BURST_S = 0.002
"""CPU time that an answer of a miner takes the loop: decryption and JSON."""
_BURSTS_PER_S = 20.0
_P99 = 0.99


class Plan(NamedTuple):
    """Size of the measurement."""

    pairs: int
    phase_s: float
    miners: int


FULL = Plan(pairs=8, phase_s=20.0, miners=256)
QUICK = Plan(pairs=1, phase_s=2.0, miners=8)


class Phase(NamedTuple):
    """What one phase measured."""

    lags_ms: list[float]
    cpu_s: float
    wall_s: float

    @property
    def p99_ms(self) -> float:
        return percentile(self.lags_ms, _P99)

    @property
    def cpu_share(self) -> float:
        """Share of one processor that the process took."""
        return self.cpu_s / self.wall_s


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--pairs", type=int, help=f"pairs of phases with and without; {FULL.pairs} unless --quick"
    )
    parser.add_argument(
        "--scrape-every", type=float, default=1.0, metavar="S", help="seconds between two scrapes"
    )


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure; return {"ratios", "figures", "bars"}; ratios are medians over the pairs.

    A pair is one phase with observation and one without, in turn first and second, so that both meet the
    same load of the machine.
    """
    sys.path.insert(0, str(filled.ROOT))
    filled.silence()
    plan = QUICK if arguments.quick else FULL
    plan = plan._replace(pairs=arguments.pairs or plan.pairs)
    import uvloop

    with tempfile.TemporaryDirectory(prefix="gaia-bench-") as folder, filled.server(Path(folder)) as dsn:
        with_it, without = uvloop.run(_measure(Path(folder), dsn, plan, arguments.scrape_every))
    return result_of(with_it, without, plan)


def result_of(with_it: Sequence[Phase], without: Sequence[Phase], plan: Plan) -> dict[str, Any]:
    """Return figures and ratios of phases that were measured in pairs."""
    pairs = list(zip(with_it, without, strict=True))
    ratio = statistics.median(on.p99_ms / off.p99_ms for on, off in pairs)
    share = statistics.median(on.cpu_share - off.cpu_share for on, off in pairs)
    return {
        "ratios": {
            "p99_lag_with_by_without": round(ratio, 3),
            "p99_lag_of_all_with_by_without": round(_pooled_p99(with_it) / _pooled_p99(without), 3),
            "cpu_share_of_observation": round(share, 4),
        },
        "figures": {
            "p99_lag_with_ms": round(_pooled_p99(with_it), 3),
            "p99_lag_without_ms": round(_pooled_p99(without), 3),
            "worst_lag_with_ms": round(max(max(phase.lags_ms) for phase in with_it), 3),
            "worst_lag_without_ms": round(max(max(phase.lags_ms) for phase in without), 3),
            "cpu_share_with": round(statistics.median(phase.cpu_share for phase in with_it), 4),
            "cpu_share_without": round(statistics.median(phase.cpu_share for phase in without), 4),
            "pairs": len(pairs),
            "phase_s": plan.phase_s,
            "miners": plan.miners,
        },
        "bars": {
            "p99_lag_holds": ratio <= MOST_LAG_RATIO,
            "cpu_share_holds": share <= MOST_CPU_SHARE,
        },
    }


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value below which this share of the values lies.

    >>> percentile([5.0, 1.0, 3.0, 2.0], 0.5)
    3.0
    """
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)]


def _pooled_p99(phases: Sequence[Phase]) -> float:
    return percentile([lag for phase in phases for lag in phase.lags_ms], _P99)


async def _measure(
    folder: Path, dsn: str, plan: Plan, scrape_every_s: float
) -> tuple[list[Phase], list[Phase]]:
    """Return the phases with and without observation, pair by pair."""
    with_it: list[Phase] = []
    without: list[Phase] = []
    async with filled.connected(dsn) as database:
        await filled.fill(database, filled.Plan(runs=4, miners=plan.miners, rounds=1))
        observer = await _observer(folder, database)
        async with _working(folder, database):
            await _one_phase(min(plan.phase_s, 3.0))  # warms caches
            for number in range(plan.pairs):
                for is_on in (True, False) if number % 2 else (False, True):
                    if is_on:
                        async with _observed(observer, scrape_every_s):
                            with_it.append(await _one_phase(plan.phase_s))
                    else:
                        without.append(await _one_phase(plan.phase_s))
    return with_it, without


async def _one_phase(seconds: float) -> Phase:
    """Probe the loop until the end of the phase."""
    lags: list[float] = []
    cpu, began = time.process_time(), time.perf_counter()
    while time.perf_counter() < began + seconds:
        before = time.perf_counter()
        await asyncio.sleep(_PROBE_S)
        lags.append(max(0.0, time.perf_counter() - before - _PROBE_S) * 1e3)
    return Phase(lags, time.process_time() - cpu, time.perf_counter() - began)


async def _observer(folder: Path, database: Database) -> Observer:
    """Return the observer as the engine makes it, over this process, a full pool and a subnet of many miners."""
    from gaia.validator.app.meeting.rendezvous import Board, board_path, make_private, publish
    from gaia.validator.app.observation.observer import Observer
    from gaia.validator.core.chain.metagraph import MetagraphKeeper
    from gaia.validator.core.clock import RealClock
    from gaia.validator.utils.config import Settings

    make_private(board_path(folder).parent)
    publish(Board(processes={"io_engine": os.getpid()}), board_path(folder))
    pool: Any = SimpleNamespace(
        queue_depth=0, busy=2, undelivered=0, workers=2, healthy_seats=2, sandbox_level=3
    )
    nobody: Any = filled.Nobody()
    settings = Settings(data_dir=folder, last_run=filled.INIT + timedelta(days=4))
    return Observer(
        settings.weather,
        netuid=settings.netuid,
        pool=pool,
        database=database,
        metagraph=MetagraphKeeper(nobody),
        clock=RealClock(),
        seats=lambda: settings.pool.seats,
        board_path=board_path(folder),
    )


@asynccontextmanager
async def _working(folder: Path, database: Database) -> AsyncIterator[None]:
    """Do meanwhile what an IO-Engine does: idle ticks on the database, and bursts as of miners' answers."""
    task = filled.idle_task(folder, database)
    chance = random.Random(9)

    async def tick() -> None:
        while True:
            await task.advance(filled.INIT + timedelta(days=4, hours=12))
            await asyncio.sleep(_TICK_S)

    async def burst() -> None:
        while True:
            await asyncio.sleep(chance.expovariate(_BURSTS_PER_S))
            ends_at = time.thread_time() + _BURST_S
            while time.thread_time() < ends_at:
                pass

    work = [asyncio.create_task(tick()), asyncio.create_task(burst())]
    try:
        yield
        for each in work:
            if each.done():
                each.result()
    finally:
        for each in work:
            each.cancel()
        await asyncio.gather(*work, return_exceptions=True)
        await task.close()


@asynccontextmanager
async def _observed(observer: Observer, scrape_every_s: float) -> AsyncIterator[None]:
    """Run the observer, serve the endpoints, and scrape them from another thread."""
    from gaia.validator.app.observation import metrics
    from gaia.validator.app.observation.probes import Endpoints
    from gaia.validator.app.observation.serving import ServingThread

    endpoints = Endpoints(
        role="io_engine", probes={}, metrics=lambda: metrics.all_metrics(Path("no-other-page"))
    )
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/metrics"
        serving = ServingThread(listener, endpoints.answer)
        scraping = await asyncio.create_subprocess_exec(
            sys.executable, "-c", _SCRAPER, url, str(scrape_every_s)
        )
        watching = asyncio.create_task(observer.run())
        try:
            yield
            if watching.done():
                watching.result()
        finally:
            watching.cancel()
            scraping.terminate()
            await scraping.wait()
            with suppress(asyncio.CancelledError):
                await watching
            serving.stop()


_SCRAPER = """
import sys, time, urllib.request
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
while True:
    with opener.open(sys.argv[1], timeout=30) as answer:
        assert b"gaia_io_event_loop_lag_seconds" in answer.read()
    time.sleep(float(sys.argv[2]))
"""
"""A Prometheus in a process of its own, so that its CPU time is not ours."""
