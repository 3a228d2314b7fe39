"""One worker on a real socket: what it answers, what it keeps, and when it leaves."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from gaia.validator.app import compute_worker
from gaia.validator.app.compute_worker import ComputeWorker, find_handler
from gaia.validator.app.meeting.rendezvous import short_directory
from gaia.validator.app.supervisor_options import WorkerOrders
from gaia.validator.app.worker_guard import Note, WorkerGuard
from gaia.validator.utils.identities import JobId
from gaia.validator.utils.ipc_types import (
    CANARY,
    Ack,
    Dismissed,
    Hello,
    LeaveRequest,
    Welcome,
    WorkUnit,
)
from tests.support.engine_by_hand import Engine
from tests.support.patience import patience

HANDLERS = "tests.support.handlers"
PATIENCE_S = 10.0


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    folder = short_directory(tmp_path / "run", "pool.sock")
    folder.mkdir(exist_ok=True)
    served = Engine(folder / "pool.sock")
    yield served
    served.close()
    served.path.unlink()
    folder.rmdir()


def orders(path: Path, max_jobs: int = 1000, idle_s: float = 0.0) -> WorkerOrders:
    return WorkerOrders(
        seat=4,
        incarnation=7,
        socket_path=str(path),
        max_jobs=max_jobs,
        handlers=HANDLERS,
        idle_s=idle_s,
    )


class Running:
    """A worker on a thread."""

    def __init__(self, path: Path, max_jobs: int = 1000) -> None:
        self.worker = ComputeWorker(orders(path, max_jobs))
        self.thread = threading.Thread(target=self.worker.run)
        self.thread.start()

    def join(self) -> None:
        self.thread.join(patience(PATIENCE_S))
        assert not self.thread.is_alive(), "the worker did not leave"


@pytest.fixture
def running(engine: Engine) -> Iterator[Running]:
    worker = Running(engine.path)
    yield worker
    worker.worker.drain()
    engine.close()
    worker.join()


def a_unit(handler: str = "test.echo", job_id: str = "a", attempt: int = 1, **payload: Any) -> WorkUnit:
    return WorkUnit(job_id=JobId(job_id), handler=handler, payload=payload, deadline_at=1e12, attempt=attempt)


def test_worker_says_who_it_is(engine: Engine, running: Running) -> None:
    assert engine.accept() == Hello(seat=4, incarnation=7, pid=os.getpid())


def test_worker_runs_the_handler_and_measures_it(engine: Engine, running: Running) -> None:
    engine.accept()

    engine.say(a_unit("test.spin", attempt=2, seconds=0.05))
    result = engine.hear_result()

    assert (result.job_id, result.attempt, result.worker_pid) == ("a", 2, os.getpid())
    assert result.unwrap() == {"pid": os.getpid()}
    assert result.wall_s >= 0.05
    assert result.cpu_s > 0
    assert result.peak_rss_bytes > 2**20


@pytest.mark.parametrize(
    ("handler", "error_type", "message"),
    [
        ("test.miner_fault", "MinerFault", "forecast lacks 2t"),
        ("test.bug", "ZeroDivisionError", "by design"),
        ("test.unknown", "KeyError", "'unknown'"),
        ("test.unsendable", "TypeError", "Encoding objects of type object is unsupported"),
    ],
)
def test_worker_answers_an_error_with_its_type(
    engine: Engine, running: Running, handler: str, error_type: str, message: str
) -> None:
    engine.accept()

    engine.say(a_unit(handler))
    result = engine.hear_result()

    assert result.failure is not None
    assert (result.failure.error_type, result.failure.message) == (error_type, message)
    assert result.value is None


def test_worker_brings_the_failure_of_an_unsendable_value_to_the_next_engine(
    engine: Engine, running: Running
) -> None:
    engine.accept()
    engine.say(a_unit("test.unsendable"))
    first = engine.hear_result()

    assert engine.accept().holding == "a"
    assert engine.hear_result() == first


def test_worker_goes_on_after_an_error(engine: Engine, running: Running) -> None:
    engine.accept()
    engine.say(a_unit("test.bug"))
    engine.acknowledge(engine.hear_result())

    engine.say(a_unit("test.echo", "b", x=1))

    assert engine.hear_result().unwrap()["x"] == 1


def test_worker_brings_its_result_to_the_next_engine_until_it_is_acknowledged(
    engine: Engine, running: Running
) -> None:
    engine.accept()
    engine.say(a_unit(attempt=3))
    first = engine.hear_result()

    hello = engine.accept()
    again = engine.hear_result()

    assert (hello.holding, hello.attempt) == ("a", 3)
    assert again == first
    engine.acknowledge(again)
    engine.say(a_unit(job_id="b"))
    engine.hear_result()
    engine.say(Ack(job_id=JobId("b"), attempt=1))


def test_worker_holds_nothing_after_the_acknowledgement(engine: Engine, running: Running) -> None:
    engine.accept()
    engine.say(a_unit())
    engine.acknowledge(engine.hear_result())

    # The end of the connection is read after the acknowledgement.
    assert engine.accept().holding == ""


def test_worker_keeps_its_result_when_another_attempt_is_acknowledged(
    engine: Engine, running: Running
) -> None:
    engine.accept()
    engine.say(a_unit(attempt=2))
    engine.hear_result()
    engine.say(Ack(job_id=JobId("a"), attempt=1))

    assert engine.accept().holding == "a"


def test_worker_connects_anew_when_the_engine_speaks_nonsense(engine: Engine, running: Running) -> None:
    engine.accept()

    engine.say_bytes(b"\xff" * 8)

    assert engine.accept().seat == 4


def test_worker_asks_to_be_replaced_after_its_last_unit(engine: Engine) -> None:
    running = Running(engine.path, max_jobs=2)
    engine.accept()
    engine.say(a_unit(job_id="a"))
    engine.acknowledge(engine.hear_result())

    engine.say(a_unit(job_id="b"))

    # Before the last answer, which the engine would answer with another unit.
    assert engine.hear() == LeaveRequest(reason="max_jobs")
    engine.acknowledge(engine.hear_result())
    engine.say(Dismissed())
    running.join()


def test_drained_worker_asks_the_next_engine_too_to_leave(engine: Engine) -> None:
    running = Running(engine.path, max_jobs=1)
    engine.accept()
    engine.say(a_unit())
    assert engine.hear() == LeaveRequest(reason="max_jobs")
    result = engine.hear_result()

    assert engine.accept().holding == "a"

    assert engine.hear() == LeaveRequest(reason="max_jobs")
    assert engine.hear_result() == result
    engine.acknowledge(result)
    engine.say(Dismissed())
    running.join()


def test_drained_worker_leaves_when_it_is_let_go(engine: Engine) -> None:
    running = Running(engine.path)
    engine.accept()

    running.worker.drain()

    assert engine.hear() == LeaveRequest(reason="drain")
    engine.say(Dismissed())
    running.join()


def test_drained_worker_still_does_the_unit_that_crossed_its_request_to_leave(engine: Engine) -> None:
    running = Running(engine.path)
    engine.accept()
    running.worker.drain()
    assert engine.hear() == LeaveRequest(reason="drain")

    engine.say(a_unit())

    engine.acknowledge(engine.hear_result())
    engine.say(Dismissed())
    running.join()


def test_drained_worker_does_not_wait_for_ever_for_an_engine_that_is_gone(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compute_worker, "_FAREWELL_S", 0.05)
    running = Running(engine.path)
    engine.accept()
    engine.hang_up()

    running.worker.drain()

    running.join()


def test_drained_worker_leaves_when_nobody_listens_any_more(engine: Engine) -> None:
    running = Running(engine.path)
    engine.accept()
    engine.close()

    running.worker.drain()

    running.join()


class Watched(Running):
    """A worker whose notes we read, as the Supervisor does."""

    def __init__(self, path: Path, *, max_jobs: int = 1000, idle_s: float = 0.0) -> None:
        self.notes, self._sender = multiprocessing.Pipe(duplex=False)
        self.worker = ComputeWorker(orders(path, max_jobs, idle_s), notes=self._sender)
        self.thread = threading.Thread(target=self.worker.run)
        self.thread.start()

    def heard(self) -> bytes:
        assert self.notes.poll(patience(PATIENCE_S))
        return os.read(self.notes.fileno(), 64)

    def end(self, engine: Engine) -> None:
        self.worker.drain()
        engine.close()
        self.join()
        self.notes.close()
        self._sender.close()


def test_worker_with_a_supervisor_tells_it_that_it_is_due_and_goes_on_serving(engine: Engine) -> None:
    watched = Watched(engine.path, max_jobs=2)
    engine.accept()
    assert watched.heard() == Note.CONNECTED.value

    for job_id in "abcd":
        engine.say(a_unit(job_id=job_id))
        engine.acknowledge(engine.hear_result())

    assert watched.heard() == Note.MAX_JOBS.value
    watched.end(engine)


def test_worker_that_had_nothing_to_do_for_long_tells_the_supervisor_once(engine: Engine) -> None:
    watched = Watched(engine.path, idle_s=0.05)
    engine.accept()
    assert watched.heard() == Note.CONNECTED.value

    engine.say(a_unit())
    engine.acknowledge(engine.hear_result())

    assert watched.heard() == Note.IDLE.value
    watched.end(engine)


def test_worker_tells_the_supervisor_once_that_an_engine_has_taken_it_in(engine: Engine) -> None:
    watched = Watched(engine.path)
    engine.accept()
    assert watched.heard() == Note.CONNECTED.value

    engine.say(Welcome())

    assert watched.heard() == Note.ADMITTED.value
    engine.accept()
    engine.say(Welcome())
    engine.say(a_unit())
    engine.hear_result()
    assert not watched.notes.poll()
    watched.end(engine)


def test_canary_runs_in_every_worker_and_is_no_unit(engine: Engine) -> None:
    watched = Watched(engine.path, max_jobs=1)
    engine.accept()

    engine.say(a_unit(CANARY))

    assert engine.hear_result().unwrap() == {}
    engine.say(a_unit(CANARY, "b"))
    engine.hear_result()
    assert watched.heard() == Note.CONNECTED.value
    watched.end(engine)


class Alarm:
    """A guard that only notes whether its alarm is set."""

    def __init__(self) -> None:
        self.is_armed = False
        self.rested = threading.Event()

    def arm(self, deadline_at: float) -> None:
        self.is_armed = True

    def disarm(self) -> None:
        """Leave it set, as the alarm of a unit with much time left."""

    def rest(self) -> None:
        if self.is_armed:
            self.is_armed = False
            self.rested.set()

    def tidy(self, wall_s: float) -> None:
        """Have nothing to give back."""


def test_worker_to_whom_no_other_unit_comes_takes_the_alarm_back(engine: Engine) -> None:
    alarm = Alarm()
    worker = ComputeWorker(orders(engine.path), guard=cast("WorkerGuard", alarm))
    thread = threading.Thread(target=worker.run)
    thread.start()
    engine.accept()
    engine.say(a_unit())
    engine.hear_result()

    assert alarm.rested.wait(patience(PATIENCE_S))

    alarm.rested.clear()
    engine.say(a_unit(job_id="b"))
    engine.hear_result()
    engine.accept()
    assert alarm.rested.wait(patience(PATIENCE_S))
    engine.say(Dismissed())
    thread.join(patience(PATIENCE_S))
    assert not thread.is_alive()


def test_handler_is_looked_up_by_name() -> None:
    assert find_handler(HANDLERS, "test.echo")({"x": 1})["x"] == 1


def test_worker_loads_no_network_library() -> None:
    show = "import sys, gaia.validator.app.compute_worker; print(*sys.modules)"

    loaded = set(subprocess.check_output([sys.executable, "-c", show], text=True).split())

    assert not loaded & {"httpx", "asyncpg", "uvloop", "bittensor", "aiohttp", "requests", "pydantic"}
