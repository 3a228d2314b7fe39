"""Updates the gauges: the loop's lag, queues, processes, runs and the chain."""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from collections.abc import Awaitable, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import psutil
import structlog

from gaia.tasks.defined_tasks.base import JobOffer, Miners, SignedManifest, StoreAccess
from gaia.validator.app.meeting.rendezvous import Board, read_board
from gaia.validator.app.observation import metrics
from gaia.validator.core.chain.metagraph import MetagraphKeeper
from gaia.validator.db import queries
from gaia.validator.utils.borders import UNFORESEEN, Party
from gaia.validator.utils.errors import GaiaError, TransientError
from gaia.validator.utils.identities import MinerJobId

if TYPE_CHECKING:
    from gaia.tasks.defined_tasks.base import JobOffer, Miners, SignedManifest, StoreAccess
    from gaia.validator.app.pool.protocols import ComputeBackend
    from gaia.validator.core.chain.metagraph import MetagraphKeeper
    from gaia.validator.db.connection import Database
    from gaia.validator.utils.ipc_types import Neuron, ResultUnit, WorkUnit

T = TypeVar("T")

log = structlog.get_logger(__name__)

_LAG_PERIOD_S = 0.5
_LOOK_EVERY_S = 5.0


class Observer:
    """Observes the validator from inside, and updates its metrics."""

    def __init__(
        self, pool: ComputeBackend, database: Database, metagraph: MetagraphKeeper, board_path: Path
    ) -> None:
        self._pool = pool
        self._database = database
        self._metagraph = metagraph
        self._board_path = board_path
        self._restarts: dict[str, int] = {}
        self._unforeseen: Counter[Party] = Counter()

    async def run(self) -> None:
        """Observe at regular intervals until cancelled."""
        next_look = 0.0
        while True:
            before = time.monotonic()
            await asyncio.sleep(_LAG_PERIOD_S)
            metrics.LOOP_LAG.set(max(0.0, time.monotonic() - before - _LAG_PERIOD_S))
            self._show_queue()
            if time.monotonic() >= next_look:
                next_look = time.monotonic() + _LOOK_EVERY_S
                await self._look()

    async def _look(self) -> None:
        board = read_board(self._board_path)
        self._show_processes(board)
        self._show_restarts(board)
        self._show_unforeseen()
        if (metagraph := self._metagraph.latest()) is not None:
            metrics.CHAIN_BLOCK.set(metagraph.block)
            own = [n.last_update for n in metagraph.neurons if n.uid == metagraph.own_uid]
            metrics.WEIGHTS_BLOCK.set(max(own, default=0))
        try:
            async with self._database.transaction() as connection:
                runs = await queries.open_runs(connection)
                counts = await queries.count_forecasts(connection)
        except TransientError as error:
            log.warning("observation_failed", error=str(error), once=("database", str(error)))
            return
        metrics.RUNS_ACTIVE.set(len(runs))
        metrics.FORECASTS.clear()
        for state, count in counts.items():
            metrics.FORECASTS.labels(state).set(count)

    def _show_queue(self) -> None:
        metrics.QUEUE_DEPTH.labels("work").set(self._pool.queue_depth)
        metrics.QUEUE_DEPTH.labels("leased").set(self._pool.busy)
        metrics.HEALTHY_SEATS.set(self._pool.healthy_seats)
        metrics.SANDBOX_LEVEL.set(self._pool.sandbox_level)

    def _show_processes(self, board: Board) -> None:
        pids = {**board.processes, "io_engine": os.getpid()}
        groups = {role: [pid] for role, pid in pids.items()}
        groups["compute_worker"] = list(board.workers.values())
        for role, members in groups.items():
            rss, cpu = 0, 0.0
            for pid in members:
                try:
                    process = psutil.Process(pid)
                    rss += process.memory_info().rss
                    cpu += sum(process.cpu_times()[:2])
                except psutil.Error:
                    continue  # it has ended since the board was written; the next board leaves it out
            metrics.PROCESS_RSS.labels(role).set(rss)
            metrics.PROCESS_CPU.labels(role).set(cpu)

    def _show_restarts(self, board: Board) -> None:
        for role, total in board.restarts.items():
            metrics.CHILD_RESTARTS.labels(role).inc(max(0, total - self._restarts.get(role, 0)))
            self._restarts[role] = total

    def _show_unforeseen(self) -> None:
        for party, total in UNFORESEEN.items():
            metrics.UNFORESEEN.labels(party.value).inc(total - self._unforeseen[party])
            self._unforeseen[party] = total


class CountedMiners:
    """Forwards requests to miners, and counts their outcomes."""

    def __init__(self, miners: Miners) -> None:
        self._miners = miners

    async def request_forecast(self, miner: Neuron, init_time: datetime) -> JobOffer:
        return await _counted("request_forecast", self._miners.request_forecast(miner, init_time))

    async def forecast_ready(self, miner: Neuron, job_id: MinerJobId) -> bool:
        return await _counted("forecast_ready", self._miners.forecast_ready(miner, job_id))

    async def open_store(self, miner: Neuron, job_id: MinerJobId) -> StoreAccess:
        return await _counted("open_store", self._miners.open_store(miner, job_id))

    async def fetch_manifest(self, miner: Neuron, access: StoreAccess) -> SignedManifest:
        return await _counted("fetch_manifest", self._miners.fetch_manifest(miner, access))

    async def fetch_files(
        self, miner: Neuron, access: StoreAccess, paths: Sequence[str], directory: Path
    ) -> int:
        call = self._miners.fetch_files(miner, access, paths, directory)
        return await _counted("fetch_files", call)


async def _counted(call: str, answer: Awaitable[T]) -> T:
    outcome = "ok"
    try:
        return await answer
    except GaiaError as error:
        outcome = type(error).__name__
        raise
    finally:
        metrics.MINER_REQUESTS.labels(call, outcome).inc()


def record_result(unit: WorkUnit, result: ResultUnit) -> None:
    """Count one finished unit."""
    metrics.JOB_DURATION.labels(unit.handler).observe(result.wall_s)
    if result.failure is not None:
        metrics.JOB_FAILURES.labels(unit.handler, result.failure.error_type).inc()
