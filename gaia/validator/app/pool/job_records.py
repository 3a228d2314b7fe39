"""The ledger's record: one entry per worker, one per job, and indexes for speed."""

from __future__ import annotations

import heapq
from itertools import count
from typing import TYPE_CHECKING

from gaia.validator.app.pool.job_entries import NEVER, Job, Lease, Worker
from gaia.validator.app.pool.job_memory import NO_CRASH, CrashHistories, KeptResults
from gaia.validator.app.pool.job_states import JobState, WorkerState

if TYPE_CHECKING:
    from gaia.validator.app.meeting.lease_book import CrashHistory, Holding
    from gaia.validator.utils.identities import JobId, WorkerId
    from gaia.validator.utils.ipc_types import WorkUnit

_MOST_STALE = 1024


class PoolRecord:
    """Entries of workers and jobs; the methods keep entries and indexes consistent.

    Only `JobLedger` changes it; others may read it.
    """

    __slots__ = (
        "_orders",
        "crashes",
        "deadlines",
        "holders",
        "idle_workers",
        "jobs",
        "kept",
        "queue",
        "waiting",
        "workers",
    )

    def __init__(self, crash_histories: dict[JobId, CrashHistory], keep_s: float) -> None:
        self.workers: dict[WorkerId, Worker] = {}
        self.idle_workers: dict[WorkerId, Worker] = {}
        """Workers that can take a unit now; the one that became free last is at the end, and is used first."""
        self.holders: dict[WorkerId, Worker] = {}
        """Workers with a lease, connected or not."""
        self.jobs: dict[JobId, Job] = {}
        self.queue: list[tuple[int, int, JobId]] = []
        """Heap of (priority, order, job id); entries of jobs that no longer wait are skipped."""
        self.deadlines: list[tuple[float, int, JobId]] = []
        """Heap of (deadline, order, job id); entries of resolved jobs are skipped."""
        self.waiting = 0
        """Number of jobs that no worker has."""
        self.crashes = CrashHistories(crash_histories)
        self.kept = KeptResults(keep_s)
        self._orders = count()

    @property
    def busy(self) -> int:
        """Number of workers that hold a unit."""
        return len(self.holders)

    @property
    def idle(self) -> int:
        """Number of workers that can take a unit now."""
        return len(self.idle_workers)

    @property
    def away(self) -> frozenset[WorkerId]:
        """Workers that hold a unit or are condemned but are not connected; the caller checks whether they live."""
        return frozenset(
            worker.name
            for worker in self.workers.values()
            if not worker.is_connected and (worker.lease is not None or worker.is_condemned)
        )

    def worker_state(self, name: WorkerId) -> WorkerState:
        """Return the state of a worker."""
        worker = self.workers.get(name)
        return WorkerState.ABSENT if worker is None else worker.state

    def job_state(self, job_id: JobId) -> JobState:
        """Return the state of a job."""
        job = self.jobs.get(job_id)
        if job_id in self.kept.results:
            # Another worker may hold it too, in an attempt that the kept result makes needless.
            return JobState.KEPT
        return JobState.ABSENT if job is None else job.state

    def _seats(self, now: float, patience_s: float | None) -> int:
        """Return the number of seats with a connected worker that is busy or answered within `patience_s` (None: any)."""
        healthy = set()
        for worker in self.workers.values():
            lease = worker.lease
            is_at_work = lease is not None and not lease.is_canary and now < lease.deadline_at
            is_well = patience_s is None or (
                not worker.is_condemned and (is_at_work or now - worker.answered_at < patience_s)
            )
            if worker.is_connected and is_well:
                healthy.add(worker.seat)
        return len(healthy)

    def _known(self, name: WorkerId) -> Worker:
        """Return the entry of a worker; add it if there is none."""
        worker = self.workers.get(name)
        if worker is None:
            worker = self.workers[name] = Worker(name, name)
        return worker

    def _forget_if_gone(self, worker: Worker) -> None:
        """Delete the entry of a worker if it holds no facts any more."""
        is_known = worker.is_connected or worker.is_condemned or worker.silent_since is not None
        if not is_known and worker.lease is None:
            del self.workers[worker.name]

    def _arrive(self, name: WorkerId, seat: str) -> Worker:
        worker = self._known(name)
        worker.seat = seat or name
        worker.is_connected = True
        # It asks again on each connection.
        worker.is_leaving = False
        worker.silent_since = None
        return worker

    def _depart(self, name: WorkerId) -> None:
        worker = self.workers.get(name)
        if worker is not None:
            self.idle_workers.pop(name, None)
            worker.is_connected = worker.is_leaving = False
            worker.answered_at = NEVER
            self._forget_if_gone(worker)

    def _add_job(self, unit: WorkUnit, history: CrashHistory, holder: Worker | None) -> Job:
        """Add a submitted job, which waits unless a worker already holds it."""
        job = self.jobs[unit.job_id] = Job(unit, next(self._orders), history, holder)
        if len(self.deadlines) > 2 * len(self.jobs) + _MOST_STALE:
            self._forget_deadlines_of_resolved_jobs()
        heapq.heappush(self.deadlines, (unit.deadline_at, job.order, unit.job_id))
        return job

    def _enqueue(self, job: Job, unit: WorkUnit) -> None:
        # A job that returns keeps its place among jobs of equal priority.
        job.holder = None
        self.waiting += 1
        heapq.heappush(self.queue, (unit.priority, job.order, unit.job_id))

    def _next_waiting(self) -> Job | None:
        """Remove and return the most urgent job of the queue; the oldest of equal ones."""
        while self.queue:
            _, order, job_id = heapq.heappop(self.queue)
            job = self.jobs.get(job_id)
            if job is not None and job.order == order and job.holder is None:
                self._count_one_less()
                return job
        return None

    def _count_one_less(self) -> None:
        """Note that a job no longer waits; drop queue entries of jobs that do not wait."""
        self.waiting -= 1
        if not self.waiting:
            self.queue.clear()

    def _claim(self, worker: Worker, lease: Lease) -> None:
        """Give `worker` a lease on its unit; if another worker has the job, no caller wants this attempt."""
        worker.lease = lease
        self.holders[worker.name] = worker
        if lease.job_id is None or lease.is_canary:
            return
        job = self.jobs.get(lease.job_id)
        if job is None:
            self.jobs[lease.job_id] = Job(None, -1, NO_CRASH, worker)
        elif job.holder is None:
            self._count_one_less()
            job.holder = worker
        else:
            lease.job_id = None

    def _adopt(self, worker: Worker, job_id: JobId, attempt: int) -> None:
        """Accept what a connecting worker says it holds, because only its connection broke."""
        self.idle_workers.pop(worker.name, None)
        lease = worker.lease
        if lease is None or lease.job_id != job_id or lease.attempt != attempt:
            self._take_back(worker)
            self._claim(worker, Lease(job_id, attempt, float("inf")))

    def _inherit(self, holding: Holding) -> None:
        lease = Lease(holding.job_id, holding.attempt, holding.deadline_at)
        worker = self._known(holding.worker)
        # A connected worker has reported its unit itself, and no caller waits for the answer of a canary.
        if not worker.is_connected and worker.lease is None and not lease.is_canary:
            self._claim(worker, lease)
        self._forget_if_gone(worker)

    def _end_lease(self, worker: Worker) -> None:
        worker.lease = None
        del self.holders[worker.name]

    def _take_back(self, worker: Worker) -> None:
        """Requeue the job assigned to `worker`, which never arrived; count no crash."""
        lease = worker.lease
        if lease is None:
            return
        self._end_lease(worker)
        if lease.job_id is None:
            return
        job = self.jobs.get(lease.job_id)
        if job is None:
            return
        if job.unit is None:
            del self.jobs[lease.job_id]
        else:
            self._enqueue(job, job.unit)

    def _forget_deadlines_of_resolved_jobs(self) -> None:
        """Drop the deadlines of resolved jobs, which would otherwise fill memory until they pass."""
        orders = {job.order for job in self.jobs.values()}
        self.deadlines = [entry for entry in self.deadlines if entry[1] in orders]
        heapq.heapify(self.deadlines)

    def _note_living(self, living: frozenset[WorkerId], now: float) -> None:
        """Note since when each worker has lived without a connection; forget those that have ended."""
        for worker in list(self.workers.values()):
            if worker.silent_since is not None and worker.name not in living:
                worker.silent_since = None
                self._forget_if_gone(worker)
        for name in living:
            worker = self._known(name)
            if not worker.is_connected and worker.silent_since is None:
                worker.silent_since = now

    def _silent(self, limit_s: float, now: float) -> list[Worker]:
        """Return the workers that have lived for longer than `limit_s` without a connection or a unit."""
        return sorted(
            (
                worker
                for worker in self.workers.values()
                if worker.state is WorkerState.SILENT
                and worker.silent_since is not None
                and now - worker.silent_since > limit_s
            ),
            key=lambda worker: worker.name,
        )

    def _overdue(self, now: float) -> list[tuple[Worker, str]]:
        """Return worker -> reason to kill it, for each past the deadline of its canary or, while away, of its unit.

        For a connected worker, the deadline of its job applies instead.
        """
        return [
            (worker, "silent" if lease.is_canary else "deadline")
            for worker in self.holders.values()
            if (lease := worker.lease) is not None
            and now >= lease.deadline_at
            and (not worker.is_connected or lease.is_canary)
            and not worker.is_condemned
        ]
