"""The IO-Engine: the asynchronous process for network, database and schedule, which wires all parts."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import structlog
import uvloop

from gaia.tasks.defined_tasks.base import Archives, Clock
from gaia.tasks.defined_tasks.weather.copies.copy_book import CopyBook
from gaia.tasks.defined_tasks.weather.sources.cds import CdsEra5Archive
from gaia.tasks.defined_tasks.weather.sources.climatology import ZarrClimatologyArchive
from gaia.tasks.defined_tasks.weather.sources.gfs import NoaaGfsArchive
from gaia.tasks.defined_tasks.weather.task import WeatherTask
from gaia.validator.app import child
from gaia.validator.app.io_compute import start_compute
from gaia.validator.app.logging_config import change_logging, configure_logging, lines_logged
from gaia.validator.app.meeting.engine_note import EngineNotes
from gaia.validator.app.meeting.rendezvous import BoardReader, metrics_page_path
from gaia.validator.app.meeting.stack_dumps import offer_stacks
from gaia.validator.app.observation import metrics
from gaia.validator.app.observation.counted import CountedChain, CountedMiners, counted
from gaia.validator.app.observation.engine_health import EngineHealth, watched
from gaia.validator.app.observation.family import children_of
from gaia.validator.app.observation.jobs import JOBS
from gaia.validator.app.observation.observer import Observer
from gaia.validator.app.observation.pages.insight import Insight, life_of
from gaia.validator.app.observation.pages.served import StatusPages
from gaia.validator.app.observation.probes import Endpoints
from gaia.validator.app.observation.serving import ServingThread
from gaia.validator.app.pool.compute_pool import ComputePool
from gaia.validator.app.startup.opening import backup_keeper, lease_of, open_database
from gaia.validator.app.startup.published import publish_settings
from gaia.validator.app.startup.reading import read_again
from gaia.validator.app.startup.reload import merge
from gaia.validator.app.supervision import Role
from gaia.validator.core.background.book import TaskBook
from gaia.validator.core.background.notifier import Notifier
from gaia.validator.core.background.registry import Surroundings, background_tasks
from gaia.validator.core.background.retention import Retention
from gaia.validator.core.chain.metagraph import MetagraphKeeper
from gaia.validator.core.chain.signer_client import SignerClient
from gaia.validator.core.clock import RealClock, SimulatedClock
from gaia.validator.core.consensus.watching import ConsensusWatch
from gaia.validator.core.database_setup import take_over
from gaia.validator.core.incidents import Incident
from gaia.validator.core.miner_comms import MinerComms
from gaia.validator.core.status.facts import Seats
from gaia.validator.core.status_line import StatusReader
from gaia.validator.core.task_orchestrator import TaskOrchestrator
from gaia.validator.core.weights.setting import WeightSetter
from gaia.validator.utils.config import variable_of
from gaia.validator.utils.errors import ConfigurationError
from gaia.validator.utils.machine.event_loop import end_despite, favour_loop
from gaia.validator.utils.messenger import Messenger

if TYPE_CHECKING:
    from gaia.validator.app.pool.protocols import ComputeBackend
    from gaia.validator.core.background.task import BackgroundTask
    from gaia.validator.db.access.lease import Lease
    from gaia.validator.db.connection import Database
    from gaia.validator.utils.config import Settings
    from gaia.validator.utils.idle_connections import HoldsConnections
    from gaia.validator.utils.ipc_types import ResultUnit, WorkUnit

log = structlog.get_logger(__name__)
_PATIENCE_AT_START_S = 25.0


def run_io_engine(
    settings: Settings,
    pool_socket: socket.socket,
    signer_path: str,
    board_path: str,
    endpoint: socket.socket | None = None,
) -> None:
    """Run the IO-Engine in this process until SIGTERM.

    Parameters
    ----------
    settings
        All settings, as the Supervisor read them.
    pool_socket
        Listening socket for compute workers; the Supervisor owns it.
    signer_path
        Socket of the chain signer.
    board_path
        File in which the Supervisor publishes the living processes.
    endpoint
        Listening socket for metrics and probes, which the Supervisor owns; None: neither is served.
    """
    configure_logging(settings.log_level, settings.log_format, settings.log_files, role="io_engine")
    settings.hold_secrets()
    offer_stacks(Path(board_path).parent)
    for chatterbox in ("apscheduler", "httpx"):
        logging.getLogger(chatterbox).setLevel(logging.ERROR)
    favour_loop()
    engine = IOEngine(settings, pool_socket, signer_path, Path(board_path))
    names = settings.observation.served_names
    serving = ServingThread(endpoint, engine.endpoints().answer, names) if endpoint is not None else None
    try:
        uvloop.run(_main(engine))
    finally:
        if serving is not None:
            serving.stop()


async def _main(engine: IOEngine) -> None:
    loop, start = asyncio.get_running_loop(), asyncio.current_task()
    assert start is not None
    # SIGTERM also ends the wait for the database or the chain.
    loop.add_signal_handler(signal.SIGTERM, start.cancel)
    beating = watched(engine.health.beat(), "beat")
    try:
        async with engine.started():
            loop.add_signal_handler(signal.SIGHUP, engine.reload)
            await engine.meet_chain()
            stop = asyncio.Event()
            loop.add_signal_handler(signal.SIGTERM, stop.set)
            await engine.run(stop)
    except asyncio.CancelledError:
        log.info("engine_start_cancelled")
    else:
        end_despite(engine.left_behind())
    finally:
        beating.cancel()


def _stand_by(holder: str) -> None:
    """Say that another validator is active; for systemd we are up, because it may stay so for months."""
    log.info("standing_by", holder=holder)
    child.tell(child.STARTED)


class IOEngine:
    """Builds the asynchronous parts, and gives each the sections of the settings that it needs."""

    _pool: ComputeBackend
    _lease: Lease
    _clients: dict[str, HoldsConnections]
    """Name -> client that keeps connections."""
    _metagraph: MetagraphKeeper
    _notifier: Notifier
    _observer: Observer
    _orchestrator: TaskOrchestrator

    def __init__(
        self, settings: Settings, pool_socket: socket.socket, signer_path: str, board_path: Path
    ) -> None:
        self._settings = settings
        self._pool_socket = pool_socket
        self._signer_path = signer_path
        self._board_path = board_path
        self.health = EngineHealth(
            tick_interval_s=settings.tick_interval_s,
            metagraph_interval_s=settings.metagraph_interval_s,
            chain_timeout_s=settings.chain_timeout_s,
        )
        self._board = BoardReader(board_path)
        self._book = TaskBook()
        # Here, because loading the services would stop the loop for seconds.
        self._messenger = Messenger(
            [address.get_secret_value() for address in settings.notify_urls], variable_of("notify_urls")
        )

    def endpoints(self) -> Endpoints:
        """Return the endpoints of this process."""
        page = metrics_page_path(self._board_path)
        return Endpoints(
            role="io_engine",
            probes=self.health.probes(),
            metrics=lambda: metrics.all_metrics(page, holds_lease=self.health.holds_lease),
            pages=StatusPages(lambda: self._settings.status).answer,
        )

    @asynccontextmanager
    async def started(self) -> AsyncIterator[None]:
        """Open all connections and wire the parts; close everything afterwards, also after a start that failed."""
        async with AsyncExitStack() as stack:
            await self._start(stack)
            yield

    async def _start(self, stack: AsyncExitStack) -> None:
        """Open each connection, and enter its end into `stack` before the next is opened."""
        settings = self._settings
        self._publish()
        clock: Clock = SimulatedClock(settings.clock_file) if settings.clock_file else RealClock()
        database = await open_database(settings)
        stack.push_async_callback(database.close)
        self._lease = self.health.lease = lease_of(settings.data_dir, settings.lease_s, database)
        stack.push_async_callback(self._lease.release)
        self._backups = backup_keeper(settings, database)
        setup = await take_over(database, self._lease, _stand_by, self._backups.before_migration)
        log.info("database_ready", **setup.describe())
        stack.callback(watched(self.health.ask(database), "ask").cancel)
        signer = SignerClient(self._signer_path, settings.chain_timeout_s, self._lease)
        stack.push_async_callback(signer.close)
        miners = MinerComms(settings.miners, settings.grid_degrees, signer, self._lease.require)
        stack.push_async_callback(miners.close)
        self._pool = await start_compute(
            settings.pool, settings.data_dir, self._pool_socket, self._board_path
        )
        stack.push_async_callback(self._pool.close)
        sources, grid = settings.sources, settings.grid_degrees
        gfs, era5 = NoaaGfsArchive(sources, grid, clock), CdsEra5Archive(sources, grid, clock)
        climatology = ZarrClimatologyArchive(sources, clock)
        for archive in (gfs, era5, climatology):
            stack.push_async_callback(archive.aclose)
        archives = counted(Archives(gfs=gfs, era5=era5, climatology=climatology))
        self._clients = {"miners": miners, "gfs": gfs, "era5": era5, "climatology": climatology}
        self._wire(database, signer, miners, archives, clock)

    def _wire(
        self, database: Database, signer: SignerClient, miners: MinerComms, archives: Archives, clock: Clock
    ) -> None:
        settings, pool = self._settings, self._pool
        weather = settings.weather
        self.health.pool = pool
        chain = CountedChain(signer)
        consensus = ConsensusWatch(signer, database, settings.netuid, settings.weights)
        notes = EngineNotes(settings.data_dir, clock, consensus.latest)
        self._metagraph = MetagraphKeeper(self.health.watched_source(chain), notes.write)
        self._observer = self._observing(database, signer, clock, consensus)
        JOBS.watch(self._observer.statuses, self._book.statuses)
        insight = Insight(lambda: self._settings.status, database, JOBS.facts, self._seats_seen)
        self._notifier = Notifier(
            settings.notify, settings.data_dir, insight.facts, self._messenger, life_of(os.getppid())
        )
        copies = CopyBook(weather, database, self)
        task = WeatherTask(
            weather,
            database,
            miners=CountedMiners(miners),
            archives=archives,
            pool=self,
            metagraph=self._metagraph,
            clock=clock,
            copies=copies,
        )
        weights = WeightSetter(
            settings.chain, settings.weights, database, chain, self._metagraph, copies, consensus=consensus
        )
        self._orchestrator = TaskOrchestrator(
            clock,
            [self.health.watched_task(task)],
            self._metagraph,
            weights,
            Incident(database, "chain"),
            metrics.count_error,
            let_go=pool.close if isinstance(pool, ComputePool) else None,
            status=StatusReader(
                database,
                self._metagraph,
                pool,
                insight.facts,
                seats=self._seats,
                lines_logged=lines_logged,
            ),
            background=self._background(database, signer, miners, clock),
            book=self._book,
            tick_interval_s=settings.tick_interval_s,
            metagraph_interval_s=settings.metagraph_interval_s,
            drain_timeout_s=settings.drain_timeout_s,
        )

    def _observing(
        self, database: Database, signer: SignerClient, clock: Clock, consensus: ConsensusWatch
    ) -> Observer:
        return Observer(
            self._settings.weather,
            netuid=self._settings.netuid,
            pool=self._pool,
            database=database,
            metagraph=self._metagraph,
            clock=clock,
            signer=signer,
            consensus=consensus,
            nodes=self._settings.chain.nodes,
            seats=self._seats,
            board_path=self._board_path,
        )

    def _seats(self) -> int:
        """Return the number of compute workers that the settings in force want; 0: those of a cluster."""
        return self._settings.seats

    def _seats_seen(self) -> Seats:
        return Seats(healthy=self._pool.healthy_seats, wanted=self._seats())

    def _background(
        self, database: Database, signer: SignerClient, miners: MinerComms, clock: Clock
    ) -> list[BackgroundTask]:
        settings, pool = self._settings, self._pool
        return background_tasks(
            Surroundings(
                settings=settings.background,
                data_dir=settings.data_dir,
                database=database,
                units=self,
                metagraph=self._metagraph,
                miners=miners,
                clients=self._clients,
                signer=signer,
                processes=self._processes,
                workers=pool if isinstance(pool, ComputePool) else None,
                notifier=self._notifier,
                retention=Retention(settings.files, settings.weights, database, clock),
                backups=self._backups,
                show_update=metrics.UPDATE_AVAILABLE.set,
            )
        )

    def _processes(self) -> dict[str, list[int]]:
        """Return role -> pids of the living processes; the engine itself is on no board yet while it starts.

        Of PostgreSQL, the sessions and helpers are processes too.
        """
        board = self._board.read()
        if board is None:
            return {"io_engine": [os.getpid()]}
        others = {role: [pid] for role, pid in board.processes.items()}
        for server in others.get(Role.DATABASE, [])[:1]:
            others[Role.DATABASE] += children_of(server)
        return {**others, "io_engine": [os.getpid()], "compute_worker": list(board.workers.values())}

    async def dispatch_and_wait(self, work_unit: WorkUnit) -> ResultUnit:
        """Run one unit in the compute pool and return its result."""
        result = await self._pool.dispatch_and_wait(work_unit)
        metrics.record_result(work_unit, result)
        return result

    async def meet_chain(self) -> None:
        """Read the first metagraph.

        Raises
        ------
        ConfigurationError
            If the chain cannot be reached, or our hotkey is not registered there.
        """
        metagraph = await self._metagraph.first(min(self._settings.chain_timeout_s, _PATIENCE_AT_START_S))
        self.health.has_started = True
        child.tell(child.STARTED)
        log.info("engine_started", uid=metagraph.own_uid, block=metagraph.block, pid=os.getpid())

    def reload(self) -> None:
        """Read the settings again, and apply those that may change, as the Supervisor does."""
        try:
            self._settings, changed, _ = merge(self._settings, partial(read_again, self._settings.env_file))
        except ConfigurationError as error:
            log.error("reload_failed", error=str(error))
            return
        change_logging(self._settings.log_level, self._settings.log_files)
        if isinstance(self._pool, ComputePool):
            self._pool.reconfigure(self._settings.pool_queue_limit, self._settings.canary_interval_s)
        self._publish()
        log.debug("engine_settings_reloaded", changed=changed)

    def left_behind(self) -> list[str]:
        """Return the jobs that ignored their cancellation and still run."""
        return self._orchestrator.left_behind()

    def _publish(self) -> None:
        try:
            publish_settings(self._settings.data_dir, self._settings.describe())
        except OSError as error:
            # Only people read them, so a full disk is no reason to end.
            log.error("settings_not_published", reason=error.strerror or str(error))

    async def run(self, stop: asyncio.Event) -> None:
        """Run all parts until `stop` is set."""
        self._lease.when_lost(stop.set)
        watching = watched(self._observer.run(), "observation")
        leaving = asyncio.create_task(self._tell_stop(stop))
        try:
            await self._orchestrator.run(stop)
        except ConfigurationError as error:
            await self._notifier.tell_stop(str(error))
            raise
        finally:
            watching.cancel()
            if stop.is_set():
                await leaving
            leaving.cancel()

    async def _tell_stop(self, stop: asyncio.Event) -> None:
        """Send the message about a stop while running jobs end."""
        await stop.wait()
        board = self._board.read()
        await self._notifier.tell_stop("" if board is None else board.halt)
