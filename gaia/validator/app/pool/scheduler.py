"""Connects queue, callers and backpressure; `Hands` are what runs the units."""

from __future__ import annotations

import asyncio
import heapq
import time
from collections import deque
from itertools import count
from typing import TYPE_CHECKING, Protocol

import structlog

from gaia.validator.app.pool.job_events import (
    Acknowledge,
    Assign,
    Cancelled,
    Command,
    Dismiss,
    Event,
    Kill,
    Quarantine,
    Remember,
    Resolve,
    Submitted,
    failed,
)
from gaia.validator.utils.errors import DeadlineExceeded
from gaia.validator.utils.logs.context import unbound

if TYPE_CHECKING:
    from gaia.validator.app.pool.protocols import JobQueue
    from gaia.validator.utils.identities import JobId
    from gaia.validator.utils.ipc_types import ResultUnit, WorkUnit

log = structlog.get_logger(__name__)

TICK_S = 0.1
"""Seconds between two ticks, which bound the delay between a deadline and its effect."""

HandsCommand = Assign | Acknowledge | Dismiss | Kill | Remember
"""Commands about workers, or about stored facts on jobs."""


class Hands(Protocol):
    """Access to the workers: processes on this machine, or a cluster."""

    def carry_out(self, command: HandsCommand) -> None:
        """Execute a command of the queue without waiting; its effects are reported to `Scheduler.tell`.

        `Assign`: send the unit. `Kill`: end the worker; `WorkerDied` follows. `Acknowledge`, `Dismiss`: tell the
        worker that its result has arrived, or that it may end. `Remember`: store the crash history of a job.
        """
        ...


class Scheduler:
    """Runs units through the queue: submissions in, commands to the hands, results to the callers.

    Parameters
    ----------
    queue
        Decides; only this object may send it events.
    hands
        Execute its commands.
    queue_limit
        Maximum number of units that wait for a worker; further submissions wait for room. 0: no limit.
    """

    def __init__(self, queue: JobQueue, hands: Hands, *, queue_limit: int = 0) -> None:
        self._queue = queue
        self._hands = hands
        self._queue_limit = queue_limit
        self._blocked_submitters: list[tuple[int, int, asyncio.Future[None]]] = []
        """Heap of (priority, order, future that is resolved when there is room)."""
        self._admitted = 0
        """Number of submitters that have room but have not submitted yet."""
        self._order = count()
        self._waiters: dict[JobId, list[asyncio.Future[ResultUnit]]] = {}
        self._events: deque[Event] = deque()
        self._is_handling = False
        self._is_closed = False
        self.undelivered = 0
        """Number of results that their callers have not taken yet."""

    async def dispatch_and_wait(self, unit: WorkUnit) -> ResultUnit:
        """Run `unit`; return its result, which may be a `Failure`; never raise because of the unit.

        An open job is not run twice: all its callers get one result. If the last of them is cancelled,
        so is the unit. While the queue is full, callers wait for room, the most urgent first.
        """
        if self._queue_limit and unit.job_id not in self._waiters and not await self._wait_for_room(unit):
            return failed(
                unit, DeadlineExceeded(f"{unit.handler} found no room in the queue before its deadline")
            )
        waiter: asyncio.Future[ResultUnit] = asyncio.get_running_loop().create_future()
        waiters = self._waiters.setdefault(unit.job_id, [])
        waiters.append(waiter)
        self.tell(Submitted(unit))
        try:
            result = await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():
                self.undelivered -= 1
            waiters.remove(waiter)
            if not waiters and self._waiters.get(unit.job_id) is waiters:
                del self._waiters[unit.job_id]
                self.tell(Cancelled(unit.job_id))
            raise
        self.undelivered -= 1
        return result

    def tell(self, event: Event) -> None:
        """Pass `event` to the queue, and execute the commands that it returns."""
        if self._is_closed:
            return  # the workers belong to the next engine
        if self._is_handling:
            self._events.append(event)
            return  # the outer call handles it, in order
        self._is_handling = True
        try:
            for command in self._queue.handle(event, time.time()):
                self._carry_out(command)
            while self._events:
                for command in self._queue.handle(self._events.popleft(), time.time()):
                    self._carry_out(command)
        finally:
            self._is_handling = False
        if self._blocked_submitters:
            self._admit_waiting()

    def limit_queue(self, queue_limit: int) -> None:
        """Change the limit, and admit the submitters for which there is room now."""
        self._queue_limit = queue_limit
        self._admit_waiting()

    def close(self) -> None:
        """Ignore every event from now on; the owner cancels waiting callers."""
        self._is_closed = True

    def _carry_out(self, command: Command) -> None:
        if isinstance(command, Resolve):
            for waiter in self._waiters.pop(command.result.job_id, ()):
                if not waiter.done():
                    waiter.set_result(command.result)
                    self.undelivered += 1
        elif isinstance(command, Quarantine):
            with unbound():  # the event that led here may be another caller's
                log.error("unit_quarantined", job_id=command.job_id, crashes=command.crashes)
        else:
            self._hands.carry_out(command)

    async def _wait_for_room(self, unit: WorkUnit) -> bool:
        """Wait for room in the queue; return False if the unit's deadline came first."""
        if not self._blocked_submitters and self._has_room():
            return True
        admission: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._blocked_submitters, (unit.priority, next(self._order), admission))
        try:
            async with asyncio.timeout(max(0.0, unit.deadline_at - time.time())):
                await admission
        except TimeoutError:
            return False
        finally:
            if admission.done() and not admission.cancelled():
                self._admitted -= 1
            admission.cancel()
        return True

    def _has_room(self) -> bool:
        return self._queue.waiting + self._admitted < self._queue_limit

    def _admit_waiting(self) -> None:
        """Admit blocked submitters while there is room, the most urgent first."""
        while self._blocked_submitters and self._has_room():
            _, _, admission = heapq.heappop(self._blocked_submitters)
            if not admission.done():
                self._admitted += 1
                admission.set_result(None)
