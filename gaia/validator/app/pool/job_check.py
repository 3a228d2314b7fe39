"""Checks that the entries and indexes of the ledger's record agree."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gaia.validator.app.pool.job_entries import NEVER, Job, Worker
from gaia.validator.app.pool.job_states import WorkerState

if TYPE_CHECKING:
    from gaia.validator.app.pool.job_records import PoolRecord
    from gaia.validator.utils.identities import JobId, WorkerId


class InconsistentRecord(Exception):
    """The ledger's record contradicts itself, which is a bug of the ledger."""


def check(record: PoolRecord) -> None:
    """Return if the record is consistent.

    Raises
    ------
    InconsistentRecord
        With one sentence for each contradiction.
    """
    faults = [
        *_faults_of_workers(record),
        *_faults_of_jobs(record),
        *_faults_of_indexes(record),
    ]
    if faults:
        raise InconsistentRecord("; ".join(faults))


def _faults_of_workers(record: PoolRecord) -> Iterator[str]:
    for name, worker in record.workers.items():
        if worker.name != name:
            yield f"the entry of worker {name} is that of {worker.name}"
        if worker.state is WorkerState.SILENT and worker.silent_since is None:
            yield f"worker {name} has an entry, and nothing is known of it"
        if not worker.is_connected and (worker.is_leaving or worker.answered_at != NEVER):
            yield f"worker {name} is not connected, and has asked or answered on this connection"
        if worker.is_connected and worker.silent_since is not None:
            yield f"worker {name} is connected, and counted as silent"
        yield from _faults_of_lease(record, worker)


def _faults_of_lease(record: PoolRecord, worker: Worker) -> Iterator[str]:
    lease = worker.lease
    if lease is None or lease.job_id is None or lease.is_canary:
        return
    job = record.jobs.get(lease.job_id)
    if job is None:
        yield f"worker {worker.name} holds job {lease.job_id}, which has no entry"
    elif job.holder is not worker:
        yield f"worker {worker.name} holds job {lease.job_id}, whose holder is {_name(job.holder)}"


def _faults_of_jobs(record: PoolRecord) -> Iterator[str]:
    queued = {(order, job_id): priority for priority, order, job_id in record.queue}
    watched = {(order, job_id): deadline_at for deadline_at, order, job_id in record.deadlines}
    for job_id, job in record.jobs.items():
        key = (job.order, job_id)
        if job.unit is None:
            if job.holder is None:
                yield f"job {job_id} has an entry, and was neither submitted nor found at a worker"
        elif job.unit.job_id != job_id:
            yield f"the entry of job {job_id} is that of {job.unit.job_id}"
        elif watched.get(key) != job.unit.deadline_at:
            yield f"nothing will happen at the deadline of job {job_id}"
        elif job.holder is None and queued.get(key) != job.unit.priority:
            yield f"job {job_id} waits outside the queue"
        yield from _faults_of_holder(record, job_id, job)


def _faults_of_holder(record: PoolRecord, job_id: JobId, job: Job) -> Iterator[str]:
    holder = job.holder
    if holder is None:
        return
    if record.workers.get(holder.name) is not holder:
        yield f"job {job_id} is held by {holder.name}, which has no entry"
    if holder.lease is None or holder.lease.job_id != job_id:
        yield f"job {job_id} is held by {holder.name}, which does not hold it"


def _faults_of_indexes(record: PoolRecord) -> Iterator[str]:
    for index, expected, what in (
        (record.idle_workers, _in_state(record, WorkerState.IDLE), "idle"),
        (record.holders, {n: w for n, w in record.workers.items() if w.lease is not None}, "holders"),
    ):
        for name in index.keys() ^ expected.keys():
            yield f"worker {name} is {'' if name in index else 'not '}among the {what}, wrongly"
        for name in index.keys() & expected.keys():
            if index[name] is not expected[name]:
                yield f"worker {name} has two entries"
    waiting = sum(job.holder is None for job in record.jobs.values())
    if record.waiting != waiting:
        yield f"{record.waiting} jobs are counted as waiting, and {waiting} wait"
    if record.queue and not record.waiting:
        yield f"no job waits, and the queue holds {len(record.queue)} entries"
    if record.idle_workers and record.waiting:
        yield f"{record.waiting} jobs wait, and {record.idle} workers are idle"


def _in_state(record: PoolRecord, state: WorkerState) -> dict[WorkerId, Worker]:
    return {name: worker for name, worker in record.workers.items() if worker.state is state}


def _name(holder: Worker | None) -> str:
    return "nobody" if holder is None else holder.name
