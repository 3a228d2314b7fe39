"""Which jobs wait, which are leased, and what became of each: events in, commands out."""

from __future__ import annotations

import heapq
from collections import OrderedDict
from dataclasses import dataclass, field
from itertools import count

import msgspec

from gaia.validator.utils.errors import DeadlineExceeded, GaiaError, QuarantinedError
from gaia.validator.utils.ipc_types import Failure, ResultUnit, WorkUnit

_MOST_KEPT = 1024
_MOST_STALE = 1024


class Submitted(msgspec.Struct, frozen=True, gc=False):
    """Somebody waits for this unit; a unit already known is not run a second time."""

    unit: WorkUnit


class Cancelled(msgspec.Struct, frozen=True, gc=False):
    """Nobody waits for the job any more."""

    job_id: str


class WorkerReady(msgspec.Struct, frozen=True, gc=False):
    """A worker has connected and holds nothing."""

    worker: str


class WorkerHolding(msgspec.Struct, frozen=True, gc=False):
    """A worker has connected anew and is about to send the result it still holds."""

    worker: str
    job_id: str
    attempt: int


class WorkerLeaving(msgspec.Struct, frozen=True, gc=False):
    """A worker asks to be let go."""

    worker: str


class Finished(msgspec.Struct, frozen=True, gc=False):
    """A worker has answered, and is free."""

    worker: str
    result: ResultUnit


class WorkerLost(msgspec.Struct, frozen=True, gc=False):
    """A worker's connection ended."""

    worker: str


class Tick(msgspec.Struct, frozen=True, gc=False):
    """Time has passed; carries who lives, as the Supervisor knows it."""

    living: frozenset[str] = frozenset()


Event = Submitted | Cancelled | WorkerReady | WorkerHolding | WorkerLeaving | Finished | WorkerLost | Tick


class Assign(msgspec.Struct, frozen=True, gc=False):
    worker: str
    unit: WorkUnit


class Resolve(msgspec.Struct, frozen=True, gc=False):
    """Answer whoever waits for the job."""

    result: ResultUnit


class Acknowledge(msgspec.Struct, frozen=True, gc=False):
    """Tell the worker that it may forget this result; an `Assign` to it says the same."""

    worker: str
    job_id: str
    attempt: int


class Dismiss(msgspec.Struct, frozen=True, gc=False):
    """Let the worker go."""

    worker: str


class Kill(msgspec.Struct, frozen=True, gc=False):
    worker: str
    reason: str


class Quarantine(msgspec.Struct, frozen=True, gc=False):
    """The job killed every worker that tried it; its waiter is told by a `Resolve` of its own."""

    job_id: str
    crashes: int


Command = Assign | Resolve | Acknowledge | Dismiss | Kill | Quarantine


@dataclass(slots=True)
class _Job:
    unit: WorkUnit
    order: int
    crashes: int = 0
    worker: str | None = None


