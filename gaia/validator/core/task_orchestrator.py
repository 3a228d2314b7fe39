"""The metronome: asks each task what is due, keeps the metagraph fresh, has weights set."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any

import structlog
from apscheduler.schedulers.asyncio import AsyncIOScheduler

from gaia.validator.utils.errors import (
    ConfigurationError,
    ExitCode,
    GaiaError,
    TransientError,
)

if TYPE_CHECKING:
    from gaia.tasks.defined_tasks.base import Clock, GaiaTask
    from gaia.validator.core.chain.metagraph import MetagraphKeeper
    from gaia.validator.core.incidents import Incident
    from gaia.validator.core.weights.setting import WeightSetter

log = structlog.get_logger(__name__)

_STATUS_EVERY_S = 120.0
# How long jobs that are cancelled at a stop may take to notice.
_CANCELLED_S = 1.0
_FACTS_OF_THE_CHAIN = frozenset({ExitCode.HOTKEY_NOT_REGISTERED, ExitCode.CHAIN_UNREACHABLE})
"""What a node says of us is an end at the start only: later it is waited out."""


class TaskOrchestrator:
    """Runs what is due; a job that fails is logged and tried again at the next beat.

    Parameters
    ----------
    chain
        Told whenever the metagraph could be read, or could not.
    on_error
        Told the name of each error.
    let_go
        At a stop, called before late jobs are cancelled: workers then keep the units they have
        in hand, where cancelling would kill them.
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
        self._scheduler = AsyncIOScheduler(timezone="UTC")
        self._running: set[asyncio.Task[None]] = set()
        self._over: asyncio.Future[None] | None = None
        self._is_stopping = False

    async def run(self, stop: asyncio.Event) -> None:
        """Beat until `stop` is set or a job needs the operator; then let what is in hand end.

        No job begins then. Those that run have half of `drain_timeout_s`, a submission of
        weights included; what is not done by then is cancelled, and the next start finds it
        in the database as it stands.

        Raises
        ------
        ConfigurationError
            If a job can't go on without the operator.
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
            # Only then may the scheduler end: it cancels whatever it still runs.
            self._is_stopping = True
            self._scheduler.pause()
            await self._drain()
            self._scheduler.shutdown(wait=False)

    def _let_go(self, stopped: asyncio.Task[Any]) -> None:
        if self._over is not None and not self._over.done() and not stopped.cancelled():
            self._over.set_result(None)

    async def tick(self) -> None:
        """Advance every task; then tell the clock until when nothing is due."""
        due = [await task.advance(self._clock.now()) for task in self._tasks]
        known = [moment for moment in due if moment is not None]
        await self._clock.idle_until(min(known, default=None))

    async def refresh_and_set_weights(self) -> None:
        """Read the metagraph, and set weights by the newest that is known, be it an older one."""
        await self._refresh()
        try:
            outcome = await self._weights.set_if_due(self._clock.now())
        except TransientError as error:
            self._on_error(type(error).__name__)  # it is said already, once for each change
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
        metagraph = self._metagraph.latest()
        log.info(
            "status",
            now=self._clock.now().isoformat(),
            block=metagraph.block if metagraph else None,
            neurons=len(metagraph.neurons) if metagraph else None,
        )

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
        """Run a job once; whatever becomes of it, the next beat comes."""
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
            # The scheduler would report it as an error: nothing failed, time was up.
            log.info("job_cut_short", job=job.__name__)
        except ConfigurationError as error:
            self._judge(error, job.__name__)
        except GaiaError as error:
            self._on_error(type(error).__name__)
            log.warning("job_failed", job=job.__name__, error=f"{type(error).__name__}: {error}")
        except Exception as error:
            self._on_error(type(error).__name__)
            log.exception("job_broke", job=job.__name__)
        finally:
            self._running.discard(task)

    def _judge(self, error: ConfigurationError, job: str) -> None:
        """End for what only the operator of this machine can mend; wait for everything else."""
        if error.exit_code in _FACTS_OF_THE_CHAIN:
            self._on_error(type(error).__name__)
            log.warning("job_failed", job=job, error=str(error))
        elif self._over is not None and not self._over.done():
            self._over.set_exception(error)

    async def _drain(self) -> None:
        closing = [asyncio.create_task(task.close()) for task in self._tasks]
        in_hand = {*self._running, *closing}
        if not in_hand:
            return
        log.info("draining", jobs=len(self._running))
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
                log.warning("task_not_closed", error=f"{type(error).__name__}: {error}")
