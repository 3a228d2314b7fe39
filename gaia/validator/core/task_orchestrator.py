"""Runs the periodic jobs: scoring, readings of the metagraph, weights, and the background tasks."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec
import structlog
from apscheduler.schedulers.asyncio import AsyncIOScheduler

from gaia.validator.core.background.book import TaskBook
from gaia.validator.core.background.runner import GRACE_S, TaskRunner
from gaia.validator.core.background.task import BackgroundTask
from gaia.validator.utils.errors import (
    ConfigurationError,
    ExitCode,
    GaiaError,
    TransientError,
)
from gaia.validator.utils.logs.context import bound

if TYPE_CHECKING:
    from gaia.tasks.defined_tasks.base import Clock, GaiaTask
    from gaia.validator.core.chain.metagraph import MetagraphKeeper
    from gaia.validator.core.incidents import Incident
    from gaia.validator.core.status_line import StatusReader
    from gaia.validator.core.weights.setting import WeightSetter

log = structlog.get_logger(__name__)
_performance = structlog.get_logger("performance")

MAIN_SCORING, METAGRAPH, WEIGHTS, STATUS = "main_scoring", "metagraph", "weights", "status_logger"
"""Names of the jobs that the orchestrator itself has; those of the background tasks are in `background`."""

RETRY_S = 24.0
"""Seconds after which weights are tried again that failed: two blocks."""
_STATUS_EVERY_S = 120.0
_STATUS_DEADLINE_S = 10.0
# A round of requests to all miners may take minutes, and so may a submission of weights.
_OVERDUE_S = 1800.0
_FACTS_OF_THE_CHAIN = frozenset({ExitCode.HOTKEY_NOT_REGISTERED, ExitCode.CHAIN_UNREACHABLE})
"""Exit codes for statements of a node, which halt the validator at its start but not later."""


class TaskOrchestrator:
    """Runs the periodic jobs; a failed job is logged and runs again at the next beat.

    The scheduler only gives the beats. What runs is a task of our own, which no stop of the
    scheduler cancels.

    Parameters
    ----------
    chain
        Incident that is updated after each reading of the metagraph.
    on_error
        Called with the name of each error.
    let_go
        Called at a stop before late jobs are cancelled, so that workers keep their units.
        Otherwise the cancellation would kill the workers.
    background
        Further periodic tasks.
    book
        Register of the jobs' successes and failures, for observation.
    retry_s
        Seconds after which weights are tried again that failed.
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
        background: Sequence[BackgroundTask] = (),
        book: TaskBook | None = None,
        tick_interval_s: float,
        metagraph_interval_s: float,
        drain_timeout_s: float,
        retry_s: float = RETRY_S,
    ) -> None:
        self._drain_timeout_s = drain_timeout_s
        self._retry_s = retry_s
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
        self._book = TaskBook() if book is None else book
        self._runner = TaskRunner(self._book, self._settle)
        self._jobs = [*self._own(tick_interval_s, metagraph_interval_s), *background]
        self._book.expect(METAGRAPH, max(_OVERDUE_S, 3 * metagraph_interval_s), can_be_skipped=False)
        for job in self._jobs:
            self._book.expect(job.name, job.overdue_after_s, can_be_skipped=job.can_be_skipped)
        self._over: asyncio.Future[None] | None = None

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
        for job in self._jobs:
            self._every(job)
        self._scheduler.start()
        stopped = asyncio.create_task(stop.wait())
        stopped.add_done_callback(self._let_go)
        try:
            await self._over
        finally:
            stopped.cancel()
            self._runner.stop()
            self._scheduler.pause()
            await self._drain()
            # Beats that were under way end here; the scheduler would report their cancellation as an error.
            await asyncio.sleep(0)
            self._scheduler.shutdown(wait=False)

    def left_behind(self) -> list[str]:
        """Return the jobs that ignored their cancellation and have not ended; the process must not wait for them."""
        return self._runner.left_behind()

    def _let_go(self, stopped: asyncio.Task[Any]) -> None:
        if self._over is not None and not self._over.done() and not stopped.cancelled():
            self._over.set_result(None)

    async def main_scoring(self) -> None:
        """Advance every task, then tell the clock when something is due next."""
        with bound(job=MAIN_SCORING):
            due = [await task.advance(self._clock.now()) for task in self._tasks]
            _performance.debug("tick_finished", tasks=len(due))
        known = [moment for moment in due if moment is not None]
        self._next_due = min(known, default=None)
        await self._clock.idle_until(self._next_due)

    async def refresh_and_set_weights(self) -> bool:
        """Read the metagraph, and set weights with the newest known one, even if the reading failed.

        Return False if the weights failed, which the setter has logged, once per change. Then another
        attempt follows soon, because the epoch may end before the next reading is due.
        """
        await self._refresh()
        try:
            outcome = await self._weights.set_if_due(self._clock.now())
        except TransientError as error:
            self._on_error(type(error).__name__)
            self._try_in(self._retry_s)
            return False
        if outcome is not None:
            await self._refresh()
        if (seconds := self._weights.look_in_s) is not None:
            self._try_in(seconds)
        return True

    def _try_in(self, seconds: float) -> None:
        """Bring the next attempt to set weights forward; an epoch that is open may end soon."""
        at, job = datetime.now(UTC) + timedelta(seconds=seconds), self._scheduler.get_job(WEIGHTS)
        if job is not None and job.next_run_time is not None and at < job.next_run_time:
            self._scheduler.modify_job(WEIGHTS, next_run_time=at)

    async def _refresh(self) -> None:
        try:
            await self._metagraph.refresh()
        except TransientError as error:
            self._on_error(type(error).__name__)
            self._book.failed(METAGRAPH)
            await self._chain.failing(str(error), self._clock.now())
        else:
            self._book.succeeded(METAGRAPH)
            await self._chain.recovered(self._clock.now())

    async def status_logger(self) -> None:
        """Log the line that says whether all is well."""
        if self._status is not None:
            line = await self._status.line(self._clock.now(), self._next_due)
            log.info("status", **msgspec.to_builtins(line))

    def _own(self, tick_interval_s: float, metagraph_interval_s: float) -> list[BackgroundTask]:
        """Return the jobs of the orchestrator itself; what scores or signs is never cut by a deadline."""
        return [
            BackgroundTask(
                name=MAIN_SCORING,
                interval_s=tick_interval_s,
                run=self.main_scoring,
                deadline_s=None,
                overdue_s=max(_OVERDUE_S, 3 * tick_interval_s),
            ),
            BackgroundTask(
                name=WEIGHTS,
                interval_s=metagraph_interval_s,
                run=self.refresh_and_set_weights,
                deadline_s=None,
                overdue_s=max(_OVERDUE_S, 3 * metagraph_interval_s),
            ),
            BackgroundTask(
                name=STATUS,
                interval_s=_STATUS_EVERY_S,
                run=self.status_logger,
                deadline_s=_STATUS_DEADLINE_S,
            ),
        ]

    def _every(self, job: BackgroundTask) -> None:
        at_start = {"next_run_time": datetime.now(UTC)} if job.at_start else {}
        self._scheduler.add_job(
            self._beat,
            "interval",
            args=[job],
            seconds=job.interval_s,
            max_instances=1,
            coalesce=True,
            misfire_grace_time=None,
            id=job.name,
            name=job.name,
            **at_start,
        )

    async def _beat(self, job: BackgroundTask) -> None:
        """Begin a run of `job`; a coroutine, because the scheduler calls plain functions in a thread."""
        self._runner.beat(job)

    def _settle(self, job: str, error: BaseException) -> None:
        """Log and count the failure of a job; it does not stop later beats."""
        if isinstance(error, ConfigurationError):
            self._judge(error, job)
            return
        kind = type(error).__name__
        self._on_error(kind)
        if isinstance(error, GaiaError):
            words = f"{kind}: {error}"
            log.warning("job_failed", job=job, error=words, once=(job, words))
        else:
            log.error("job_crashed", job=job, exc_info=error, once=(job, kind))

    def _judge(self, error: ConfigurationError, job: str) -> None:
        """Halt for what only the operator can correct; log everything else."""
        if error.exit_code in _FACTS_OF_THE_CHAIN:
            self._on_error(type(error).__name__)
            log.warning("job_failed", job=job, error=str(error), once=(job, str(error)))
        elif self._over is not None and not self._over.done():
            self._over.set_exception(error)

    async def _drain(self) -> None:
        closing = {asyncio.create_task(task.close()) for task in self._tasks}
        running = self._runner.in_hand()
        in_hand: set[asyncio.Task[Any]] = {*running, *closing}
        if not in_hand:
            return
        log.info("drain_started", jobs=len(running))
        _, late = await asyncio.wait(in_hand, timeout=self._drain_timeout_s / 2)
        if late and self._let_workers_go is not None:
            await self._let_workers_go()
        for task in late:
            task.cancel()
        if late:
            await asyncio.wait(late, timeout=GRACE_S)
        for close in closing:
            if close.done() and not close.cancelled() and (error := close.exception()) is not None:
                log.warning("task_close_failed", error=f"{type(error).__name__}: {error}")
