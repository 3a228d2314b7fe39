"""Runs units on a cluster of Dask workers, with the same ledger, frames and handlers, one unit per worker."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine, Mapping
from concurrent.futures import CancelledError
from itertools import count
from pathlib import Path
from typing import Any

import structlog

from gaia.validator.app.backends.cluster_link import UNHEARD, ClusterLink
from gaia.validator.app.backends.cluster_workers import Attempt, AttemptLost, Member, Workers
from gaia.validator.app.backends.remote import execute_unit
from gaia.validator.app.pool.job_events import Acknowledge, Assign, Dismiss, Kill, Remember, Tick, failed
from gaia.validator.app.pool.protocols import Capability, JobQueue
from gaia.validator.app.pool.scheduler import TICK_S, HandsCommand, Scheduler
from gaia.validator.utils.entry_points import HANDLERS
from gaia.validator.utils.ipc_types import FrameReader, ResultUnit, WorkUnit, encode_frame
from gaia.validator.utils.logs.context import shared_task, unbound

log = structlog.get_logger(__name__)


class DaskBackend:
    """Runs units on the workers of a Dask scheduler; the hands of its own `Scheduler`.

    Each attempt goes only to the worker that the queue chose. A crash is therefore counted for the
    right unit, Dask never repeats one by itself, and an event of the scheduler reports each loss.

    Parameters
    ----------
    queue
        Decides which worker gets which unit.
    address
        Address of the scheduler, such as ``tcp://scheduler:8786``.
    data_dir
        Absolute path of the folder with the files of units; workers must have it at the same path.
    queue_limit
        Maximum number of units that wait for a worker; further submissions wait for room. 0: no limit.
    handlers
        Module whose ``resolve(name)`` returns the handler of that name.
    memory_mib
        MiB beyond which a unit gets a `MemoryError`; 0: no limit.
    resources
        Only workers that offer these Dask resources are used.
    timeout_s
        Time limit for answers of the scheduler.
    """

    capabilities = frozenset({Capability.MEMORY_LIMIT})

    def __init__(
        self,
        queue: JobQueue,
        address: str,
        data_dir: Path,
        *,
        queue_limit: int = 0,
        handlers: str = HANDLERS,
        memory_mib: int = 0,
        resources: Mapping[str, float] | None = None,
        timeout_s: float = 10.0,
    ) -> None:
        self._queue = queue
        self._scheduler = Scheduler(queue, self, queue_limit=queue_limit)
        self.dispatch_and_wait = self._scheduler.dispatch_and_wait
        """Run a unit and return its result; see `Scheduler.dispatch_and_wait`."""
        self._handlers = handlers
        self._memory_mib = memory_mib
        self._resources = dict(resources or {})
        self._workers = Workers(self._scheduler.tell)
        self._link = ClusterLink(
            address, data_dir, self._workers, resources=self._resources, timeout_s=timeout_s
        )
        self._numbers = count(1)
        self._tasks: set[asyncio.Task[None]] = set()
        """Running attempts and kills."""
        self._ticking: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Connect to the scheduler, and find its workers.

        Raises
        ------
        ConfigurationError
            If the library is not installed or no scheduler answers. Also if it has workers, but
            none that has our files and our code.
        """
        await self._link.start()
        self._ticking = asyncio.create_task(self._tick())

    async def close(self) -> None:
        """Start nothing more, end what runs, and leave nothing on the cluster."""
        self._scheduler.close()
        if self._ticking is not None:
            self._ticking.cancel()
            await asyncio.gather(self._ticking, return_exceptions=True)
        await self._link.stop_looking()
        running = [holder for holder in self._workers.holders if not holder.is_condemned]
        for holder in running:
            self._workers.condemn(holder)
        await asyncio.gather(*map(self._kill, running))
        for holder in self._workers.holders:
            holder.lose("the backend was closed", is_crash=False)
        # Yield to the loop once, so that they ask the scheduler to forget their tasks.
        await asyncio.sleep(0)
        await self._link.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def queue_depth(self) -> int:
        """Number of units that wait for a worker."""
        return self._queue.waiting

    @property
    def busy(self) -> int:
        """Number of workers that hold a unit."""
        return self._queue.busy

    @property
    def undelivered(self) -> int:
        """Number of results that their callers have not taken yet."""
        return self._scheduler.undelivered

    @property
    def workers(self) -> int:
        """Number of workers that may be assigned units."""
        return self._workers.usable

    @property
    def healthy_seats(self) -> int:
        """Number of workers that may be assigned units, because a cluster has no canaries."""
        return self._workers.usable

    @property
    def sandbox_level(self) -> int:
        """Sandbox level: always 0, because workers of a cluster have no sandbox."""
        return 0

    def carry_out(self, command: HandsCommand) -> None:
        """Execute a command of the queue; see `Hands`."""
        match command:
            case Assign(worker, unit):
                self._assign(self._workers.member(worker), unit)
            case Dismiss(worker):
                self._workers.dismiss(worker)
            case Kill(worker, reason):
                with unbound():
                    log.warning("worker_killed", worker=worker, reason=reason)
                member = self._workers.member(worker)
                self._workers.condemn(member)
                self._spawn(self._kill(member))
            case Acknowledge():
                pass  # the scheduler forgets a task once its result is here
            case Remember():
                pass  # attempts on the cluster end with this engine, and so does their history

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = shared_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _kill(self, member: Member) -> None:
        try:
            is_killed = await self._link.kill(member.address)
        except Exception as error:
            log.error("backend_failed", worker=member.name, exc_info=error)
            is_killed = False
        if is_killed:
            member.lose("cancelled", is_crash=False)
        else:
            # The watchdog of the worker ends it after the deadline.
            self._workers.spare(member)
            self._link.survey_soon()

    def _assign(self, member: Member, unit: WorkUnit) -> None:
        try:
            frame = encode_frame(unit)
        except (TypeError, ValueError) as error:
            self._workers.answered(member, failed(unit, error))
            return
        key = f"{unit.handler}-{self._link.session}:{next(self._numbers)}:{unit.job_id}"
        member.attempt = Attempt(unit, key)
        self._spawn(self._run(member, member.attempt, frame))

    async def _run(self, member: Member, attempt: Attempt, frame: bytes) -> None:
        try:
            result = await self._answer(member, attempt, frame)
        except AttemptLost as loss:
            if not member.is_condemned:
                unit = attempt.unit
                log.warning("attempt_lost", job_id=unit.job_id, attempt=unit.attempt, cause=loss.cause)
            self._workers.lost(member, loss)
            self._link.survey_soon()
        except Exception as error:
            log.error("backend_failed", job_id=attempt.unit.job_id, exc_info=error)
            self._workers.answered(member, failed(attempt.unit, error))
        else:
            self._workers.answered(member, result)
        if member.is_spared:
            self._link.survey_soon()

    async def _answer(self, member: Member, attempt: Attempt, frame: bytes) -> ResultUnit:
        from distributed import KilledWorker

        future = self._link.client.submit(
            execute_unit,
            frame,
            self._handlers,
            self._memory_mib,
            key=attempt.key,
            pure=False,
            retries=0,
            priority=-attempt.unit.priority,
            workers=[member.address],
            allow_other_workers=False,
            resources=self._resources or None,
        )
        answer: asyncio.Future[Any] = asyncio.ensure_future(_result_of(future))
        either: set[asyncio.Future[Any]] = {answer, attempt.lost}
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if not answer.done():
                raise attempt.lost.result()
            results: FrameReader[ResultUnit] = FrameReader(ResultUnit)
            (result,) = results.feed(answer.result())
        except KilledWorker as error:
            raise AttemptLost(f"the worker at {member.address} died") from error
        except CancelledError as error:
            # A new scheduler does not know the workers, or not yet.
            self._workers.withdraw_all()
            raise AttemptLost("the scheduler went away", is_crash=False) from error
        finally:
            if not answer.done():
                answer.cancel()
                with contextlib.suppress(*UNHEARD):
                    await self._link.client.cancel([future], force=True)
        return result

    async def _tick(self) -> None:
        while True:
            self._scheduler.tell(Tick())
            await asyncio.sleep(TICK_S)


async def _result_of(future: Any) -> bytes:
    result: bytes = await future
    return result
