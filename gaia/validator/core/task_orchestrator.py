"""Runs the periodic jobs: ticks of the tasks, readings of the metagraph, and weights."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec
import structlog
from apscheduler.schedulers.asyncio import AsyncIOScheduler

from gaia.validator.utils.errors import (
    ConfigurationError,
    ExitCode,
    GaiaError,
    TransientError,
)
from gaia.validator.utils.log_context import bound

if TYPE_CHECKING:
    from gaia.tasks.defined_tasks.base import Clock, GaiaTask
    from gaia.validator.core.chain.metagraph import MetagraphKeeper
    from gaia.validator.core.incidents import Incident
    from gaia.validator.core.status_line import StatusReader
    from gaia.validator.core.weights.setting import WeightSetter

log = structlog.get_logger(__name__)
_performance = structlog.get_logger("performance")

_STATUS_EVERY_S = 120.0
# Time that cancelled jobs may take to end at a stop.
_CANCELLED_S = 1.0
_FACTS_OF_THE_CHAIN = frozenset({ExitCode.HOTKEY_NOT_REGISTERED, ExitCode.CHAIN_UNREACHABLE})
"""Exit codes for statements of a node, which halt the validator at its start but not later."""


class TaskOrchestrator:
    """Runs the periodic jobs; a failed job is logged and runs again at the next beat.

    Parameters
    ----------
    chain
        Incident that is updated after each reading of the metagraph.
    on_error
        Called with the name of each error.
    let_go
        Called at a stop before late jobs are cancelled, so that workers keep their units.
        Otherwise the cancellation would kill the workers.
    """

    def __init__(
        self,
        clock: Clock,
        tasks: Sequence[GaiaTask],
        metagraph: MetagraphKeeper,
        weights: WeightSetter,
        chain: Incident,
        on_error: Callable[[str], None],
        *,
        let_go: Callable[[], Awaitable[None]] | None = None,
        status: StatusReader | None = None,
        tick_interval_s: float,
        metagraph_interval_s: float,
        drain_timeout_s: float,
    ) -> None:
        self._tick_interval_s = tick_interval_s
        self._metagraph_interval_s = metagraph_interval_s
        self._drain_timeout_s = drain_timeout_s
        self._clock = clock
        self._tasks = tasks
        self._metagraph = metagraph
        self._weights = weights
        self._chain = chain
        self._on_error = on_error
        self._let_workers_go = let_go
        self._status = status
        self._next_due: datetime | None = None
        self._scheduler = AsyncIOScheduler(timezone="UTC")
        self._running: set[asyncio.Task[None]] = set()
        self._over: asyncio.Future[None] | None = None
        self._is_stopping = False

    async def run(self, stop: asyncio.Event) -> None:
        """Run jobs until `stop` is set or a job needs the operator; then let the running ones end.

        Then no job starts. Running ones, including a submission of weights, have half of
        `drain_timeout_s`. The rest is cancelled, and the next start continues from the database.

        Raises
        ------
        ConfigurationError
            If a job cannot continue without the operator.
        """
        self._over = asyncio.get_running_loop().create_future()
        self._every(self._tick_interval_s, self.tick)
        self._every(self._metagraph_interval_s, self.refresh_and_set_weights)
        self._every(_STATUS_EVERY_S, self.status_logger)
        self._scheduler.start()
        stopped = asyncio.create_task(stop.wait())
        stopped.add_done_callback(self._let_go)
        try:
            await self._over
        finally:
            stopped.cancel()
            # The scheduler ends last, because it cancels its running jobs.
            self._is_stopping = True
            self._scheduler.pause()
            await self._drain()
            self._scheduler.shutdown(wait=False)

    def _let_go(self, stopped: asyncio.Task[Any]) -> None:
        if self._over is not None and not self._over.done() and not stopped.cancelled():
            self._over.set_result(None)

    async def tick(self) -> None:
        """Advance every task, then tell the clock when something is due next."""
        with bound(job="tick"):
            due = [await task.advance(self._clock.now()) for task in self._tasks]
            _performance.debug("tick_finished", tasks=len(due))
        known = [moment for moment in due if moment is not None]
        self._next_due = min(known, default=None)
        await self._clock.idle_until(self._next_due)

    async def refresh_and_set_weights(self) -> None:
        """Read the metagraph, and set weights with the newest known one, even if the reading failed."""
        await self._refresh()
        try:
            outcome = await self._weights.set_if_due(self._clock.now())
        except TransientError as error:
            self._on_error(type(error).__name__)  # it is already logged, once per change
            return
        if outcome is not None:
            await self._refresh()

    async def _refresh(self) -> None:
        try:
            await self._metagraph.refresh()
        except TransientError as error:
            self._on_error(type(error).__name__)
            await self._chain.failing(str(error), self._clock.now())
        else:
            await self._chain.recovered(self._clock.now())

    async def status_logger(self) -> None:
        """Log the line that says whether all is well."""
        if self._status is not None:
            line = await self._status.line(self._clock.now(), self._next_due)
            log.info("status", **msgspec.to_builtins(line))

    def _every(self, seconds: float, job: Callable[[], Awaitable[None]]) -> None:
        self._scheduler.add_job(
            self._guarded,
            "interval",
            args=[job],
            seconds=seconds,
            max_instances=1,
            coalesce=True,
            misfire_grace_time=None,
            id=job.__name__,
            name=job.__name__,
        )

    async def _guarded(self, job: Callable[[], Awaitable[None]]) -> None:
        """Run a job once; its failure does not stop later beats."""
        if self._is_stopping:
            return
        task = asyncio.current_task()
        assert task is not None
        self._running.add(task)
        try:
            await job()
        except asyncio.CancelledError:
            if not self._is_stopping:
                raise
            # The scheduler would report an error, but the job only ran out of time.
            log.info("job_cancelled", job=job.__name__)
        except ConfigurationError as error:
            self._judge(error, job.__name__)
        except GaiaError as error:
            self._on_error(type(error).__name__)
            words = f"{type(error).__name__}: {error}"
            log.warning("job_failed", job=job.__name__, error=words, once=(job.__name__, words))
        except Exception as error:
            self._on_error(type(error).__name__)
            log.exception("job_crashed", job=job.__name__, once=(job.__name__, type(error).__name__))
        finally:
            self._running.discard(task)

    def _judge(self, error: ConfigurationError, job: str) -> None:
        """Halt for what only the operator can correct; log everything else."""
        if error.exit_code in _FACTS_OF_THE_CHAIN:
            self._on_error(type(error).__name__)
            log.warning("job_failed", job=job, error=str(error), once=(job, str(error)))
        elif self._over is not None and not self._over.done():
            self._over.set_exception(error)

    async def _drain(self) -> None:
        closing = [asyncio.create_task(task.close()) for task in self._tasks]
        in_hand = {*self._running, *closing}
        if not in_hand:
            return
        log.info("drain_started", jobs=len(self._running))
        done, late = await asyncio.wait(in_hand, timeout=self._drain_timeout_s / 2)
        if late and self._let_workers_go is not None:
            await self._let_workers_go()
        for task in late:
            task.cancel()
        if late:
            ended, _ = await asyncio.wait(late, timeout=_CANCELLED_S)
            done |= ended
        for task in done:
            if not task.cancelled() and (error := task.exception()) is not None:
                log.warning("task_close_failed", error=f"{type(error).__name__}: {error}")
