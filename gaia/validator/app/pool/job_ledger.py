"""Decides about jobs and workers: takes events, returns commands.

Theory of operation
-------------------
The ledger is the engine's only record of the pool. What runs units (local processes, a cluster) sends it an
event for everything that happens. The ledger returns the commands that follow, in order. Two rules:

1. Everything that changes the record is in this module and in its base class `PoolRecord`.
2. Neither reads a clock or touches a process. The time comes with each event, and names of workers are opaque.

A *worker* is in one of these states (`WorkerState`; the first that applies):

- condemned: the ledger ordered its death, which is not reported yet; it gets no unit.
- away: it holds a unit and is not connected.
- silent: it lives, holds nothing and is not connected.
- leaving: it is connected and has asked to leave; it may hold one last unit.
- holding: it is connected and has one unit or canary.
- idle: it is connected and takes the next unit.

`WorkerReady` and `WorkerHolding` connect a worker; `WorkerDisconnected` ends that, and it keeps what it holds.
Only `WorkerDied` ends its lease with a crash. A worker that connects without its assigned unit never received
it: the job waits again without a crash. The ledger waits for a worker that holds a unit and is not connected
until the deadline of that unit; then it is condemned.

A *job* is in one of these states (`JobState`):

- waiting: it is submitted, and no worker has it.
- leased: it is submitted, and one worker has it.
- unclaimed: a worker has it from an earlier engine, and it is not submitted to this engine.
- kept: its result arrived before it was submitted to this engine.

`Submitted` opens a job; an open job is not opened twice. One `Resolve` ends it: with the answer of its holder,
at its deadline, or in quarantine after it crashed too many workers. `Cancelled` ends it without an answer. Only
the holder of the lease on the present attempt can answer a job; the attempt's number grows with each crash.

The transition tables are in `job_states`; docs/explanation/job-ledger.md draws them.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from typing import TYPE_CHECKING

import msgspec

from gaia.validator.app.meeting.lease_book import Crash, CrashHistory
from gaia.validator.app.pool.job_check import check
from gaia.validator.app.pool.job_entries import Job, Lease, Worker, canary_for
from gaia.validator.app.pool.job_events import (
    Acknowledge,
    Assign,
    Cancelled,
    Command,
    DeathCause,
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
    WorkerDisconnected,
    WorkerHolding,
    WorkerLeaving,
    WorkerReady,
    failed,
)
from gaia.validator.app.pool.job_records import PoolRecord
from gaia.validator.utils.errors import DeadlineExceeded, QuarantinedError

if TYPE_CHECKING:
    from gaia.validator.utils.identities import JobId, WorkerId
    from gaia.validator.utils.ipc_types import ResultUnit, WorkUnit

_NEARLY_S = 1.0
"""Seconds by which a worker ends itself before the engine would kill it."""


class JobLedger(PoolRecord):
    """Decides which worker gets which unit, and the consequences of each death, answer and deadline.

    Parameters
    ----------
    crash_limit
        Number of workers that a unit may crash before it is quarantined.
    silence_limit_s
        Seconds after which a silent worker is killed.
    keep_s
        Seconds to keep a result without a submission, because the tasks of a restarted engine submit
        again. A failure is not kept, because the next submission may be another attempt.
    canary_interval_s
        Seconds without an answer after which an idle worker gets a canary; 0: never.
    canary_timeout_s
        Seconds after which a worker that has not answered its canary is killed.
    crash_histories
        Job id -> its crashes under earlier engines.
    """

    __slots__ = ("canary_interval_s", "canary_timeout_s", "crash_limit", "silence_limit_s")

    def __init__(
        self,
        *,
        crash_limit: int = 3,
        silence_limit_s: float = 300.0,
        keep_s: float = 3600.0,
        canary_interval_s: float = 0.0,
        canary_timeout_s: float = 5.0,
        crash_histories: Mapping[JobId, CrashHistory] | None = None,
    ) -> None:
        super().__init__(dict(crash_histories or {}), keep_s)
        self.crash_limit = crash_limit
        self.silence_limit_s = silence_limit_s
        self.canary_interval_s = canary_interval_s
        self.canary_timeout_s = canary_timeout_s

    def check(self) -> None:
        """Raise `InconsistentRecord` if the record contradicts itself; it is slow, so only tests use it."""
        check(self)

    def healthy_seats(self, now: float) -> int:
        """Return the number of seats whose worker recently answered, or is within the deadline of its unit."""
        patience_s = 2 * self.canary_interval_s + self.canary_timeout_s
        return self._seats(now, patience_s if self.canary_interval_s else None)

    def wants_report(self, name: WorkerId, now: float) -> bool:
        """Return whether the verdict on its unit depends on the cause of death of worker `name`."""
        worker = self.workers.get(name)
        lease = worker.lease if worker is not None else None
        job = self.jobs.get(lease.job_id) if lease is not None and lease.job_id is not None else None
        if job is None or job.unit is None:
            return False
        return job.history.crashes + 1 >= self.crash_limit or job.unit.deadline_at - now < _NEARLY_S

    def handle(self, event: Event, now: float) -> list[Command]:
        """Record an event; return the commands that follow, in order.

        Parameters
        ----------
        now
            Unix seconds, like the deadlines of units.
        """
        # Each unit causes these two, so they are handled first, without a match statement.
        if type(event) is Submitted:
            commands = self._submit(event.unit, now)
        elif type(event) is Finished:
            commands = self._finish(event.worker, event.result, now)
        else:
            commands = self._handle_rare(event, now)
        if self.waiting and self.idle_workers:
            commands += self._assign()
        return commands

    def _handle_rare(self, event: Event, now: float) -> list[Command]:
        commands: list[Command] = []
        match event:
            case Cancelled(job_id):
                commands += self._give_up(job_id, "cancelled")
            case WorkerReady(name, seat):
                worker = self._arrive(name, seat)
                # Its assignment on an earlier connection never arrived.
                self._take_back(worker)
                if not worker.is_condemned:
                    self.idle_workers[name] = worker
            case WorkerHolding(name, job_id, attempt, seat):
                self._adopt(self._arrive(name, seat), job_id, attempt)
            case WorkerLeaving(name):
                commands += self._leave(name)
            case WorkerDisconnected(name):
                self._depart(name)
            case WorkerDied(name, cause):
                commands += self._bury(name, cause, now)
            case Inherited(holding):
                self._inherit(holding)
            case Tick(living):
                commands += self._tick(living, now)
        return commands

    def _tick(self, living: frozenset[WorkerId] | None, now: float) -> list[Command]:
        commands = self._expire(now)
        commands += [self._condemn(worker, reason) for worker, reason in self._overdue(now)]
        if living is not None:
            self._note_living(living, now)
        commands += [self._condemn(worker, "silent") for worker in self._silent(self.silence_limit_s, now)]
        commands += self._send_canaries(now)
        return commands

    def _submit(self, unit: WorkUnit, now: float) -> list[Command]:
        job_id = unit.job_id
        known = self.jobs.get(job_id)
        if known is not None and known.unit is not None:
            return []
        if job_id in self.kept.results:
            kept = self.kept.take(job_id, now)
            if kept is not None:
                return [Resolve(kept)]
        if now >= unit.deadline_at:
            return [Resolve(failed(unit, DeadlineExceeded("submitted after its deadline")))]
        history = self.crashes.of_submission(unit)
        if history.crashes >= self.crash_limit:
            return [Resolve(failed(unit, _quarantined(unit, history), history.tries - 1))]
        # After a restart of the engine, a worker may already hold what is submitted again.
        holder = known.holder if known is not None else None
        job = self._add_job(unit, history, holder)
        if holder is not None:
            return []
        if self.idle_workers and not self.waiting:
            return [self._give(job, unit)]
        self._enqueue(job, unit)
        return []

    def _finish(self, name: WorkerId, result: ResultUnit, now: float) -> list[Command]:
        worker = self.workers.get(name)
        if worker is None or not worker.is_connected:
            return []  # its death was noticed before its last message was read
        worker.answered_at = now
        commands: list[Command] = []
        lease = worker.lease
        # Only the holder of the lease on this attempt may answer the job.
        if lease is not None and lease.job_id == result.job_id and lease.attempt == result.attempt:
            self._end_lease(worker)
            job = self.jobs.pop(result.job_id, None)
            if job is None:
                pass  # a canary
            elif job.unit is not None:
                commands.append(Resolve(result))
                if job.history.tries:
                    commands.append(self._remember(result.job_id, None))
            elif result.succeeded:
                self.kept.keep(result, now)
        elif lease is not None:
            self._take_back(worker)
        freed = self._free(worker)
        assigned = self._assign() if self.waiting else ()
        if worker.lease is None:
            # Its next unit implies the acknowledgement.
            commands.append(Acknowledge(name, result.job_id, result.attempt))
        commands += freed
        commands += assigned
        return commands

    def _leave(self, name: WorkerId) -> list[Command]:
        worker = self.workers.get(name)
        if worker is None or not worker.is_connected:
            return []
        worker.is_leaving = True
        return self._free(worker)

    def _free(self, worker: Worker) -> list[Command]:
        """Make a worker without a unit idle, or dismiss it if it has asked to leave."""
        if worker.lease is not None or worker.is_condemned:
            return []
        if worker.is_leaving:
            # The request may cross an assignment; the worker is then dismissed after its answer.
            self.idle_workers.pop(worker.name, None)
            return [Dismiss(worker.name)]
        self.idle_workers[worker.name] = worker
        return []

    def _bury(self, name: WorkerId, cause: DeathCause | None, now: float) -> list[Command]:
        worker = self.workers.pop(name, None)
        self.idle_workers.pop(name, None)
        self.holders.pop(name, None)
        lease = worker.lease if worker is not None else None
        if lease is None or lease.job_id is None or lease.is_canary:
            return self._explain(name, cause)
        job = self.jobs[lease.job_id]
        crash = Crash(
            worker=name,
            attempt=lease.attempt,
            at=now,
            cause=cause.sentence if cause else "",
            blames_unit=cause is None or cause.blames_unit,
        )
        if cause is None:
            self.crashes.await_cause(name, lease.job_id)
        if job.unit is None:
            del self.jobs[lease.job_id]
            history = self.crashes.of_job(lease.job_id, lease.attempt).with_crash(crash)
            return [self._remember(lease.job_id, history)]
        job.history = job.history.with_crash(crash)
        return [self._remember(lease.job_id, job.history), *self._judge(job, job.unit, cause, now)]

    def _judge(self, job: Job, unit: WorkUnit, cause: DeathCause | None, now: float) -> list[Command]:
        """Requeue a job whose worker died, or resolve it."""
        history = job.history
        if cause is not None and cause.is_deadline and unit.deadline_at - now < _NEARLY_S:
            del self.jobs[unit.job_id]
            error = DeadlineExceeded(f"{unit.handler} was killed at its deadline: {cause.sentence}")
            return [Resolve(failed(unit, error, history.tries - 1))]
        if history.crashes < self.crash_limit:
            self._enqueue(job, unit)
            return []
        del self.jobs[unit.job_id]
        verdict = Resolve(failed(unit, _quarantined(unit, history), history.tries - 1))
        return [Quarantine(unit.job_id, history.crashes), verdict]

    def _explain(self, name: WorkerId, cause: DeathCause | None) -> list[Command]:
        """Add the cause to a death that is already counted."""
        explained = self.crashes.explain(name, cause) if cause is not None else None
        if explained is None:
            return []
        job_id, history = explained
        job = self.jobs.get(job_id)
        if job is not None:
            job.history = history
        return [self._remember(job_id, history)]

    def _remember(self, job_id: JobId, history: CrashHistory | None) -> Remember:
        self.crashes.put(job_id, history)
        return Remember(job_id, history)

    def _expire(self, now: float) -> list[Command]:
        commands: list[Command] = []
        while self.deadlines and self.deadlines[0][0] <= now:
            _, order, job_id = heapq.heappop(self.deadlines)
            job = self.jobs.get(job_id)
            if job is not None and job.order == order and job.unit is not None:
                where = "waiting for a worker" if job.holder is None else "in a worker"
                error = DeadlineExceeded(f"{job.unit.handler} was {where} at its deadline")
                commands += self._give_up(job_id, "deadline")
                commands.append(Resolve(failed(job.unit, error, job.history.tries)))
        return commands

    def _give_up(self, job_id: JobId, reason: str) -> list[Command]:
        """End a job; kill the worker that has it, because nothing else stops native code."""
        job = self.jobs.get(job_id)
        if job is None or job.unit is None:
            return []
        del self.jobs[job_id]
        if job.holder is None:
            self._count_one_less()
            return []
        assert job.holder.lease is not None
        job.holder.lease.job_id = None
        return [self._condemn(job.holder, reason)]

    def _condemn(self, worker: Worker, reason: str) -> Kill:
        worker.is_condemned = True
        self.idle_workers.pop(worker.name, None)
        return Kill(worker.name, reason)

    def _send_canaries(self, now: float) -> list[Command]:
        commands: list[Command] = []
        for worker in list(self.idle_workers.values()) if self.canary_interval_s else []:
            if now - worker.answered_at < self.canary_interval_s:
                continue
            del self.idle_workers[worker.name]
            commands.append(self._lease(worker, canary_for(worker, now + self.canary_timeout_s)))
        return commands

    def _assign(self) -> list[Command]:
        commands: list[Command] = []
        while self.idle_workers:
            job = self._next_waiting()
            if job is None:
                break
            assert job.unit is not None
            commands.append(self._give(job, job.unit))
        return commands

    def _give(self, job: Job, unit: WorkUnit) -> Assign:
        # The worker that became free last has warm caches, and the others may stay idle and be replaced.
        _, job.holder = self.idle_workers.popitem()
        if job.history.tries:
            unit = msgspec.structs.replace(unit, attempt=unit.attempt + job.history.tries)
        return self._lease(job.holder, unit)

    def _lease(self, worker: Worker, unit: WorkUnit) -> Assign:
        worker.lease = Lease(unit.job_id, unit.attempt, unit.deadline_at)
        self.holders[worker.name] = worker
        return Assign(worker.name, unit)


def _quarantined(unit: WorkUnit, history: CrashHistory) -> QuarantinedError:
    return QuarantinedError(f"{unit.handler} killed {history.crashes} workers: {history}")
