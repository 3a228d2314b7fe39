"""Which jobs wait, which are leased, and what became of each: events in, commands out."""

from __future__ import annotations

import heapq
from collections import OrderedDict
from dataclasses import dataclass, field
from itertools import count

import msgspec

from gaia.validator.app.meeting.lease_book import Crash, Holding, Story
from gaia.validator.app.meeting.rendezvous import DeathReport
from gaia.validator.app.pool.job_events import (
    Acknowledge,
    Assign,
    Cancelled,
    Command,
    Dismiss,
    Event,
    Finished,
    Inherited,
    Kill,
    Quarantine,
    Remember,
    Resolve,
    Submitted,
    Tick,
    WorkerDied,
    WorkerHolding,
    WorkerLeaving,
    WorkerLost,
    WorkerReady,
)
from gaia.validator.utils.errors import DeadlineExceeded, GaiaError, QuarantinedError
from gaia.validator.utils.ipc_types import CANARY, Failure, ResultUnit, WorkUnit

_MOST_KEPT = 1024
_MOST_STALE = 1024
_UNTOLD = Story()
_NEARLY_S = 1.0
"""A worker that dies of its deadline does so a little before the engine would kill it."""


class _Job(msgspec.Struct, gc=False):
    unit: WorkUnit
    order: int
    story: Story
    worker: str | None = None


class _Lease(msgspec.Struct, gc=False):
    """What a worker holds."""

    job_id: str | None
    """None once nobody wants it."""
    attempt: int
    deadline_at: float


