"""Every `JobQueue` that there is, and hands that a test moves."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from typing import Any

from gaia.validator.app.pool.job_events import (
    Assign,
    DeathCause,
    Dismiss,
    Finished,
    Kill,
    WorkerDied,
    WorkerDisconnected,
    WorkerLeaving,
    WorkerReady,
)
from gaia.validator.app.pool.job_ledger import JobLedger
from gaia.validator.app.pool.protocols import JobQueue
from gaia.validator.app.pool.scheduler import HandsCommand, Scheduler
from gaia.validator.utils.identities import WorkerId
from gaia.validator.utils.ipc_types import ResultUnit, WorkUnit
from tests.support.patience import patience

CRASH_LIMIT = 3
QUEUES: dict[str, Callable[[], JobQueue]] = {"JobLedger": lambda: JobLedger(crash_limit=CRASH_LIMIT)}


@dataclass
class Lease:
    """One attempt, and the worker that has it."""

    worker: WorkerId
    unit: WorkUnit


class Takers:
    """Hands whose workers stay for one unit each: a test takes it, and says what becomes of it."""

    def __init__(self, queue: JobQueue, queue_limit: int = 0) -> None:
        self.queue = queue
        self.scheduler = Scheduler(queue, self, queue_limit=queue_limit)
        self.given: dict[WorkerId, WorkUnit] = {}
        self.killed: list[WorkerId] = []
        self._numbers = count()

    def carry_out(self, command: HandsCommand) -> None:
        match command:
            case Assign(worker, unit):
                self.given[worker] = unit
            case Dismiss(worker):
                self.scheduler.tell(WorkerDisconnected(worker))
            case Kill(worker, _):
                self.killed.append(worker)
                self.scheduler.tell(WorkerDied(worker))

    async def put(self, unit: WorkUnit) -> asyncio.Task[ResultUnit]:
        """Have a caller wait for the unit."""
        caller = asyncio.create_task(self.scheduler.dispatch_and_wait(unit))
        await settle()
        return caller

    def come(self) -> WorkerId:
        """Be one more worker; it takes the next unit."""
        worker = WorkerId(f"w{next(self._numbers)}")
        self.scheduler.tell(WorkerReady(worker))
        return worker

    def take(self) -> Lease:
        """Be a worker, and return the unit that it gets."""
        worker = self.come()
        self.scheduler.tell(WorkerLeaving(worker))
        return Lease(worker, self.given[worker])

    def answer(self, lease: Lease, **value: Any) -> None:
        result = ResultUnit(job_id=lease.unit.job_id, attempt=lease.unit.attempt, value=value)
        self.scheduler.tell(Finished(lease.worker, result))

    def lose(self, lease: Lease, cause: str, *, is_crash: bool) -> None:
        self.scheduler.tell(WorkerDied(lease.worker, DeathCause(cause, blames_unit=is_crash)))


async def settle() -> None:
    """Let everybody who can go on do so."""
    for _ in range(5):
        await asyncio.sleep(0)


async def answer_of(caller: asyncio.Task[ResultUnit]) -> ResultUnit:
    """Return the answer that has been given, or is about to be."""
    async with asyncio.timeout(patience(5)):
        return await caller