@dataclass(slots=True)
class JobLedger:
    """The engine's one record of the pool, with one unit at most per worker.

    Who holds a unit is settled by facts: a holder that is gone counts a crash,
    one that is connected without the unit never had it, one that is alive and
    silent is waited for until the unit's deadline.

    Parameters
    ----------
    crash_limit
        A unit that was held by so many workers when they died is quarantined.
    silence_limit_s
        A worker that lives but has not connected for so long is killed; no
        unit takes longer, so it is not merely busy with one.
    keep_s
        How long a result that nobody here asked for is kept: the engine before
        us did, and its successor's tasks will ask again.
    """

    crash_limit: int = 3
    silence_limit_s: float = 300.0
    keep_s: float = 3600.0
    _jobs: dict[str, _Job] = field(default_factory=dict)
    _waiting: list[tuple[int, int, str]] = field(default_factory=list)
    _deadlines: list[tuple[float, int, str]] = field(default_factory=list)
    _idle: dict[str, None] = field(default_factory=dict)
    _leases: dict[str, str | None] = field(default_factory=dict)
    """Connected workers that are busy: with which job, None once nobody wants it."""
    _leaving: set[str] = field(default_factory=set)
    _silent_since: dict[str, float] = field(default_factory=dict)
    _kept: OrderedDict[str, tuple[float, ResultUnit]] = field(default_factory=OrderedDict)
    _orders: count[int] = field(default_factory=count)

    @property
    def waiting(self) -> int:
        """Jobs that no worker has."""
        return sum(job.worker is None for job in self._jobs.values())

    @property
    def busy(self) -> int:
        """Workers that hold a unit."""
        return len(self._leases)

    @property
    def idle(self) -> int:
        """Workers that could take a unit now."""
        return len(self._idle)

    def handle(self, event: Event, now: float) -> list[Command]:
        """Record what happened; return what must happen next, in this order.

        Parameters
        ----------
        now
            Unix seconds, as the deadlines of units are.
        """
        commands: list[Command] = []
        match event:
            case Submitted(unit):
                commands += self._submit(unit, now)
            case Cancelled(job_id):
                commands += self._give_up(job_id, "cancelled")
            case WorkerReady(worker):
                # What an earlier connection was to give it never arrived: nobody's crash.
                commands += self._lose(worker, is_crash=False)
                self._idle[worker] = None
            case WorkerHolding(worker, job_id):
                commands += self._adopt(worker, job_id)
            case WorkerLeaving(worker):
                self._leaving.add(worker)
                commands += self._free(worker)
            case Finished(worker, result):
                commands += self._finish(worker, result, now)
            case WorkerLost(worker):
                commands += self._lose(worker, is_crash=True)
            case Tick(living):
                commands += self._expire(now)
                commands += self._kill_silent(living, now)
        return commands + self._assign() if self._idle and self._waiting else commands

    def _submit(self, unit: WorkUnit, now: float) -> list[Command]:
        if unit.job_id in self._jobs:
            return []
        kept_at, kept = self._kept.pop(unit.job_id, (0.0, None))
        if kept is not None and now - kept_at <= self.keep_s:
            return [Resolve(kept)]
        if now >= unit.deadline_at:
            return [Resolve(_failed(unit, DeadlineExceeded("submitted after its deadline")))]
        job = _Job(unit, next(self._orders))
        # An engine that restarted finds the worker already holding what it submits again.
        if unit.job_id in self._leases.values():
            job.worker = next(worker for worker, held in self._leases.items() if held == unit.job_id)
        self._jobs[unit.job_id] = job
        if len(self._deadlines) > 2 * len(self._jobs) + _MOST_STALE:
            self._forget_deadlines_of_the_done()
        heapq.heappush(self._deadlines, (unit.deadline_at, job.order, unit.job_id))
        if job.worker is None:
            self._queue(job)
        return []

    def _adopt(self, worker: str, job_id: str) -> list[Command]:
        # The connection broke, not the worker: what it holds is not lost.
        commands = [] if self._leases.get(worker) == job_id else self._lose(worker, is_crash=False)
        self._leases[worker] = job_id
        job = self._jobs.get(job_id)
        if job is not None and job.worker is None:
            job.worker = worker
        return commands

    def _finish(self, worker: str, result: ResultUnit, now: float) -> list[Command]:
        held = self._leases.pop(worker, None)
        commands: list[Command] = []
        # A late answer counts too, whoever else may be at the job by now: units are safe to run twice.
        job = self._jobs.pop(result.job_id, None)
        if job is not None:
            commands.append(Resolve(result))
            if job.worker is not None and job.worker != worker:
                self._leases[job.worker] = None
        elif held == result.job_id:
            self._keep(result, now)
        freed, assigned = self._free(worker), self._assign()
        if worker not in self._leases:
            # Who is given its next unit knows by that.
            commands.append(Acknowledge(worker, result.job_id, result.attempt))
        return commands + freed + assigned

    def _free(self, worker: str) -> list[Command]:
        """The worker may hold nothing: let it go if it asked, else give it the next unit."""
        if worker in self._leases:
            return []
        if worker in self._leaving:
            # A goodbye may cross an assignment: the worker is let go once that is answered.
            self._idle.pop(worker, None)
            return [Dismiss(worker)]
        self._idle[worker] = None
        return []

    def _lose(self, worker: str, *, is_crash: bool) -> list[Command]:
        self._idle.pop(worker, None)
        self._leaving.discard(worker)
        job_id = self._leases.pop(worker, None)
        job = self._jobs.get(job_id) if job_id is not None else None
        if job is None or job.worker != worker:
            return []
        job.worker = None
        job.crashes += is_crash
        if job.crashes < self.crash_limit:
            self._queue(job)
            return []
        del self._jobs[job.unit.job_id]
        message = f"{job.unit.handler} killed {job.crashes} workers"
        return [
            Quarantine(job.unit.job_id, job.crashes),
            Resolve(_failed(job.unit, QuarantinedError(message), job.crashes - 1)),
        ]

    def _expire(self, now: float) -> list[Command]:
        commands: list[Command] = []
        while self._deadlines and self._deadlines[0][0] <= now:
            _, order, job_id = heapq.heappop(self._deadlines)
            job = self._jobs.get(job_id)
            if job is not None and job.order == order:
                where = "waiting for a worker" if job.worker is None else "in a worker"
                error = DeadlineExceeded(f"{job.unit.handler} was {where} at its deadline")
                commands += self._give_up(job_id, "deadline")
                commands.append(Resolve(_failed(job.unit, error, job.crashes)))
        return commands

    def _forget_deadlines_of_the_done(self) -> None:
        """Without this a million answered units would be remembered until their deadlines."""
        self._deadlines = [entry for entry in self._deadlines if entry[2] in self._jobs]
        heapq.heapify(self._deadlines)

    def _give_up(self, job_id: str, reason: str) -> list[Command]:
        job = self._jobs.pop(job_id, None)
        if job is None or job.worker is None:
            return []
        self._leases[job.worker] = None
        return [Kill(job.worker, reason)]

    def _kill_silent(self, living: frozenset[str], now: float) -> list[Command]:
        silent = living - self._idle.keys() - self._leases.keys() - self._leaving
        self._silent_since = {worker: self._silent_since.get(worker, now) for worker in silent}
        overdue = [w for w, since in self._silent_since.items() if now - since > self.silence_limit_s]
        return [Kill(worker, "silent") for worker in sorted(overdue)]

    def _keep(self, result: ResultUnit, now: float) -> None:
        self._kept[result.job_id] = (now, result)
        while len(self._kept) > _MOST_KEPT:
            self._kept.popitem(last=False)

    def _queue(self, job: _Job) -> None:
        # A job that comes back keeps its place among its equals.
        heapq.heappush(self._waiting, (job.unit.priority, job.order, job.unit.job_id))

    def _assign(self) -> list[Command]:
        commands: list[Command] = []
        while self._idle and self._waiting:
            _, order, job_id = heapq.heappop(self._waiting)
            job = self._jobs.get(job_id)
            if job is None or job.order != order or job.worker is not None:
                continue
            worker = next(iter(self._idle))
            del self._idle[worker]
            job.worker = worker
            self._leases[worker] = job_id
            unit = job.unit
            if job.crashes:
                unit = msgspec.structs.replace(unit, attempt=unit.attempt + job.crashes)
            commands.append(Assign(worker, unit))
        return commands


def _failed(unit: WorkUnit, error: GaiaError, crashes: int = 0) -> ResultUnit:
    return ResultUnit(job_id=unit.job_id, attempt=unit.attempt + crashes, failure=Failure.of(error))
