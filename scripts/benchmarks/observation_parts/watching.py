"""Wires the benchmarked engine as `app.io_engine` does, once with all that observes it and once without."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx

from benchmarks import database as filled
from benchmarks.observation_parts.phases import Order
from benchmarks.observation_parts.stored import StillClock
from gaia.validator.app.io_compute import start_compute
from gaia.validator.app.logging_config import lines_logged
from gaia.validator.app.meeting.engine_note import EngineNotes
from gaia.validator.app.meeting.rendezvous import metrics_page_path, read_board
from gaia.validator.app.observation import metrics
from gaia.validator.app.observation.engine_health import EngineHealth
from gaia.validator.app.observation.jobs import JOBS
from gaia.validator.app.observation.observer import Observer
from gaia.validator.app.observation.pages import served
from gaia.validator.app.observation.pages.insight import Insight
from gaia.validator.app.observation.pages.served import StatusPages
from gaia.validator.app.observation.probes import Endpoints
from gaia.validator.app.observation.serving import ServingThread
from gaia.validator.app.pool.compute_pool import ComputePool
from gaia.validator.app.startup.opening import backup_keeper
from gaia.validator.core.background.book import TaskBook
from gaia.validator.core.background.notifier import Notifier
from gaia.validator.core.background.registry import Surroundings, background_tasks
from gaia.validator.core.background.retention import Retention
from gaia.validator.core.chain.metagraph import MetagraphKeeper
from gaia.validator.core.chain.signer_client import SignerClient
from gaia.validator.core.consensus.watching import ConsensusWatch
from gaia.validator.core.incidents import Incident
from gaia.validator.core.miner_comms import MinerComms
from gaia.validator.core.status.facts import Seats
from gaia.validator.core.status_line import StatusReader
from gaia.validator.core.task_orchestrator import TaskOrchestrator
from gaia.validator.db.connection import Database
from gaia.validator.utils.config import Settings
from gaia.validator.utils.idle_connections import Connections, close_idle, transports_of
from gaia.validator.utils.messenger import Messenger

if TYPE_CHECKING:
    from gaia.validator.core.background.task import BackgroundTask

_DUE_AFTER = 0.6
"""Share of a phase after which a task is due whose interval is longer; so it runs once in each."""
_BROWSE_AFTER = 0.4
"""The same for the browser; its first visit starts a reading, whose pages the second one gets."""
_BROWSE_S = 30.0
_IDLE_CONNECTIONS = 8
_NEVER_S = 86_400.0


class Failed(Exception):
    """Something that was to be measured did not work."""


@dataclass(frozen=True, slots=True)
class IdleClient:
    """A client whose connections are idle after some questions at once, as after a round of miners."""

    client: httpx.AsyncClient
    url: str

    async def ask(self) -> None:
        """Open connections, and leave them idle."""
        await asyncio.gather(*(self.client.get(self.url) for _ in range(_IDLE_CONNECTIONS)))

    async def close_idle(self) -> Connections:
        """Close the connections that no request uses."""
        return await close_idle(transports_of(self.client))


@dataclass(kw_only=True)
class Engine:
    """The parts of an IO-Engine that stay from phase to phase."""

    order: Order
    settings: Settings
    board_path: Path
    endpoint: socket.socket
    database: Database
    signer: SignerClient
    miners: MinerComms
    metagraph: MetagraphKeeper
    pool: ComputePool
    idle: IdleClient
    messenger: Messenger
    pages: StatusPages
    task_runs: Counter[str] = field(default_factory=Counter)
    """Background task -> runs that succeeded."""
    book: TaskBook = field(default_factory=TaskBook)
    _watchers: list[asyncio.Task[Any]] = field(default_factory=list)

    def other_processes(self) -> dict[str, list[int]]:
        """Return role -> pids of the database and of the workers, which observation also employs."""
        board = read_board(self.board_path)
        return {"postgres": [board.processes["postgres"]], "compute_worker": list(board.workers.values())}

    async def read_pages(self) -> float:
        """Read all runs for the pages; return the CPU seconds that it took."""
        began = time.process_time()
        while (answer := self.pages.answer("/")) is None or answer.status is not HTTPStatus.OK:
            await asyncio.sleep(0.05)
        return time.process_time() - began

    def check(self) -> None:
        """Raise the error of what ended before its time, or `Failed` if a job failed."""
        for each in self._watchers:
            if each.done():
                each.result()
        failed = {status.job: status.failures for status in self.book.statuses() if status.failures}
        if failed:
            raise Failed(f"jobs failed: {failed}; see the engine's log")

    @asynccontextmanager
    async def at_work(
        self, background: Sequence[BackgroundTask] = (), status: StatusReader | None = None
    ) -> AsyncIterator[TaskOrchestrator]:
        """Run the orchestrator with idle ticks on the database, and with these tasks."""
        nobody: Any = filled.Nobody()
        stop, clock = asyncio.Event(), StillClock()
        orchestrator = TaskOrchestrator(
            clock,
            [filled.idle_task(self.settings.data_dir, self.database)],
            self.metagraph,
            nobody,
            Incident(self.database, "chain"),
            metrics.count_error,
            status=status,
            background=background,
            book=self.book,
            tick_interval_s=self.settings.tick_interval_s,
            metagraph_interval_s=_NEVER_S,
            drain_timeout_s=self.settings.drain_timeout_s,
        )
        running = asyncio.create_task(orchestrator.run(stop))
        self._watchers.append(running)
        try:
            yield orchestrator
        finally:
            stop.set()
            await running
            self._watchers.remove(running)

    @asynccontextmanager
    async def watched(self, number: int) -> AsyncIterator[None]:
        """Run everything that observes, and let Prometheus, a probe and a browser ask."""
        settings, self.book = self.settings, TaskBook()
        health = EngineHealth(
            tick_interval_s=settings.tick_interval_s,
            metagraph_interval_s=settings.metagraph_interval_s,
            chain_timeout_s=settings.chain_timeout_s,
        )
        health.pool, health.has_started = self.pool, True
        observer = self._observer()
        JOBS.watch(observer.statuses, self.book.statuses)
        status = StatusReader(
            self.database,
            self.metagraph,
            self.pool,
            self._insight().facts,
            seats=lambda: settings.seats,
            lines_logged=lines_logged,
        )
        background = [self._due(task) for task in self._background(number)]
        await self.idle.ask()
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self._visited(health))
            orchestrator = await stack.enter_async_context(self.at_work(background, status))
            for watcher in (
                health.beat(),
                health.ask(self.database),
                observer.run(),
                self._log_status(orchestrator),
            ):
                stack.push_async_callback(self._end, task := asyncio.create_task(watcher))
                self._watchers.append(task)
            yield

    async def _log_status(self, orchestrator: TaskOrchestrator) -> None:
        """Log the status line once in the phase; the orchestrator itself does so every two minutes."""
        await asyncio.sleep(_DUE_AFTER * self.order.phase_s)
        await orchestrator.status_logger()
        self.task_runs[orchestrator.status_logger.__name__] += 1

    async def _end(self, watcher: asyncio.Task[Any]) -> None:
        self._watchers.remove(watcher)
        watcher.cancel()
        await asyncio.gather(watcher, return_exceptions=True)

    def _observer(self) -> Observer:
        return Observer(
            self.settings.weather,
            netuid=self.settings.netuid,
            pool=self.pool,
            database=self.database,
            metagraph=self.metagraph,
            clock=StillClock(),
            signer=self.signer,
            consensus=ConsensusWatch(self.signer, self.database, self.settings.netuid, self.settings.weights),
            nodes=self.settings.chain.nodes,
            seats=lambda: self.settings.seats,
            board_path=self.board_path,
        )

    def _insight(self) -> Insight:
        return Insight(lambda: self.settings.status, self.database, JOBS.facts, self._seats)

    def _seats(self) -> Seats:
        return Seats(healthy=self.pool.healthy_seats, wanted=self.settings.seats)

    def _background(self, number: int) -> list[BackgroundTask]:
        """Return the background tasks as the engine makes them; each phase is a new life for the notifier."""
        settings = self.settings
        notifier = Notifier(
            settings.notify,
            settings.data_dir,
            self._insight().facts,
            self.messenger,
            f"phase {number}",
        )
        return background_tasks(
            Surroundings(
                settings=settings.background,
                data_dir=settings.data_dir,
                database=self.database,
                units=self.pool,
                metagraph=self.metagraph,
                miners=self.miners,
                clients={"miners": self.miners, "archives": self.idle},
                signer=self.signer,
                processes=self._processes,
                workers=self.pool,
                notifier=notifier,
                retention=Retention(settings.files, settings.weights, self.database, StillClock()),
                backups=backup_keeper(settings, self.database),
                show_update=metrics.UPDATE_AVAILABLE.set,
            )
        )

    def _processes(self) -> dict[str, list[int]]:
        board = read_board(self.board_path)
        others = {role: [pid] for role, pid in board.processes.items()}
        return {**others, "io_engine": [os.getpid()], "compute_worker": list(board.workers.values())}

    def _due(self, task: BackgroundTask) -> BackgroundTask:
        """Return the task with an interval that ends within a phase, and with its successes counted."""

        async def run() -> bool | None:
            outcome = await task.run()
            self.task_runs[task.name] += outcome is not False
            return outcome

        return replace(task, run=run, interval_s=min(task.interval_s, _DUE_AFTER * self.order.phase_s))

    @asynccontextmanager
    async def _visited(self, health: EngineHealth) -> AsyncIterator[None]:
        """Serve the endpoints, and have them visited by another process."""
        endpoints = Endpoints(
            role="io_engine",
            probes=health.probes(),
            metrics=lambda: metrics.all_metrics(metrics_page_path(self.board_path)),
            pages=self.pages.answer,
        )
        serving = ServingThread(self.endpoint, endpoints.answer)
        order, module = self.order, "benchmarks.observation_parts.outside"
        browse_every_s = min(_BROWSE_S, _BROWSE_AFTER * order.phase_s)
        visitors = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", module, "visits", str(order.metrics_port)),
            *(str(order.scrape_every_s), str(browse_every_s)),
            stdout=asyncio.subprocess.PIPE,
        )
        assert visitors.stdout is not None
        try:
            await visitors.stdout.readline()
            yield
            if visitors.returncode is not None:
                raise Failed(f"a visitor was not answered, and ended with {visitors.returncode}")
        finally:
            if visitors.returncode is None:
                visitors.terminate()
            await visitors.wait()
            serving.stop()


@asynccontextmanager
async def engine_of(
    order: Order,
    settings: Settings,
    pool_socket: socket.socket,
    signer_path: str,
    board_path: Path,
    endpoint: socket.socket,
) -> AsyncIterator[Engine]:
    """Open all connections of the engine; close them afterwards."""
    from gaia.validator.app.children.embedded_postgres import embedded_dsn

    # A reading is due in each phase with observation, at the first visit of the browser.
    served.REFRESH_S = min(served.REFRESH_S, order.phase_s)  # type: ignore[misc]
    dsn = embedded_dsn(settings.data_dir)
    database = await Database.connect(dsn, timeout_s=120.0, pool_size=settings.database_pool_size)
    signer = SignerClient(signer_path, settings.chain_timeout_s)
    miners = MinerComms(settings.miners, settings.grid_degrees, signer)
    pool = await start_compute(settings.pool, settings.data_dir, pool_socket, board_path)
    assert isinstance(pool, ComputePool)
    metagraph = MetagraphKeeper(signer, EngineNotes(settings.data_dir, StillClock()).write)
    async with httpx.AsyncClient(trust_env=False) as client:
        engine = Engine(
            order=order,
            settings=settings,
            board_path=board_path,
            endpoint=endpoint,
            database=database,
            signer=signer,
            miners=miners,
            metagraph=metagraph,
            pool=pool,
            idle=IdleClient(client, f"http://127.0.0.1:{order.services_port}/idle"),
            pages=StatusPages(lambda: settings.status),
            messenger=Messenger([each.get_secret_value() for each in settings.notify_urls], "notify_urls"),
        )
        try:
            while len(read_board(board_path).workers) < settings.pool.seats or not pool.workers:
                await asyncio.sleep(0.05)
            yield engine
        finally:
            for part in (pool, miners, signer, database):
                await part.close()
