"""The metronome: asks each task what is due, keeps the metagraph fresh, has weights set."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

import structlog
from apscheduler.schedulers.asyncio import AsyncIOScheduler

from gaia.tasks.defined_tasks.base import Clock, GaiaTask
from gaia.validator.core.weight_setting import WeightSetter
from gaia.validator.utils.config import Settings
from gaia.validator.utils.errors import ConfigurationError, ExitCode, GaiaError, TransientError
from gaia.validator.utils.ipc_types import Metagraph

log = structlog.get_logger(__name__)

_STATUS_EVERY_S = 120.0


class MetagraphSource(Protocol):
    async def read_metagraph(self) -> Metagraph: ...


class MetagraphKeeper:
    """The newest metagraph that was read."""

    def __init__(self, source: MetagraphSource) -> None:
        self._source = source
        self._latest: Metagraph | None = None

    def latest(self) -> Metagraph | None:
        return self._latest

    async def refresh(self) -> None:
        self._latest = await self._source.read_metagraph()

    async def first(self, timeout_s: float) -> Metagraph:
        """Read the first metagraph, trying for `timeout_s`.

        Raises
        ------
        ConfigurationError
            If the chain can't be reached, or our hotkey is not registered there.
        """
        loop = asyncio.get_running_loop()
        end = loop.time() + timeout_s
        while True:
            try:
                await self.refresh()
                break
            except TransientError as error:
                if loop.time() > end:
                    raise ConfigurationError(
                        "GAIA_CHAIN_ENDPOINT",
                        f"the chain cannot be reached ({error})",
                        "correct the address or start the node",
                        ExitCode.CHAIN_UNREACHABLE,
                    ) from error
                await asyncio.sleep(0.2)
        assert self._latest is not None
        if self._latest.own_uid is None:
            raise ConfigurationError(
                "GAIA_WALLET_HOTKEY",
                f"hotkey {self._latest.own_hotkey} is not registered on subnet {self._latest.netuid}",
                "register it, or name the registered one",
                ExitCode.HOTKEY_NOT_REGISTERED,
            )
        return self._latest


class TaskOrchestrator:
    """Runs what is due; a job that fails is logged and tried again at the next beat."""

    def __init__(
        self,
        settings: Settings,
        clock: Clock,
        tasks: Sequence[GaiaTask],
        metagraph: MetagraphKeeper,
        weights: WeightSetter,
        on_error: Callable[[str], None],
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._tasks = tasks
        self._metagraph = metagraph
        self._weights = weights
        self._on_error = on_error
        self._scheduler = AsyncIOScheduler(timezone="UTC")
        self._running: set[asyncio.Task[None]] = set()
        self._over: asyncio.Future[None] | None = None

    async def run(self, stop: asyncio.Event) -> None:
        """Beat until `stop` is set or a job needs the operator; then let running jobs end.

        Raises
        ------
        ConfigurationError
            If a job can't go on without the operator.
        """
        self._over = asyncio.get_running_loop().create_future()
        self._every(self._settings.tick_interval_s, self.tick)
        self._every(self._settings.metagraph_interval_s, self.refresh_and_set_weights)
        self._every(_STATUS_EVERY_S, self.status_logger)
        self._scheduler.start()
        stopped = asyncio.create_task(stop.wait())
        stopped.add_done_callback(self._let_go)
        try:
            await self._over
        finally:
            stopped.cancel()
            self._scheduler.shutdown(wait=False)
            await self._drain()

    def _let_go(self, stopped: asyncio.Task[Any]) -> None:
        if self._over is not None and not self._over.done() and not stopped.cancelled():
            self._over.set_result(None)

    async def tick(self) -> None:
        """Advance every task; then tell the clock until when nothing is due."""
        due = [await task.advance(self._clock.now()) for task in self._tasks]
        known = [moment for moment in due if moment is not None]
        await self._clock.idle_until(min(known, default=None))

    async def refresh_and_set_weights(self) -> None:
        await self._metagraph.refresh()
        if await self._weights.set_if_due(self._clock.now()) is not None:
            await self._metagraph.refresh()

    async def status_logger(self) -> None:
        metagraph = self._metagraph.latest()
        log.info(
            "status",
            now=self._clock.now().isoformat(),
            block=metagraph.block if metagraph else None,
            neurons=len(metagraph.neurons) if metagraph else None,
        )

    def _every(self, seconds: float, job: Callable[[], Awaitable[None]]) -> None:
        name = job.__name__

        async def guarded() -> None:
            task = asyncio.current_task()
            assert task is not None
            self._running.add(task)
            try:
                await job()
            except ConfigurationError as error:
                if self._over is not None and not self._over.done():
                    self._over.set_exception(error)
            except GaiaError as error:
                self._on_error(type(error).__name__)
                log.warning("job_failed", job=name, error=f"{type(error).__name__}: {error}")
            except Exception as error:
                self._on_error(type(error).__name__)
                log.exception("job_broke", job=name)
            finally:
                self._running.discard(task)

        self._scheduler.add_job(
            guarded,
            "interval",
            seconds=seconds,
            max_instances=1,
            coalesce=True,
            misfire_grace_time=None,
            name=name,
        )

    async def _drain(self) -> None:
        if self._running:
            _, late = await asyncio.wait(self._running, timeout=self._settings.drain_timeout_s / 2)
            for task in late:
                task.cancel()
