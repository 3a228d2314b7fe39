"""The engine's side of the workers, on a real socket, with workers played by hand."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import time
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from gaia.validator.app.meeting.rendezvous import Board, DeathReport, publish, short_directory
from gaia.validator.app.pool.compute_pool import ComputePool
from gaia.validator.app.pool.job_events import Tick
from gaia.validator.utils.ipc_types import (
    Ack,
    Dismissed,
    Failure,
    FrameReader,
    Hello,
    LeaveRequest,
    ResultUnit,
    ToEngine,
    ToWorker,
    Welcome,
    WorkUnit,
    encode_frame,
)
from tests.support.patience import patience

PATIENCE_S = 10.0


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


@pytest.fixture
async def meeting(tmp_path: Path) -> AsyncIterator[Meeting]:
    folder = short_directory(tmp_path / "run", "pool.sock")
    folder.mkdir(exist_ok=True)
    path = folder / "pool.sock"
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()
    meeting = Meeting(await a_pool(path, listener), path, listener)
    yield meeting
    await meeting.pool.close()
    listener.close()
    shutil.rmtree(folder)


def a_unit(job_id: str = "a", *, timeout_s: float = 60.0, **payload: Any) -> WorkUnit:
    return WorkUnit(
        job_id=job_id, handler="test.echo", payload=payload, deadline_at=time.time() + patience(timeout_s)
    )


def an_answer(job_id: str = "a", attempt: int = 1) -> ResultUnit:
    return ResultUnit(job_id=job_id, attempt=attempt, value={"x": 1})


async def test_unit_goes_to_a_worker_and_its_result_comes_back(meeting: Meeting) -> None:
    worker = await meeting.join()
    unit = a_unit(x=1)

    asked = meeting.ask(unit)

    assert await worker.hear() == unit
    assert (meeting.pool.workers, meeting.pool.busy, meeting.pool.queue_depth) == (1, 1, 0)
    worker.say(an_answer())
    assert await asked == an_answer()
    assert await worker.hear() == Ack(job_id="a", attempt=1)
    assert meeting.pool.busy == 0
    await worker.hang_up()


async def test_unit_that_follows_at_once_is_sent_in_place_of_an_acknowledgement(meeting: Meeting) -> None:
    worker = await meeting.join()

    async def one_after_the_other() -> None:
        await meeting.pool.dispatch_and_wait(a_unit("a"))
        await meeting.pool.dispatch_and_wait(a_unit("b"))

    asking = asyncio.create_task(one_after_the_other())
    assert isinstance(await worker.hear(), WorkUnit)
    worker.say(an_answer("a"))
    heard = await worker.hear()
    worker.say(an_answer("b"))
    await asking

    assert isinstance(heard, WorkUnit)
    assert heard.job_id == "b"
    assert await worker.hear() == Ack(job_id="b", attempt=1)
    await worker.hang_up()


async def test_failure_is_a_result_and_not_raised(meeting: Meeting) -> None:
    worker = await meeting.join()
    asked = meeting.ask(a_unit())
    await worker.hear()

    failure = Failure(error_type="MinerFault", message="forecast lacks 2t")
    worker.say(ResultUnit(job_id="a", attempt=1, failure=failure))

    assert (await asked).failure == failure
    await worker.hang_up()


async def test_unit_waits_until_a_worker_comes(meeting: Meeting) -> None:
    asked = meeting.ask(a_unit())
    await asyncio.sleep(0)
    assert meeting.pool.queue_depth == 1

    worker = await meeting.join()
    await worker.hear()
    worker.say(an_answer())

    assert (await asked).succeeded
    await worker.hang_up()


async def test_all_who_ask_for_one_job_get_its_one_result(meeting: Meeting) -> None:
    worker = await meeting.join()
    asked = [meeting.ask(a_unit()) for _ in range(3)]
    await worker.hear()

    worker.say(an_answer())

    assert await asyncio.gather(*asked) == [an_answer()] * 3
    await worker.hang_up()


def tell_death(meeting: Meeting, *names: str, living: dict[str, int] | None = None) -> None:
    """Publish as the Supervisor does that these workers died."""
    deaths = [
        DeathReport(
            role="compute_worker", worker=name, pid=1, exit_code=-11, cause="signal 11", at=0.0, lived_s=1.0
        )
        for name in names
    ]
    publish(Board(workers=living or {}, deaths=deaths), meeting.path.parent / "board")


async def test_unit_of_a_worker_that_dies_goes_to_another_and_is_quarantined_in_the_end(
    meeting: Meeting,
) -> None:
    asked = meeting.ask(a_unit())
    for attempt in (1, 2):
        worker = await meeting.join(seat=attempt)
        unit = await worker.hear()
        assert isinstance(unit, WorkUnit)
        assert unit.attempt == attempt
        await worker.hang_up()
        # This process, which plays the worker, lives on: here the board alone tells.
        dead = (f"{seat}.1" for seat in range(1, attempt + 1))
        tell_death(meeting, *dead, living={f"{attempt + 1}.1": os.getpid()})

    result = await asked

    assert result.failure == Failure(
        error_type="QuarantinedError",
        message="test.echo killed 2 workers: attempt 1: signal 11 in 1.1; attempt 2: signal 11 in 2.1",
    )


async def test_unit_of_a_worker_that_hangs_up_and_lives_waits_for_its_return(meeting: Meeting) -> None:
    worker, other = await meeting.join(seat=1), await meeting.join(seat=2)
    asked = meeting.ask(a_unit())
    assert isinstance(await worker.hear(), WorkUnit)

    await worker.hang_up()
    worker = await meeting.join(seat=1, holding="a", attempt=1)
    worker.say(an_answer())

    assert await asked == an_answer()
    assert meeting.pool.workers == 2
    await worker.hang_up()
    await other.hang_up()


async def test_next_engine_knows_who_holds_what_and_does_not_run_it_again(meeting: Meeting) -> None:
    worker = await meeting.join()
    asked = meeting.ask(a_unit())
    assert isinstance(await worker.hear(), WorkUnit)
    publish(Board(workers={"0.1": os.getpid(), "1.1": os.getpid()}), meeting.path.parent / "board")

    successor = await meeting.replace_pool()
    asked.cancel()
    again = asyncio.create_task(successor.dispatch_and_wait(a_unit()))
    other = await meeting.join(seat=1)
    successor.tell(Tick(frozenset({"0.1", "1.1"})))
    assert (successor.busy, successor.queue_depth) == (1, 0)
    returned = await meeting.join(holding="a", attempt=1)
    returned.say(an_answer())

    assert await again == an_answer()
    for each in (worker, other, returned):
        await each.hang_up()


async def test_next_engine_runs_again_what_a_dead_worker_held(meeting: Meeting) -> None:
    worker = await meeting.join()
    asked = meeting.ask(a_unit())
    assert isinstance(await worker.hear(), WorkUnit)
    tell_death(meeting, "0.1", living={"1.1": os.getpid()})

    successor = await meeting.replace_pool()
    asked.cancel()
    again = asyncio.create_task(successor.dispatch_and_wait(a_unit()))
    other = await meeting.join(seat=1)

    unit = await other.hear()
    assert isinstance(unit, WorkUnit)
    assert unit.attempt == 2
    other.say(an_answer(attempt=2))
    assert (await again).succeeded
    await worker.hang_up()
    await other.hang_up()


async def test_who_submits_more_than_the_queue_holds_waits_and_the_urgent_go_first(meeting: Meeting) -> None:
    meeting.pool.reconfigure(queue_limit=2, canary_interval_s=0.0)
    asked = [meeting.ask(a_unit(f"job{number}")) for number in range(4)]
    await asyncio.sleep(0)
    urgent = meeting.ask(msgspec.structs.replace(a_unit("urgent"), priority=1))
    await asyncio.sleep(0.01)
    assert meeting.pool.queue_depth == 2

    worker = await meeting.join()
    order = []
    for _ in range(5):
        while not isinstance(unit := await worker.hear(), WorkUnit):
            pass
        order.append(unit.job_id)
        assert meeting.pool.queue_depth <= 2
        worker.say(an_answer(unit.job_id))

    assert all(result.succeeded for result in await asyncio.gather(*asked, urgent))
    assert order == ["job0", "urgent", "job1", "job2", "job3"]
    await worker.hang_up()


async def test_unit_that_finds_no_room_before_its_deadline_fails(meeting: Meeting) -> None:
    meeting.pool.reconfigure(queue_limit=1, canary_interval_s=0.0)
    asked = meeting.ask(a_unit("first"))
    await asyncio.sleep(0)

    result = await meeting.pool.dispatch_and_wait(a_unit("second", timeout_s=0.05))

    assert result.failure is not None
    assert result.failure.error_type == "DeadlineExceeded"
    assert "no room" in result.failure.message
    asked.cancel()


async def test_result_held_from_an_earlier_engine_is_acknowledged_and_used(meeting: Meeting) -> None:
    worker = await meeting.join(holding="a", attempt=4)
    worker.say(an_answer(attempt=4))
    assert await worker.hear() == Ack(job_id="a", attempt=4)

    assert await meeting.pool.dispatch_and_wait(a_unit()) == an_answer(attempt=4)
    await worker.hang_up()


async def test_leaving_worker_is_let_go(meeting: Meeting) -> None:
    worker = await meeting.join()

    worker.say(LeaveRequest(reason="drain"))

    assert await worker.hear() == Dismissed()
    await worker.hang_up()


async def test_unit_that_finds_no_worker_fails_at_its_deadline(meeting: Meeting) -> None:
    result = await meeting.pool.dispatch_and_wait(a_unit(timeout_s=0.05))

    assert result.failure is not None
    assert result.failure.error_type == "DeadlineExceeded"


async def test_unit_that_cannot_be_sent_fails_and_the_worker_stays(meeting: Meeting) -> None:
    worker = await meeting.join()

    result = await meeting.pool.dispatch_and_wait(a_unit(value=object()))

    assert result.failure is not None
    assert result.failure.error_type == "TypeError"
    assert await worker.hear() == Ack(job_id="a", attempt=1)
    asked = meeting.ask(a_unit("b"))
    assert isinstance(await worker.hear(), WorkUnit)
    worker.say(an_answer("b"))
    assert (await asked).succeeded
    await worker.hang_up()


async def test_cancelled_caller_takes_the_waiting_unit_along(meeting: Meeting) -> None:
    asked = meeting.ask(a_unit())
    await asyncio.sleep(0)

    asked.cancel()
    await asyncio.gather(asked, return_exceptions=True)

    assert meeting.pool.queue_depth == 0


@pytest.mark.parametrize(
    "nonsense",
    [
        pytest.param(b"\xff" * 8, id="a frame without end"),
        pytest.param(b"\x00\x00\x00\x01\xc0", id="no message"),
        pytest.param(encode_frame(LeaveRequest(reason="drain")), id="a stranger"),
        pytest.param(encode_frame(Hello(seat=0, incarnation=1, pid=1)), id="the pid of another"),
    ],
)
async def test_stranger_is_hung_up_on(meeting: Meeting, nonsense: bytes) -> None:
    stranger = await Worker.connect(meeting.path)

    stranger.say_bytes(nonsense)

    assert await stranger.hear() is None
    assert meeting.pool.workers == 0
    await stranger.hang_up()


async def test_worker_under_the_name_of_another_is_hung_up_on(meeting: Meeting) -> None:
    publish(Board(workers={"0.1": os.getppid(), "1.1": os.getpid()}), meeting.path.parent / "board")

    impostor, honest = await meeting.join(seat=0), await meeting.join(seat=1)

    assert await impostor.hear() is None
    asked = meeting.ask(a_unit())
    assert isinstance(await honest.hear(), WorkUnit)
    honest.say(an_answer())
    assert (await asked).succeeded
    await impostor.hang_up()
    await honest.hang_up()


async def test_worker_that_the_board_does_not_name_yet_is_admitted_once_it_does(meeting: Meeting) -> None:
    publish(Board(workers={"1.1": os.getpid()}), meeting.path.parent / "board")
    early = await meeting.join(holding="a", attempt=1)
    early.say(an_answer(), LeaveRequest(reason="drain"))
    asked = meeting.ask(a_unit())
    other = await meeting.join(seat=1)
    assert isinstance(await other.hear(), WorkUnit)
    assert meeting.pool.workers == 1

    publish(Board(workers={"0.1": os.getpid(), "1.1": os.getpid()}), meeting.path.parent / "board")

    heard = {type(await early.hear()), type(await early.hear())}
    assert heard == {Ack, Dismissed}
    other.say(an_answer())
    assert (await asked).succeeded
    await early.hang_up()
    await other.hang_up()


async def test_worker_is_welcomed_before_it_is_given_a_unit(meeting: Meeting) -> None:
    asked = meeting.ask(a_unit())
    worker = await meeting.join()

    assert isinstance(await worker.hear_all(), Welcome)
    assert isinstance(await worker.hear_all(), WorkUnit)
    worker.say(an_answer())
    assert (await asked).succeeded
    await worker.hang_up()


async def test_worker_that_says_anew_who_it_is_is_hung_up_on(meeting: Meeting) -> None:
    worker = await meeting.join(seat=0)

    worker.say(Hello(seat=1, incarnation=1, pid=os.getpid()))

    assert await worker.hear() is None
    assert meeting.pool.workers == 0
    await worker.hang_up()


async def test_pool_that_closes_hangs_up_on_those_too_that_have_not_said_who_they_are(
    meeting: Meeting,
) -> None:
    stranger = await Worker.connect(meeting.path)
    known = await meeting.join()
    asked = meeting.ask(a_unit())
    await known.hear()

    await meeting.pool.close()

    assert await stranger.hear() is None
    asked.cancel()
    await stranger.hang_up()
    await known.hang_up()


async def test_later_connection_of_a_worker_takes_the_place_of_the_earlier(meeting: Meeting) -> None:
    earlier = await meeting.join()
    asked = meeting.ask(a_unit())
    assert isinstance(await earlier.hear(), WorkUnit)

    later = await meeting.join()

    unit = await later.hear()
    assert isinstance(unit, WorkUnit)
    assert unit.attempt == 1
    assert await earlier.hear() is None
    later.say(an_answer())
    assert (await asked).succeeded
    assert meeting.pool.workers == 1
    await earlier.hang_up()
    await later.hang_up()


async def test_worker_that_lives_but_never_connects_is_killed(tmp_path: Path) -> None:
    folder = short_directory(tmp_path / "run", "pool.sock")
    folder.mkdir(exist_ok=True)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(folder / "pool.sock"))
    silent = await asyncio.create_subprocess_exec("sleep", "60")
    publish(Board(workers={"0.1": silent.pid}), tmp_path / "board")
    pool = ComputePool(SimpleNamespace(unit_crash_limit=3, unit_timeout_s=0.01), tmp_path / "board")

    await pool.start(listener)

    async with asyncio.timeout(patience(PATIENCE_S)):
        assert await silent.wait() == -signal.SIGKILL
    await pool.close()
    (folder / "pool.sock").unlink()
    folder.rmdir()
