"""Observes the validator from inside at regular intervals, and updates its metrics."""

from __future__ import annotations

import asyncio
import logging
import math
import os
import threading
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from gaia.validator.app.observation import disk, metrics, resources
from gaia.validator.app.observation.processes import ProcessTable
from gaia.validator.app.observation.stored import StoredMetrics
from gaia.validator.app.observation.tallied import CHAIN_NODES
from gaia.validator.core.background.book import TaskBook
from gaia.validator.utils.errors import GaiaError
from gaia.validator.utils.machine.disk_space import DATA_FOLDER, limited, space_of

if TYPE_CHECKING:
    from gaia.tasks.defined_tasks.base import Clock
    from gaia.validator.app.observation.tallied import TellsNodes
    from gaia.validator.app.pool.protocols import ComputeBackend
    from gaia.validator.core.background.book import JobStatus
    from gaia.validator.core.chain.metagraph import MetagraphKeeper
    from gaia.validator.core.consensus.watching import ConsensusWatch
    from gaia.validator.db.connection import Database
    from gaia.validator.utils.settings.handed import WeatherSettings

log = structlog.get_logger(__name__)

_JOB = "observation"
_LAG_PERIOD_S = 0.5
_LOOK_EVERY_S = 5.0
_SELDOM_EVERY_S = 15.0
_DISK_EVERY_S = 60.0
_DISK_SHARE = 20
"""The disk is measured for at most this fraction of the time."""
_OVERDUE = 6
"""Looks without a success after which they are overdue."""


class Observer:
    """Observes the validator, and updates its metrics; a failed look is repeated at its next turn.

    Parameters
    ----------
    netuid
        Subnet whose weight vectors are looked at.
    nodes
        Names of the nodes of the chain.
    seats
        Returns the number of compute workers that the settings want, which a reload changes; 0: those of a cluster.
    board_path
        File in which the Supervisor, our parent, publishes the living processes.
    """

    def __init__(
        self,
        settings: WeatherSettings,
        *,
        netuid: int,
        pool: ComputeBackend,
        database: Database,
        metagraph: MetagraphKeeper,
        clock: Clock,
        signer: TellsNodes,
        consensus: ConsensusWatch,
        nodes: Iterable[str],
        seats: Callable[[], int],
        board_path: Path,
    ) -> None:
        self._settings = settings
        self._pool = pool
        self._database = database
        self._metagraph = metagraph
        self._signer = signer
        self._consensus = consensus
        self._clock = clock
        CHAIN_NODES.expect(nodes)
        self._seats = seats
        self._processes = ProcessTable(board_path, os.getppid())
        self._stored = StoredMetrics(settings, netuid, database, clock)
        self._book = TaskBook()
        """How the looks do, as one of the recurring jobs; a look waits for the one before, so none is skipped."""
        self._book.expect(_JOB, _OVERDUE * _LOOK_EVERY_S, can_be_skipped=False)
        self._reported: dict[str, str] = {}
        """Look -> its last reported failure, so that each is logged once."""

    def statuses(self) -> Sequence[JobStatus]:
        """Return how the observation itself does."""
        return self._book.statuses()

    async def run(self) -> None:
        """Observe at regular intervals until cancelled."""
        metrics.STARTED_AT.set(time.time())
        metrics.DB_MAX.set(self._database.pool_size)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._measure_lag())
            for name, look, every_s in (
                ("pools", self._show_pools, _LAG_PERIOD_S),
                ("processes", self._look_at_processes, _LOOK_EVERY_S),
                ("often", self._look_often, _LOOK_EVERY_S),
                ("seldom", self._stored.look_seldom, _SELDOM_EVERY_S),
                ("nodes", self._look_at_nodes, _LOOK_EVERY_S),
                ("consensus", self._look_at_consensus, _LOOK_EVERY_S),
                ("disk", self._measure_disk, _DISK_EVERY_S),
            ):
                group.create_task(self._repeat(name, look, every_s))

    async def _look_at_nodes(self) -> None:
        await CHAIN_NODES.look(self._signer)

    async def _look_at_consensus(self) -> None:
        metagraph = self._metagraph.latest()
        view = self._consensus.latest(metagraph)
        metrics.VALIDATOR_TRUST.labels("last").set(math.nan if view is None else view.validator_trust)
        metrics.VALIDATOR_TRUST.labels("next").set(math.nan if view is None else view.next.validator_trust)
        metrics.TRUST_LOSS_LIMIT.set(self._settings.weights.weights_max_trust_loss)
        await self._consensus.refresh(metagraph, self._clock.now())

    async def _measure_lag(self) -> None:
        while True:
            before = time.monotonic()
            await asyncio.sleep(_LAG_PERIOD_S)
            lag_s = max(0.0, time.monotonic() - before - _LAG_PERIOD_S)
            metrics.LOOP_LAG.set(lag_s)
            metrics.LOOP_LAGS.observe(lag_s)

    async def _repeat(self, name: str, look: Callable[[], Awaitable[None]], every_s: float) -> None:
        """Look again and again; no failure ends that, because observation is no reason to stop work."""
        while True:
            try:
                await look()
            except (GaiaError, OSError) as error:
                self._note(name, error)
            except Exception as error:  # noqa: BLE001 - it is logged with its trace, and observation goes on
                self._note(name, error, trace=error)
            else:
                self._reported.pop(name, None)
            await asyncio.sleep(every_s)

    def _note(self, name: str, error: Exception, trace: Exception | None = None) -> None:
        """Count a failure, and log it if it is not the last one again; `trace` is an error that nobody foresaw."""
        self._book.failed(_JOB)
        text = f"{type(error).__name__}: {error}"
        if self._reported.get(name) != text:
            level = logging.WARNING if trace is None else logging.ERROR
            log.log(level, "observation_failed", look=name, error=text, exc_info=trace)
        self._reported[name] = text

    async def _show_pools(self) -> None:
        pool = self._pool
        metrics.QUEUE_DEPTH.labels("work").set(pool.queue_depth)
        metrics.QUEUE_DEPTH.labels("leased").set(pool.busy)
        metrics.QUEUE_DEPTH.labels("result").set(pool.undelivered)
        metrics.SEATS.set(self._seats() or pool.workers)
        metrics.HEALTHY_SEATS.set(pool.healthy_seats)
        metrics.SANDBOX_LEVEL.set(pool.sandbox_level)
        active, idle = self._database.connections()
        metrics.DB_ACTIVE.set(active)
        metrics.DB_IDLE.set(idle)

    async def _look_often(self) -> None:
        if (metagraph := self._metagraph.latest()) is not None:
            metrics.CHAIN_BLOCK.set(metagraph.block)
            metrics.WEIGHTS_BLOCK.set(metagraph.own.last_update if metagraph.own is not None else 0)
        await self._stored.look_often()
        self._book.succeeded(_JOB)

    async def _look_at_processes(self) -> None:
        resources.show_processes(await asyncio.to_thread(self._processes.look))
        files = self._settings.files
        whole = await asyncio.to_thread(space_of, files.data_dir)
        space = limited(whole, files.data_max_bytes, DATA_FOLDER.used_bytes)
        resources.show_file_system(space.free, space.size)

    async def _measure_disk(self) -> None:
        began, stop = time.monotonic(), threading.Event()
        try:
            used = await asyncio.to_thread(disk.measure, self._settings.files.data_dir, stop)
        finally:
            stop.set()  # the end of the process waits for its threads
        DATA_FOLDER.used_bytes = sum(used.values())
        resources.show_disk(used)
        await asyncio.sleep((time.monotonic() - began) * (_DISK_SHARE - 1))