@dataclass(slots=True)
class JobLedger:
    """The engine's one record of the pool, with one unit at most per worker.

    Who holds a unit is settled by facts: a holder that died counts a crash, one
    that is connected without the unit never had it, one that lives and is silent
    is waited for until the unit's deadline.

    Parameters
    ----------
    crash_limit
        A unit that was held by so many workers when they died is quarantined.
    silence_limit_s
        A worker that lives, holds nothing and has not connected for so long is killed.
    keep_s
        How long a result that nobody here asked for is kept: the engine before
        us did, and its successor's tasks will ask again. A failure is not kept, for who
        asks again may ask for another attempt.
    canary_interval_s
        A worker that answered nothing for so long is given a canary; 0: never.
    canary_timeout_s
        A worker that does not answer its canary in so long is killed.
    stories
        What went wrong with jobs under engines before us.
    """

    crash_limit: int = 3
    silence_limit_s: float = 300.0
    keep_s: float = 3600.0
    canary_interval_s: float = 0.0
    canary_timeout_s: float = 5.0
    stories: dict[str, Story] = field(default_factory=dict)
    _jobs: dict[str, _Job] = field(default_factory=dict)
    _queued: int = 0
    _waiting: list[tuple[int, int, str]] = field(default_factory=list)
    _deadlines: list[tuple[float, int, str]] = field(default_factory=list)
    _here: set[str] = field(default_factory=set)
    """Connected workers."""
    _idle: dict[str, None] = field(default_factory=dict)
    _leases: dict[str, _Lease] = field(default_factory=dict)
    """What each worker holds, connected or not."""
    _unclaimed: dict[str, str] = field(default_factory=dict)
    """Holders of jobs that nobody here asked for yet, by job."""
    _leaving: set[str] = field(default_factory=set)
    _condemned: set[str] = field(default_factory=set)
    """Workers that we had killed and that are not dead yet."""
    _proved_at: dict[str, float] = field(default_factory=dict)
    """When each connected worker last answered."""
    _silent_since: dict[str, float] = field(default_factory=dict)
    _unexplained: OrderedDict[str, str] = field(default_factory=OrderedDict)
    """Jobs of workers that died we do not know of what, by worker."""
    _kept: OrderedDict[str, tuple[float, ResultUnit]] = field(default_factory=OrderedDict)
    _orders: count[int] = field(default_factory=count)

    def __post_init__(self) -> None:
        for job_id, story in self.stories.items():
            for crash in story.deaths:
                if not crash.cause:
                    self._unexplained[crash.worker] = job_id

    @property
    def waiting(self) -> int:
        """Jobs that no worker has."""
        return self._queued

    @property
    def busy(self) -> int:
        """Workers that hold a unit."""
        return len(self._leases)

    @property
    def idle(self) -> int:
        """Workers that could take a unit now."""
        return len(self._idle)

    @property
    def away(self) -> frozenset[str]:
        """Workers that are not connected, and hold a unit or were to be killed: live they still?"""
        return frozenset((self._leases.keys() | self._condemned) - self._here)

    def healthy_seats(self, now: float) -> int:
        """Seats with a worker that answered lately, or is within the deadline of its unit."""
        if not self.canary_interval_s:
            return len({worker.partition(".")[0] for worker in self._here})
        patience_s = 2 * self.canary_interval_s + self.canary_timeout_s
        healthy = set()
        for worker in self._here - self._condemned:
            lease = self._leases.get(worker)
            is_at_work = lease is not None and not _is_canary(lease.job_id) and now < lease.deadline_at
            has_answered = now - self._proved_at.get(worker, -patience_s) < patience_s
            if is_at_work or has_answered:
                healthy.add(worker.partition(".")[0])
        return len(healthy)

    def wants_report(self, worker: str, now: float) -> bool:
        """Say whether the verdict over its unit hangs on what `worker` died of."""
        lease = self._leases.get(worker)
        job = self._jobs.get(lease.job_id) if lease is not None and lease.job_id is not None else None
        if job is None:
            return False
        return job.story.crashes + 1 >= self.crash_limit or job.unit.deadline_at - now < _NEARLY_S

    def handle(self, event: Event, now: float) -> list[Command]:
        """Record what happened; return what must happen next, in this order.

        Parameters
        ----------
        now
            Unix seconds, as the deadlines of units are.
        """
        # The two that come with every unit, before all others and without taking them apart.
        if type(event) is Submitted:
            commands = self._submit(event.unit, now)
        elif type(event) is Finished:
            commands = self._finish(event.worker, event.result, now)
        else:
            commands = self._handle_rare(event, now)
        if self._idle and self._waiting:
            commands += self._assign()
        return commands

    def _handle_rare(self, event: Event, now: float) -> list[Command]:
        commands: list[Command] = []
        match event:
            case Cancelled(job_id):
                commands += self._give_up(job_id, "cancelled")
            case WorkerReady(worker):
                # What an earlier connection was to give it never arrived: nobody's crash.
                self._take_back(worker)
                self._arrive(worker)
                if worker not in self._condemned:
                    self._idle[worker] = None
            case WorkerHolding(worker, job_id, attempt):
                self._adopt(worker, job_id, attempt)
            case WorkerLeaving(worker):
                self._leaving.add(worker)
                commands += self._free(worker)
            case WorkerLost(worker):
                self._depart(worker)
            case WorkerDied(worker, report):
                commands += self._bury(worker, report, now)
            case Inherited(holding):
                self._inherit(holding)
            case Tick(living):
                commands += self._expire(now)
                commands += self._look_for_the_silent(living, now)
                commands += self._send_canaries(now)
        return commands

    def _submit(self, unit: WorkUnit, now: float) -> list[Command]:
        if unit.job_id in self._jobs:
            return []
        if unit.job_id in self._kept:
            kept_at, kept = self._kept.pop(unit.job_id)
            if now - kept_at <= self.keep_s:
                return [Resolve(kept)]
        if now >= unit.deadline_at:
            return [Resolve(_failed(unit, DeadlineExceeded("submitted after its deadline")))]
        story = self.stories.get(unit.job_id)
        if story is None or story.base != unit.attempt:
            story = _UNTOLD if unit.attempt == _UNTOLD.base else Story(base=unit.attempt)
        if story.crashes >= self.crash_limit:
            return [Resolve(_failed(unit, _quarantined(unit, story), story.tries - 1))]
        # An engine that restarted finds a worker that already holds what is submitted again.
        holder = self._unclaimed.pop(unit.job_id, None)
        job = _Job(unit, next(self._orders), story, holder)
        self._jobs[unit.job_id] = job
        if len(self._deadlines) > 2 * len(self._jobs) + _MOST_STALE:
            self._forget_deadlines_of_the_done()
        heapq.heappush(self._deadlines, (unit.deadline_at, job.order, unit.job_id))
        if holder is not None:
            return []
        if self._idle and not self._waiting:
            return [self._give(job)]
        self._queue(job)
        return []

    def _arrive(self, worker: str) -> None:
        self._here.add(worker)
        self._silent_since.pop(worker, None)

    def _depart(self, worker: str) -> None:
        self._here.discard(worker)
        self._idle.pop(worker, None)
        # It says so again when it returns.
        self._leaving.discard(worker)
        self._proved_at.pop(worker, None)

    def _adopt(self, worker: str, job_id: str, attempt: int) -> None:
        # The connection broke, not the worker: what it holds is not lost.
        lease = self._leases.get(worker)
        if lease is None or lease.job_id != job_id or lease.attempt != attempt:
            self._take_back(worker)
            lease = self._leases[worker] = _Lease(job_id, attempt, float("inf"))
            self._claim(worker, lease)
        self._idle.pop(worker, None)
        self._arrive(worker)

    def _inherit(self, holding: Holding) -> None:
        self._take_back(holding.worker)
        if not _is_canary(holding.job_id):
            lease = _Lease(holding.job_id, holding.attempt, holding.deadline_at)
            self._leases[holding.worker] = lease
            self._claim(holding.worker, lease)

    def _claim(self, worker: str, lease: _Lease) -> None:
        """Find the job that `lease` is for; where another worker has it, nobody wants this attempt."""
        assert lease.job_id is not None
        job = self._jobs.get(lease.job_id)
        if job is None:
            lease.job_id = None if lease.job_id in self._unclaimed else lease.job_id
            if lease.job_id is not None:
                self._unclaimed[lease.job_id] = worker
        elif job.worker is None:
            self._queued -= 1
            job.worker = worker
        else:
            lease.job_id = None

    def _finish(self, worker: str, result: ResultUnit, now: float) -> list[Command]:
        if worker not in self._here:
            return []  # its death was noticed before its last words were read
        self._proved_at[worker] = now
        commands: list[Command] = []
        lease = self._leases.pop(worker, None)
        # Only who holds the lease on this very attempt may answer for the job.
        if lease is not None and lease.job_id == result.job_id and lease.attempt == result.attempt:
            job = self._jobs.pop(result.job_id, None)
            if job is not None:
                commands.append(Resolve(result))
                if job.story.tries:
                    commands.append(self._remember(result.job_id, None))
            elif not _is_canary(result.job_id):
                self._unclaimed.pop(result.job_id, None)
                if result.succeeded:
                    self._keep(result, now)
        elif lease is not None:
            self._leases[worker] = lease
            self._take_back(worker)
        freed = self._free(worker)
        assigned = self._assign() if self._waiting else ()
        if worker not in self._leases:
            # Who is given its next unit knows by that.
            commands.append(Acknowledge(worker, result.job_id, result.attempt))
        commands += freed
        commands += assigned
        return commands

    def _free(self, worker: str) -> list[Command]:
        """The worker may hold nothing: let it go if it asked, else give it the next unit."""
        if worker in self._leases or worker in self._condemned:
            return []
        if worker in self._leaving:
            # A goodbye may cross an assignment: the worker is let go once that is answered.
            self._idle.pop(worker, None)
            return [Dismiss(worker)]
        self._idle[worker] = None
        return []

    def _take_back(self, worker: str) -> None:
        """What `worker` was to have it does not have; its job waits again, and nobody is to blame."""
        lease = self._leases.pop(worker, None)
        if lease is None or lease.job_id is None:
            return
        job = self._jobs.get(lease.job_id)
        if job is not None and job.worker == worker:
            self._queue(job)
        elif self._unclaimed.get(lease.job_id) == worker:
            del self._unclaimed[lease.job_id]

    def _bury(self, worker: str, report: DeathReport | None, now: float) -> list[Command]:
        self._depart(worker)
        self._condemned.discard(worker)
        self._silent_since.pop(worker, None)
        lease = self._leases.pop(worker, None)
        if lease is None or lease.job_id is None or _is_canary(lease.job_id):
            return self._explain(worker, report)
        job_id = lease.job_id
        job = self._jobs.get(job_id)
        if job is None:
            self._unclaimed.pop(job_id, None)
        told = job.story if job is not None else self.stories.get(job_id, Story(base=lease.attempt))
        crash = Crash(
            worker=worker,
            attempt=lease.attempt,
            at=now,
            cause=report.sentence if report else "",
            blames_unit=report is None or report.blames_unit,
        )
        story = told.with_crash(crash)
        commands: list[Command] = [self._remember(job_id, story)]
        if report is None:
            self._unexplained[worker] = job_id
            while len(self._unexplained) > _MOST_KEPT:
                self._unexplained.popitem(last=False)
        if job is None:
            return commands
        job.story = story
        if report is not None and report.cause == "deadline" and job.unit.deadline_at - now < _NEARLY_S:
            del self._jobs[job_id]
            error = DeadlineExceeded(f"{job.unit.handler} was killed at its deadline: {crash.cause}")
            return [*commands, Resolve(_failed(job.unit, error, story.tries - 1))]
        if story.crashes < self.crash_limit:
            self._queue(job)
            return commands
        del self._jobs[job_id]
        verdict = Resolve(_failed(job.unit, _quarantined(job.unit, story), story.tries - 1))
        return [*commands, Quarantine(job_id, story.crashes), verdict]

    def _explain(self, worker: str, report: DeathReport | None) -> list[Command]:
        """The death was counted when it was noticed; now we learn its cause."""
        job_id = self._unexplained.pop(worker, None) if report is not None else None
        story = self.stories.get(job_id) if job_id is not None else None
        if report is None or job_id is None or story is None:
            return []
        story = story.explained(worker, report.sentence, blames_unit=report.blames_unit)
        job = self._jobs.get(job_id)
        if job is not None:
            job.story = story
        return [self._remember(job_id, story)]

    def _remember(self, job_id: str, story: Story | None) -> Remember:
        self.stories.pop(job_id, None)
        if story is not None:
            self.stories[job_id] = story
            while len(self.stories) > _MOST_KEPT:
                del self.stories[next(iter(self.stories))]
        return Remember(job_id, story)

    def _expire(self, now: float) -> list[Command]:
        commands: list[Command] = []
        while self._deadlines and self._deadlines[0][0] <= now:
            _, order, job_id = heapq.heappop(self._deadlines)
            job = self._jobs.get(job_id)
            if job is not None and job.order == order:
                where = "waiting for a worker" if job.worker is None else "in a worker"
                error = DeadlineExceeded(f"{job.unit.handler} was {where} at its deadline")
                commands += self._give_up(job_id, "deadline")
                commands.append(Resolve(_failed(job.unit, error, job.story.tries)))
        return commands

    def _forget_deadlines_of_the_done(self) -> None:
        """Without this a million answered units would be remembered until their deadlines."""
        self._deadlines = [entry for entry in self._deadlines if entry[2] in self._jobs]
        heapq.heapify(self._deadlines)

    def _give_up(self, job_id: str, reason: str) -> list[Command]:
        job = self._jobs.pop(job_id, None)
        if job is None:
            return []
        if job.worker is None:
            self._queued -= 1
            return []
        self._leases[job.worker].job_id = None
        return self._condemn(job.worker, reason)

    def _condemn(self, worker: str, reason: str) -> list[Command]:
        self._condemned.add(worker)
        self._idle.pop(worker, None)
        return [Kill(worker, reason)]

    def _look_for_the_silent(self, living: frozenset[str] | None, now: float) -> list[Command]:
        """Kill who lives and should have spoken."""
        commands: list[Command] = []
        if living is not None:
            silent = living - self._here
            self._silent_since = {worker: self._silent_since.get(worker, now) for worker in silent}
        for worker, lease in list(self._leases.items()):
            is_overdue = worker not in self._here or _is_canary(lease.job_id)
            if is_overdue and now >= lease.deadline_at and worker not in self._condemned:
                commands += self._condemn(worker, "silent" if _is_canary(lease.job_id) else "deadline")
        for worker in sorted(self._silent_since.keys() - self._leases.keys() - self._condemned):
            if now - self._silent_since[worker] > self.silence_limit_s:
                commands += self._condemn(worker, "silent")
        return commands

    def _send_canaries(self, now: float) -> list[Command]:
        commands: list[Command] = []
        for worker in list(self._idle) if self.canary_interval_s else []:
            if now - self._proved_at.get(worker, float("-inf")) < self.canary_interval_s:
                continue
            unit = WorkUnit(
                job_id=f"{CANARY}/{worker}",
                handler=CANARY,
                payload={},
                deadline_at=now + self.canary_timeout_s,
            )
            commands.append(self._lease(worker, unit))
        return commands

    def _keep(self, result: ResultUnit, now: float) -> None:
        self._kept[result.job_id] = (now, result)
        while len(self._kept) > _MOST_KEPT:
            self._kept.popitem(last=False)

    def _queue(self, job: _Job) -> None:
        # A job that comes back keeps its place among its equals.
        job.worker = None
        self._queued += 1
        heapq.heappush(self._waiting, (job.unit.priority, job.order, job.unit.job_id))

    def _assign(self) -> list[Command]:
        commands: list[Command] = []
        while self._idle and self._waiting:
            _, order, job_id = heapq.heappop(self._waiting)
            job = self._jobs.get(job_id)
            if job is None or job.order != order or job.worker is not None:
                continue
            self._queued -= 1
            commands.append(self._give(job))
        return commands

    def _give(self, job: _Job) -> Assign:
        # The one that was free last has all it needs in the processor's caches; the others may go idle and be replaced.
        job.worker = next(reversed(self._idle))
        unit = job.unit
        if job.story.tries:
            unit = msgspec.structs.replace(unit, attempt=unit.attempt + job.story.tries)
        return self._lease(job.worker, unit)

    def _lease(self, worker: str, unit: WorkUnit) -> Assign:
        del self._idle[worker]
        self._leases[worker] = _Lease(unit.job_id, unit.attempt, unit.deadline_at)
        return Assign(worker, unit)


def _is_canary(job_id: str | None) -> bool:
    return job_id is not None and job_id.startswith(CANARY)


def _quarantined(unit: WorkUnit, story: Story) -> QuarantinedError:
    return QuarantinedError(f"{unit.handler} killed {story.crashes} workers: {story}")


def _failed(unit: WorkUnit, error: GaiaError, crashes: int = 0) -> ResultUnit:
    return ResultUnit(job_id=unit.job_id, attempt=unit.attempt + crashes, failure=Failure.of(error))
