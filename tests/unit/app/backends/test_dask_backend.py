"""The hands on a cluster, with a client that stands for the library's."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Generator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from gaia.validator.app.backends.dask_backend import DaskBackend
from gaia.validator.app.backends.remote import describe_site, end_worker, is_guarding
from gaia.validator.app.pool.job_ledger import JobLedger
from gaia.validator.utils.ipc_types import FrameReader, ResultUnit, WorkUnit, encode_frame
from tests.support.builders import a_unit
from tests.support.job_queues import answer_of
from tests.support.patience import patience

ADDRESS = "tcp://10.0.0.1:4711"


class KilledWorker(Exception):
    """The scheduler's own verdict."""


class Task:
    """A task at the scheduler."""

    def __init__(self, frame: bytes, key: str) -> None:
        self.key = key
        units: FrameReader[WorkUnit] = FrameReader(WorkUnit)
        (self.unit,) = units.feed(frame)
        self.done: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def __await__(self) -> Generator[Any, None, bytes]:
        return self.done.__await__()

    def answer(self) -> None:
        result = ResultUnit(job_id=self.unit.job_id, attempt=self.unit.attempt, value={})
        self.done.set_result(encode_frame(result))


class Client:
    """A client of a scheduler with one worker that no nanny guards."""

    status = "running"
    scheduler_comm = object()

    def __init__(self, *_: object, **__: object) -> None:
        self.scheduler = self
        self.tasks: list[Task] = []
        self.killed: list[str] = []
        self.fault: Exception | None = None
        clients.append(self)

    def __await__(self) -> Generator[Any, None, Client]:
        yield from asyncio.sleep(0).__await__()
        return self

    async def identity(self) -> dict[str, Any]:
        return {"workers": {ADDRESS: {"resources": {}, "status": "running", "nanny": None}}}

    def subscribe_topic(self, *_: object) -> None: ...

    def unsubscribe_topic(self, *_: object) -> None: ...

    async def run(self, function: Any, *arguments: Any, workers: list[str], **_: object) -> dict[str, Any]:
        if function is describe_site:
            return {worker: describe_site(*arguments) for worker in workers}
        if function is end_worker:
            self.killed += workers
            if self.fault is not None:
                raise self.fault
        assert function in (end_worker, is_guarding)
        return {}

    def submit(self, _: object, frame: bytes, *__: object, key: str, **___: object) -> Task:
        if self.fault is not None:
            raise self.fault
        self.tasks.append(Task(frame, key))
        return self.tasks[-1]

    async def cancel(self, *_: object, **__: object) -> None: ...

    async def close(self) -> None: ...


clients: list[Client] = []


@pytest.fixture
async def backend(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> AsyncIterator[DaskBackend]:
    library = ModuleType("distributed")
    library.Client, library.KilledWorker = Client, KilledWorker  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "distributed", library)
    clients.clear()
    backend = DaskBackend(JobLedger(), ADDRESS, tmp_path)
    await backend.start()
    yield backend
    await backend.close()


async def until(condition: Any) -> None:
    async with asyncio.timeout(patience(10.0)):
        while not condition():
            await asyncio.sleep(0.005)


async def test_fault_of_the_client_is_the_answer_and_leaves_nobody_waiting(backend: DaskBackend) -> None:
    clients[0].fault = RuntimeError("by design")

    result = await answer_of(asyncio.create_task(backend.dispatch_and_wait(a_unit())))

    assert result.failure is not None
    assert (result.failure.error_type, result.failure.message) == ("RuntimeError", "by design")
    clients[0].fault = None
    asked = asyncio.create_task(backend.dispatch_and_wait(a_unit()))
    await until(lambda: clients[0].tasks)
    clients[0].tasks[0].answer()
    assert (await answer_of(asked)).succeeded


async def test_no_two_attempts_share_a_task(backend: DaskBackend) -> None:
    for number in range(2):
        asked = asyncio.create_task(backend.dispatch_and_wait(a_unit()))
        await until(lambda number=number: len(clients[0].tasks) > number)
        clients[0].tasks[-1].answer()
        await answer_of(asked)

    first, second = clients[0].tasks
    assert first.unit.attempt == second.unit.attempt
    assert first.key != second.key


@pytest.mark.parametrize("fault", [None, OSError("unreachable"), RuntimeError("by design")])
async def test_unit_that_nobody_can_kill_is_answered_at_its_deadline_and_its_worker_used_once_it_ends(
    backend: DaskBackend, fault: Exception | None
) -> None:
    late = asyncio.create_task(backend.dispatch_and_wait(a_unit("late", deadline_at=time.time() + 0.05)))
    await until(lambda: clients[0].tasks)
    clients[0].fault = fault
    result = await answer_of(late)
    assert result.failure is not None
    assert result.failure.error_type == "DeadlineExceeded"
    await until(lambda: clients[0].killed == [ADDRESS])
    clients[0].fault = None
    asked = asyncio.create_task(backend.dispatch_and_wait(a_unit("next")))
    await asyncio.sleep(0.1)
    assert (backend.queue_depth, backend.busy, backend.workers) == (1, 1, 0)

    clients[0].tasks[0].answer()
    await until(lambda: len(clients[0].tasks) == 2)
    clients[0].tasks[1].answer()

    assert (await answer_of(asked)).succeeded
    assert (backend.workers, backend.healthy_seats, backend.sandbox_level) == (1, 1, 0)
