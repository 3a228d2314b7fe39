"""Health of the IO-Engine: its loop writes facts, and another thread turns them into checks."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any

import structlog

from gaia.tasks.defined_tasks.base import GaiaTask
from gaia.validator.app.observation.probes import LIVE, LOOP_STUCK_AFTER_S, READY, STARTED, Check
from gaia.validator.db.schema.files import read_migrations
from gaia.validator.db.schema.migrating import missing_migrations
from gaia.validator.utils.errors import ConfigurationError, GaiaError

if TYPE_CHECKING:
    from datetime import datetime

    from gaia.validator.app.pool.protocols import ComputeBackend
    from gaia.validator.core.chain.metagraph import MetagraphSource
    from gaia.validator.db.access.lease import Lease
    from gaia.validator.db.connection import Database
    from gaia.validator.utils.chain.metagraph import Metagraph

log = structlog.get_logger(__name__)

_BEAT_S = 0.5
_ASK_DATABASE_S, _ASK_AGAIN_S, _SOON_BACK_S = 5.0, 0.5, 10.0
_DATABASE_OLD_S = 30.0
_TICK_OLD_S = 120.0
_MISSED = 3


class Trials:
    """When something that recurs last succeeded, and how it last failed; one thread writes, others read."""

    def __init__(self) -> None:
        self._succeeded_at: float | None = None
        self._failure = ""

    def succeeded(self) -> None:
        """Note a success, which ends a failure."""
        self._failure = ""
        self._succeeded_at = time.monotonic()

    def failed(self, why: str) -> None:
        """Note a failure, which lasts until the next success."""
        self._failure = why

    @property
    def is_failing(self) -> bool:
        """Whether the last trial failed."""
        return bool(self._failure)

    def check(self, name: str, old_after_s: float, fix: str) -> Check:
        """Return a check that fails after a failure, and if the last success is old or never was."""
        failure, succeeded_at = self._failure, self._succeeded_at
        if succeeded_at is None:
            return Check(name=name, is_well=False, reason=failure or "not done yet", fix=fix)
        age_s = time.monotonic() - succeeded_at
        done = f"last done {age_s:.0f} s ago"
        if failure:
            return Check(name=name, is_well=False, reason=f"{failure} ({done})", fix=fix)
        limit = "" if age_s <= old_after_s else f", expected within {old_after_s:.0f} s"
        return Check(name=name, is_well=not limit, reason=done + limit, fix=fix)


def watched(work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
    """Return a task that runs `work` until it is cancelled; any other end of it is logged as an error."""
    task = asyncio.get_running_loop().create_task(work, name=name)
    task.add_done_callback(_report_end)
    return task


def _report_end(task: asyncio.Task[None]) -> None:
    if not task.cancelled():
        log.error("watching_ended", watching=task.get_name(), exc_info=task.exception())


class EngineHealth:
    """Facts about the IO-Engine, and the checks behind its probes.

    Parameters
    ----------
    tick_interval_s
        Seconds between two ticks.
    metagraph_interval_s
        Seconds between two readings of the chain.
    """

    def __init__(
        self, *, tick_interval_s: float, metagraph_interval_s: float, chain_timeout_s: float
    ) -> None:
        self.pool: ComputeBackend | None = None
        """Compute pool; None as long as there is none."""
        self.has_started = False
        """Whether the first metagraph was accepted."""
        self.lease: Lease | None = None
        """Our lease of the database; None before the database answers."""
        self._tick_old_s = _MISSED * tick_interval_s + _TICK_OLD_S
        self._chain_old_s = _MISSED * (metagraph_interval_s + chain_timeout_s)
        self._beat_at = time.monotonic()
        self._healthy_workers = 0
        self._database, self._schema = Trials(), Trials()
        self._chain, self._tick = Trials(), Trials()

    def probes(self) -> dict[str, Callable[[], Sequence[Check]]]:
        """Return path -> function that returns the checks behind it; any thread may call it."""
        return {LIVE: self._live, READY: self._ready, STARTED: self._started}

    async def beat(self) -> None:
        """Show that the event loop turns, until cancelled."""
        while True:
            self._beat_at = time.monotonic()
            # Counted here, because the pool's books may change under another thread.
            self._healthy_workers = self.pool.healthy_seats if self.pool is not None else 0
            await asyncio.sleep(_BEAT_S)

    async def ask(self, database: Database) -> None:
        """Ask the database at regular intervals whether it answers with our schema, until cancelled.

        One that fails is asked more often for a moment, because a killed server is back within seconds.
        """
        known = read_migrations()
        well_at = time.monotonic()
        while True:
            try:
                async with database.reading() as connection:
                    missing = await missing_migrations(connection, known)
            except ConfigurationError as error:
                self._database.succeeded()  # it answers, with a schema of another release
                self._schema.failed(error.problem)
            except GaiaError as error:
                self._database.failed(str(error))
            except Exception as error:
                self._database.failed(f"{type(error).__name__}: {error}")
                log.error("health_check_failed", exc_info=error, once=("health", type(error).__name__))
            else:
                self._database.succeeded()
                if missing:
                    lacking = "1 migration is" if len(missing) == 1 else f"{len(missing)} migrations are"
                    self._schema.failed(f"{lacking} missing, such as {missing[0].name}")
                else:
                    self._schema.succeeded()
            now = time.monotonic()
            if not self._database.is_failing:
                well_at = now
            await asyncio.sleep(_ASK_AGAIN_S if 0.0 < now - well_at < _SOON_BACK_S else _ASK_DATABASE_S)

    def watched_source(self, source: MetagraphSource) -> MetagraphSource:
        """Return a source of metagraphs that notes how each reading of `source` ended."""
        return _WatchedSource(source, self._chain)

    def watched_task(self, task: GaiaTask) -> GaiaTask:
        """Return a task that notes how each tick of `task` ended."""
        return _WatchedTask(task, self._tick)

    @property
    def holds_lease(self) -> bool:
        """Whether this validator holds the lease of the database and may write; any thread may ask."""
        lease = self.lease
        return lease is not None and lease.seconds_left > 0

    def _leading(self) -> Check:
        """Check that we are the active validator of the database; a standby serves nothing, and is well."""
        lease, is_ours = self.lease, self.holds_lease
        holder = "nobody yet" if lease is None or not lease.holder else lease.holder
        reason = (
            "this validator holds the lease" if is_ours else f"the lease of the database is held by {holder}"
        )
        fix = "wait: a standby takes over once the active validator ends; or stop that one"
        return Check(name="lease", is_well=is_ours, reason=reason, fix=fix)

    def _live(self) -> list[Check]:
        age_s = time.monotonic() - self._beat_at
        return [
            Check(
                name="event_loop",
                is_well=age_s < LOOP_STUCK_AFTER_S,
                reason=f"it last turned {age_s:.1f} s ago",
                fix="wait for the Supervisor to replace the IO-Engine, and report its last log lines",
            )
        ]

    def _started(self) -> list[Check]:
        reason = "the first metagraph was read" if self.has_started else "no metagraph was read yet"
        fix = "wait, or look at the chain check of /readyz"
        return [Check(name="first_metagraph", is_well=self.has_started, reason=reason, fix=fix)]

    def _ready(self) -> list[Check]:
        return [
            *self._live(),
            self._database.check(
                "database", _DATABASE_OLD_S, "start PostgreSQL, or correct GAIA_DATABASE_URL"
            ),
            self._leading(),
            self._schema.check(
                "migrations",
                float("inf"),
                "restart the validator, which migrates the schema, or install the release that made it",
            ),
            self._chain.check("chain", self._chain_old_s, "start the node, or correct GAIA_CHAIN_ENDPOINT"),
            self._workers(),
            self._tick.check(
                "main_scoring", self._tick_old_s, "look for job_failed and job_crashed in the log"
            ),
        ]

    def _workers(self) -> Check:
        count = self._healthy_workers
        fix = "look for child_ended in the log, or raise GAIA_COMPUTE_WORKERS"
        healthy = "1 compute worker is healthy" if count == 1 else f"{count} compute workers are healthy"
        return Check(name="compute_workers", is_well=count > 0, reason=healthy, fix=fix)


class _WatchedSource:
    def __init__(self, source: MetagraphSource, trials: Trials) -> None:
        self._source = source
        self._trials = trials

    async def read_metagraph(self) -> Metagraph:
        try:
            metagraph = await self._source.read_metagraph()
        except GaiaError as error:
            self._trials.failed(str(error))
            raise
        self._trials.succeeded()
        return metagraph


class _WatchedTask(GaiaTask):
    def __init__(self, task: GaiaTask, trials: Trials) -> None:
        self.name = task.name
        self._task = task
        self._trials = trials

    async def advance(self, now: datetime) -> datetime | None:
        try:
            due = await self._task.advance(now)
        except Exception as error:
            self._trials.failed(f"{type(error).__name__}: {error}")
            raise
        self._trials.succeeded()
        return due

    async def close(self) -> None:
        await self._task.close()
