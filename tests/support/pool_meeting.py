"""A compute pool on a real socket, and workers played by hand."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from gaia.validator.app.meeting.rendezvous import Board, DeathReport, publish
from gaia.validator.app.pool.compute_pool import ComputePool
from gaia.validator.utils.identities import JobId, WorkerId, worker_id
from gaia.validator.utils.ipc_types import (
    FrameReader,
    Hello,
    ResultUnit,
    ToEngine,
    ToWorker,
    Welcome,
    WorkUnit,
    encode_frame,
)
from tests.support.patience import patience

PATIENCE_S = 10.0
A, B = map(JobId, "ab")
FIRST, OTHER = worker_id(0, 1), worker_id(1, 1)


class Meeting:
    """A pool and the path at which workers find it."""

    def __init__(self, pool: ComputePool, path: Path, listener: socket.socket) -> None:
        self.pool = pool
        self.path = path
        self.listener = listener

    async def join(self, seat: int = 0, **hello: Any) -> Worker:
        """Connect as a worker and say who we are."""
        worker = await Worker.connect(self.path)
        worker.say(Hello(**{"seat": seat, "incarnation": 1, "pid": os.getpid(), **hello}))
        return worker

    async def replace_pool(self) -> ComputePool:
        """Let the engine die and another take its place: what was in memory is gone."""
        await self.pool.close()
        self.pool = await a_pool(self.path, self.listener)
        return self.pool

    def ask(self, unit: WorkUnit) -> asyncio.Task[ResultUnit]:
        return asyncio.create_task(self.pool.dispatch_and_wait(unit))


class Worker:
    """A worker's end of the connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._frames: FrameReader[ToWorker] = FrameReader(ToWorker)
        self._heard: list[ToWorker] = []

    @classmethod
    async def connect(cls, path: Path) -> Worker:
        return cls(*await asyncio.open_unix_connection(path))

    def say(self, *messages: ToEngine) -> None:
        self.say_bytes(b"".join(map(encode_frame, messages)))

    def say_bytes(self, data: bytes) -> None:
        self._writer.write(data)

    async def hear(self) -> ToWorker | None:
        """Return the engine's next word after its welcome; None once it has hung up."""
        word = await self.hear_all()
        return await self.hear_all() if isinstance(word, Welcome) else word

    async def hear_all(self) -> ToWorker | None:
        """Return the engine's next word; None once it has hung up."""
        async with asyncio.timeout(patience(PATIENCE_S)):
            while not self._heard:
                try:
                    data = await self._reader.read(65536)
                except ConnectionResetError:
                    return None
                if not data:
                    return None
                self._heard += self._frames.feed(data)
        return self._heard.pop(0)

    async def hang_up(self) -> None:
        self._writer.close()
        with contextlib.suppress(ConnectionError):
            await self._writer.wait_closed()


async def a_pool(path: Path, listener: socket.socket) -> ComputePool:
    pool = ComputePool(SimpleNamespace(unit_crash_limit=2, unit_timeout_s=60.0), path.parent / "board")
    await pool.start(listener.dup())
    return pool


def a_unit(job_id: JobId = A, *, timeout_s: float = 60.0, **payload: Any) -> WorkUnit:
    return WorkUnit(
        job_id=job_id, handler="test.echo", payload=payload, deadline_at=time.time() + patience(timeout_s)
    )


def an_answer(job_id: JobId = A, attempt: int = 1) -> ResultUnit:
    return ResultUnit(job_id=job_id, attempt=attempt, value={"x": 1})


def tell_death(meeting: Meeting, *names: WorkerId, living: dict[WorkerId, int] | None = None) -> None:
    """Publish as the Supervisor does that these workers died."""
    deaths = [
        DeathReport(
            role="compute_worker", worker=name, pid=1, exit_code=-11, cause="signal 11", at=0.0, lived_s=1.0
        )
        for name in names
    ]
    publish(Board(workers=living or {}, deaths=deaths), meeting.path.parent / "board")
