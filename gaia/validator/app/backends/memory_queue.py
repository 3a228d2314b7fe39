"""The queue of one process: bounded, by priority, each attempt fenced by its number."""

from __future__ import annotations

import asyncio
import heapq
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec

from gaia.validator.app.backends.protocols import Lease
from gaia.validator.utils.errors import DeadlineExceeded, GaiaError, QuarantinedError
from gaia.validator.utils.ipc_types import Failure, ResultUnit, WorkUnit

_SOONEST_S = 0.001


@dataclass(slots=True)
class _Job:
    unit: WorkUnit
    order: int
    attempts: int = 0
    crashes: list[str] = field(default_factory=list)
    """Of each worker that died with it, what became of it."""
    lease: Lease | None = None
    timer: asyncio.TimerHandle | None = None
    answers: list[asyncio.Future[ResultUnit]] = field(default_factory=list)


class MemoryQueue:
    """A `JobQueue` that lives and dies with its event loop.

    Parameters
    ----------
    crash_limit
        A unit that was lost to so many crashes is quarantined.
    most_waiting
        `put` waits while so many units wait. Units that are given back always fit.
    wall_clock
        Unix seconds, as the deadlines of units are.
    """

    def __init__(
        self,
        crash_limit: int = 3,
        most_waiting: int = 10_000,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._crash_limit = crash_limit
        self._most_waiting = most_waiting
        self._wall_clock = wall_clock
        self._jobs: dict[str, _Job] = {}
        self._waiting: list[tuple[int, int, str]] = []
        self._leased = 0
        self._orders = 0
        self._room = _Gates()
        self._work = _Gates()

    @property
    def depth(self) -> int:
        """Units that nobody has taken."""
        return len(self._jobs) - self._leased

    async def put(self, unit: WorkUnit) -> asyncio.Future[ResultUnit]:
        """Take in `unit` and return its future answer; waits while the queue is full, the urgent first."""
        answer: asyncio.Future[ResultUnit] = asyncio.get_running_loop().create_future()
        left_s = unit.deadline_at - self._wall_clock()
        if left_s <= 0 and unit.job_id not in self._jobs:
            late = DeadlineExceeded("submitted after its deadline")
            answer.set_result(_failed(unit, unit.attempt, late))
            return answer
        try:
            async with asyncio.timeout(left_s):
                while unit.job_id not in self._jobs and self.depth >= self._most_waiting:
                    await self._room.wait(unit.priority)
        except TimeoutError:
            error = DeadlineExceeded(f"{unit.handler} found no room in the queue before its deadline")
            answer.set_result(_failed(unit, unit.attempt, error))
            return answer
        job = self._jobs.get(unit.job_id) or self._admit(unit)
        job.answers.append(answer)
        answer.add_done_callback(lambda answered: self._forsake(job, answered))
        return answer

    async def take(self) -> Lease:
        """Wait for a unit and return the most urgent one; the older one among equals."""
        while (job := self._most_urgent()) is None:
            await self._work.wait()
        attempt = job.unit.attempt + job.attempts
        job.attempts += 1
        job.lease = Lease(msgspec.structs.replace(job.unit, attempt=attempt))
        self._leased += 1
        self._room.open_one()
        return job.lease

    def done(self, result: ResultUnit) -> bool:
        """Answer the job, by value or failure; False: that attempt has no say any more."""
        job = self._held(result.job_id, result.attempt)
        if job is None:
            return False
        self._release(job)
        self._resolve(job, result)
        return True

    def give_back(self, job_id: str, attempt: int, cause: str, *, is_crash: bool) -> bool:
        """Return a unit without an answer; one that crashed too often is answered here."""
        job = self._held(job_id, attempt)
        if job is None:
            return False
        self._release(job)
        if is_crash:
            job.crashes.append(cause)
        if len(job.crashes) >= self._crash_limit:
            story = "; ".join(job.crashes)
            message = f"{job.unit.handler} killed {len(job.crashes)} workers: {story}"
            self._fail(job, QuarantinedError(message))
        else:
            self._enqueue(job)
        return True

    def cancel(self, job_id: str) -> bool:
        """Forget the job and cancel whoever waits for it; False: it is not known."""
        job = self._jobs.get(job_id)
        if job is None:
            return False
        self._forget(job)
        for answer in job.answers:
            answer.cancel()
        return True

    def close(self) -> None:
        """Cancel every job."""
        for job_id in list(self._jobs):
            self.cancel(job_id)

    def _admit(self, unit: WorkUnit) -> _Job:
        self._orders += 1
        job = self._jobs[unit.job_id] = _Job(unit, self._orders)
        self._enqueue(job)
        self._watch(job)
        return job

    def _enqueue(self, job: _Job) -> None:
        # A unit that comes back keeps its place among its equals.
        heapq.heappush(self._waiting, (job.unit.priority, job.order, job.unit.job_id))
        self._work.open_one()

    def _most_urgent(self) -> _Job | None:
        while self._waiting:
            _, order, job_id = heapq.heappop(self._waiting)
            job = self._jobs.get(job_id)
            if job is not None and job.order == order and job.lease is None:
                return job
        return None

    def _held(self, job_id: str, attempt: int) -> _Job | None:
        job = self._jobs.get(job_id)
        is_holder = job is not None and job.lease is not None and job.lease.unit.attempt == attempt
        return job if is_holder else None

    def _release(self, job: _Job) -> None:
        if job.lease is not None:
            job.lease = None
            self._leased -= 1

    def _watch(self, job: _Job) -> None:
        delay_s = max(_SOONEST_S, job.unit.deadline_at - self._wall_clock())
        job.timer = asyncio.get_running_loop().call_later(delay_s, self._look_at_deadline, job)

    def _look_at_deadline(self, job: _Job) -> None:
        if self._wall_clock() < job.unit.deadline_at:
            self._watch(job)  # the loop's clock is not the wall's
            return
        where = "waiting for a worker" if job.lease is None else "in a worker"
        self._fail(job, DeadlineExceeded(f"{job.unit.handler} was {where} at its deadline"))

    def _fail(self, job: _Job, error: GaiaError) -> None:
        self._resolve(job, _failed(job.unit, job.unit.attempt + max(0, job.attempts - 1), error))

    def _resolve(self, job: _Job, result: ResultUnit) -> None:
        self._forget(job)
        for answer in job.answers:
            if not answer.done():
                answer.set_result(result)

    def _forget(self, job: _Job) -> None:
        del self._jobs[job.unit.job_id]
        if job.timer is not None:
            job.timer.cancel()
        if job.lease is not None:
            job.lease.withdrawn.set()
            self._release(job)
        self._room.open_one()

    def _forsake(self, job: _Job, answered: asyncio.Future[ResultUnit]) -> None:
        """Whoever waited has gone; with the last of them goes the unit."""
        if not answered.cancelled():
            return
        job.answers.remove(answered)
        if not job.answers and self._jobs.get(job.unit.job_id) is job:
            self._forget(job)


class _Gates:
    """Those who wait in line, let through one at a time: the urgent first, then who came first."""

    def __init__(self) -> None:
        self._line: list[tuple[int, int, asyncio.Future[None]]] = []
        self._arrivals = 0

    async def wait(self, priority: int = 0) -> None:
        gate: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._arrivals += 1
        heapq.heappush(self._line, (priority, self._arrivals, gate))
        try:
            await gate
        except asyncio.CancelledError:
            if not gate.cancelled():
                self.open_one()  # it was let through and went away: the next may go
            raise

    def open_one(self) -> None:
        while self._line:
            _, _, gate = heapq.heappop(self._line)
            if not gate.done():
                gate.set_result(None)
                return


def _failed(unit: WorkUnit, attempt: int, error: GaiaError) -> ResultUnit:
    return ResultUnit(job_id=unit.job_id, attempt=attempt, failure=Failure.of(error))
