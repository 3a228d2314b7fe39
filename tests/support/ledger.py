"""Events for a `JobLedger`, and what they lead to."""

from __future__ import annotations

from typing import Any

from gaia.validator.app.meeting.lease_book import Holding
from gaia.validator.app.pool.job_events import Command, DeathCause, Event, Inherited, Resolve
from gaia.validator.app.pool.job_ledger import JobLedger
from gaia.validator.utils.identities import JobId, WorkerId
from gaia.validator.utils.ipc_types import ResultUnit, WorkUnit

A, B, C = map(JobId, "abc")
V, W, X, Y = map(WorkerId, "vwxy")


def a_unit(job_id: JobId = A, **fields: Any) -> WorkUnit:
    return WorkUnit(
        **{"job_id": job_id, "handler": "test.echo", "payload": {}, "deadline_at": 100.0, **fields}
    )


def an_answer(job_id: JobId = A, attempt: int = 1) -> ResultUnit:
    return ResultUnit(job_id=job_id, attempt=attempt, value={"by": attempt})


def play(ledger: JobLedger, *events: Event, now: float = 0.0) -> list[Command]:
    """Return what the last of `events` leads to."""
    commands: list[Command] = []
    for event in events:
        commands = ledger.handle(event, now)
    return commands


def failure_of(command: Command) -> str:
    assert isinstance(command, Resolve)
    assert command.result.failure is not None
    return command.result.failure.error_type


def a_cause(worker: WorkerId, cause: str = "signal 11 (SIGSEGV)", *, blames_unit: bool = True) -> DeathCause:
    return DeathCause(f"{cause} in {worker}", blames_unit=blames_unit, is_deadline=cause == "deadline")


def inherited(
    worker: WorkerId = W, job_id: JobId = A, attempt: int = 1, deadline_at: float = 50.0
) -> Inherited:
    return Inherited(
        Holding(worker=worker, job_id=job_id, attempt=attempt, started_at=0.0, deadline_at=deadline_at)
    )
