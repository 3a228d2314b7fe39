"""Feeds a backend from a queue: as many units at once as it can run, each answered exactly once."""

from __future__ import annotations

import asyncio

import structlog

from gaia.validator.app.backends.protocols import AttemptLost, ComputeBackend, JobQueue, Lease
from gaia.validator.utils.ipc_types import Failure, ResultUnit, WorkUnit

log = structlog.get_logger(__name__)


class Dispatcher:
    """A pool of compute made of a queue and a backend; to its callers the same as `ComputePool`."""

    def __init__(self, queue: JobQueue, backend: ComputeBackend) -> None:
        self._queue = queue
        self._backend = backend
        self._changed = asyncio.Event()
        self._running: set[asyncio.Task[None]] = set()
        self._pumping: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start the backend and begin to run what is put."""
        await self._backend.start(self._changed.set)
        self._pumping = asyncio.create_task(self._pump())

    async def close(self, drain_s: float = 0.0) -> None:
        """Begin nothing more, give what runs `drain_s` to end, then cancel whatever is left."""
        if self._pumping is not None:
            self._pumping.cancel()
            await asyncio.gather(self._pumping, return_exceptions=True)
        if self._running and drain_s > 0:
            await asyncio.wait(self._running, timeout=drain_s)
        self._queue.close()
        await self._backend.close()
        for running in self._running:
            running.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    async def dispatch_and_wait(self, unit: WorkUnit) -> ResultUnit:
        """Run `unit` and return its result, a `Failure` included; never raises for the unit.

        Waits while the queue is full. A job id that is already under way is not run
        twice; when the last who waits for it is cancelled, so is the unit.
        """
        return await (await self._queue.put(unit))

    @property
    def queue_depth(self) -> int:
        """Units that wait for a worker."""
        return self._queue.depth

    @property
    def busy(self) -> int:
        """Units that are being run."""
        return len(self._running)

    @property
    def workers(self) -> int:
        """Units that could run at once."""
        return self._backend.capacity()

    @property
    def healthy_seats(self) -> int:
        """Units that could run at once, as far as the backend knows."""
        return self.workers

    @property
    def sandbox_level(self) -> int:
        """Least of the workers' sandbox levels; 0: none has any."""
        return 0

    async def _pump(self) -> None:
        while True:
            while len(self._running) >= self._backend.capacity():
                self._changed.clear()
                await self._changed.wait()
            running = asyncio.create_task(self._run(await self._queue.take()))
            self._running.add(running)
            running.add_done_callback(self._end)

    def _end(self, running: asyncio.Task[None]) -> None:
        self._running.discard(running)
        self._changed.set()

    async def _run(self, lease: Lease) -> None:
        unit = lease.unit
        try:
            result = await self._attempt(lease)
        except AttemptLost as lost:
            if self._queue.give_back(unit.job_id, unit.attempt, lost.cause, is_crash=lost.is_crash):
                log.warning("attempt_lost", job_id=unit.job_id, attempt=unit.attempt, cause=lost.cause)
            return
        except Exception as error:
            log.error("backend_failed", job_id=unit.job_id, exc_info=error)
            result = ResultUnit(job_id=unit.job_id, attempt=unit.attempt, failure=Failure.of(error))
        self._queue.done(result)

    async def _attempt(self, lease: Lease) -> ResultUnit:
        unit = lease.unit
        attempt = asyncio.create_task(self._backend.run(unit))
        withdrawal = asyncio.create_task(lease.withdrawn.wait())
        try:
            await asyncio.wait({attempt, withdrawal}, return_when=asyncio.FIRST_COMPLETED)
            if not attempt.done():
                await self._backend.cancel(unit.job_id, unit.attempt)
            return await attempt
        finally:
            withdrawal.cancel()
            attempt.cancel()
