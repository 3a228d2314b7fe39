"""The transition tables say what the ledger does: each arrow is seen, and nothing else is."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import NamedTuple

from gaia.validator.app.meeting.lease_book import Holding
from gaia.validator.app.pool.job_events import (
    Assign,
    Cancelled,
    DeathCause,
    Event,
    Finished,
    Inherited,
    Submitted,
    Tick,
    WorkerDied,
    WorkerDisconnected,
    WorkerHolding,
    WorkerLeaving,
    WorkerReady,
)
from gaia.validator.app.pool.job_ledger import JobLedger
from gaia.validator.app.pool.job_states import (
    JOB_ARROWS,
    JOB_STATES,
    WORKER_ARROWS,
    WORKER_STATES,
    Arrow,
    JobState,
    WorkerState,
)
from gaia.validator.utils.identities import JobId, WorkerId
from gaia.validator.utils.ipc_types import CANARY, Failure, ResultUnit, WorkUnit

WORKERS = tuple(map(WorkerId, "vwx"))
JOBS = tuple(map(JobId, "abc"))
HISTORIES, STEPS = 400, 120


class Transition(NamedTuple):
    kind: str
    source: str
    target: str
    event: str


TABLE = {
    Transition(kind, arrow.source, arrow.target, event)
    for kind, arrows in (("worker", WORKER_ARROWS), ("job", JOB_ARROWS))
    for arrow in arrows
    for event in arrow.events.split()
}


def a_unit(job_id: JobId, now: float, chance: random.Random) -> WorkUnit:
    deadline_at = now + chance.choice((1.0, 8.0, 30.0))
    return WorkUnit(job_id=job_id, handler="test.echo", payload={}, deadline_at=deadline_at)


def a_cause(chance: random.Random) -> DeathCause | None:
    return chance.choice((None, DeathCause("deadline", is_deadline=True), DeathCause("memory")))


def canary_of(worker: WorkerId) -> JobId:
    return JobId(f"{CANARY}/{worker}")


def an_answer(ledger: JobLedger, worker: WorkerId, chance: random.Random) -> ResultUnit:
    """Return what the worker was asked, most of the time; else something else."""
    entry = ledger.workers.get(worker)
    lease = entry.lease if entry is not None else None
    if lease is not None and lease.job_id is not None and chance.random() < 0.65:
        job_id, attempt = lease.job_id, lease.attempt
    else:
        job_id, attempt = chance.choice((*JOBS, canary_of(worker))), chance.choice((1, 2))
    if chance.random() < 0.3:
        failure = Failure(error_type="TransientError", message="busy")
        return ResultUnit(job_id=job_id, attempt=attempt, failure=failure)
    return ResultUnit(job_id=job_id, attempt=attempt, value={})


def any_event(ledger: JobLedger, now: float, chance: random.Random) -> Event:
    """Return any event at all, even one that contradicts those before it."""
    worker, job_id, attempt = chance.choice(WORKERS), chance.choice(JOBS), chance.choice((1, 2))
    held = chance.choice((job_id, job_id, job_id, canary_of(worker)))
    holding = Holding(worker=worker, job_id=held, attempt=attempt, started_at=0.0, deadline_at=now + 5.0)
    living = frozenset(name for name in WORKERS if chance.random() < 0.7)
    return chance.choice(
        (
            Submitted(a_unit(job_id, now, chance)),
            Submitted(a_unit(job_id, now, chance)),
            Cancelled(job_id),
            WorkerReady(worker),
            WorkerReady(worker),
            WorkerHolding(worker, held, attempt),
            WorkerLeaving(worker),
            Finished(worker, an_answer(ledger, worker, chance)),
            Finished(worker, an_answer(ledger, worker, chance)),
            WorkerDisconnected(worker),
            WorkerDied(worker, a_cause(chance)),
            Inherited(holding),
            Tick(chance.choice((living, frozenset(WORKERS), None))),
        )
    )


def transitions_of(ledger: JobLedger, event: Event, now: float) -> Iterator[Transition]:
    """Hand `event` to the ledger; yield what changed its state by it."""
    workers = {name: ledger.worker_state(name) for name in WORKERS}
    jobs = {job_id: ledger.job_state(job_id) for job_id in JOBS}
    commands = ledger.handle(event, now)
    ledger.check()
    for command in commands:
        if isinstance(command, Assign):
            assert ledger.workers[command.worker].lease is not None
    name = type(event).__name__
    for worker, before in workers.items():
        yield Transition("worker", before, ledger.worker_state(worker), name)
    for job_id, was in jobs.items():
        yield Transition("job", was, ledger.job_state(job_id), name)


def seen_transitions() -> set[Transition]:
    seen: set[Transition] = set()
    for seed in range(HISTORIES):
        chance = random.Random(seed)
        ledger = JobLedger(
            crash_limit=2,
            silence_limit_s=10.0,
            keep_s=20.0,
            canary_interval_s=chance.choice((0.0, 4.0)),
            canary_timeout_s=3.0,
        )
        now = 0.0
        for _ in range(STEPS):
            now += chance.choice((0.0, 0.0, 0.5, 4.0))
            seen.update(transitions_of(ledger, any_event(ledger, now, chance), now))
    return {one for one in seen if one.source != one.target}


def test_tables_say_what_the_ledger_does_whatever_it_is_told() -> None:
    seen = seen_transitions()

    assert sorted(seen - TABLE) == [], "the ledger does what no table says"
    assert sorted(TABLE - seen) == [], "the tables say what the ledger never does"


def test_each_state_is_described_and_reached() -> None:
    assert set(WORKER_STATES) == set(WorkerState) == {arrow.target for arrow in WORKER_ARROWS}
    assert set(JOB_STATES) == set(JobState) == {arrow.target for arrow in JOB_ARROWS}


def test_each_pair_of_states_has_one_arrow() -> None:
    for arrows in (WORKER_ARROWS, JOB_ARROWS):
        assert len({(arrow.source, arrow.target) for arrow in arrows}) == len(arrows)
        assert all(isinstance(arrow, Arrow) and arrow.why.endswith(".") for arrow in arrows)
