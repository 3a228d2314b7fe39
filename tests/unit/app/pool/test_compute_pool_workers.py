"""Which workers the pool admits, and on whom it hangs up, on a real socket."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from pathlib import Path
from types import SimpleNamespace

import pytest

from gaia.validator.app.meeting.rendezvous import Board, publish, short_directory
from gaia.validator.app.pool.compute_pool import ComputePool
from gaia.validator.utils.identities import WorkerId
from gaia.validator.utils.ipc_types import (
    Ack,
    Dismissed,
    Hello,
    LeaveRequest,
    Retire,
    Welcome,
    WorkUnit,
    encode_frame,
)
from tests.support.patience import patience
from tests.support.pool_meeting import FIRST, OTHER, PATIENCE_S, A, Meeting, Worker, a_unit, an_answer


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
    publish(Board(workers={FIRST: os.getppid(), OTHER: os.getpid()}), meeting.path.parent / "board")

    impostor, honest = await meeting.join(seat=0), await meeting.join(seat=1)

    assert await impostor.hear() is None
    asked = meeting.ask(a_unit())
    assert isinstance(await honest.hear(), WorkUnit)
    honest.say(an_answer())
    assert (await asked).succeeded
    await impostor.hang_up()
    await honest.hang_up()


async def test_worker_that_the_board_does_not_name_yet_is_admitted_once_it_does(meeting: Meeting) -> None:
    publish(Board(workers={OTHER: os.getpid()}), meeting.path.parent / "board")
    early = await meeting.join(holding=A, attempt=1)
    early.say(an_answer(), LeaveRequest(reason="drain"))
    asked = meeting.ask(a_unit())
    other = await meeting.join(seat=1)
    assert isinstance(await other.hear(), WorkUnit)
    assert meeting.pool.workers == 1

    publish(Board(workers={FIRST: os.getpid(), OTHER: os.getpid()}), meeting.path.parent / "board")

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
    publish(Board(workers={FIRST: silent.pid}), tmp_path / "board")
    pool = ComputePool(SimpleNamespace(unit_crash_limit=3, unit_timeout_s=0.01), tmp_path / "board")

    await pool.start(listener)

    async with asyncio.timeout(patience(PATIENCE_S)):
        assert await silent.wait() == -signal.SIGKILL
    await pool.close()
    (folder / "pool.sock").unlink()
    folder.rmdir()


async def test_only_workers_without_a_unit_are_named_as_idle(meeting: Meeting) -> None:
    workers = await meeting.join(seat=0), await meeting.join(seat=1)
    assert [await worker.hear_all() for worker in workers] == [Welcome(), Welcome()]
    names: list[WorkerId] = sorted(meeting.pool._connections)
    publish(Board(workers={name: 2**22 + at for at, name in enumerate(names)}), meeting.path.parent / "board")
    before = meeting.pool.idle_workers()
    asked = meeting.ask(a_unit())
    (holder,) = await _holders(meeting)

    during = meeting.pool.idle_workers()

    assert before == {name: 2**22 + at for at, name in enumerate(names)}
    assert during == {name: pid for name, pid in before.items() if name != holder}
    # A cancelled unit would have its worker killed, which is this very process.
    busy = workers[names.index(WorkerId(holder))]
    assert isinstance(await busy.hear(), WorkUnit)
    busy.say(an_answer())
    await asked
    for worker in workers:
        await worker.hang_up()


async def test_worker_that_is_to_be_replaced_is_told_so(meeting: Meeting) -> None:
    worker = await meeting.join()
    assert await worker.hear_all() == Welcome()
    (name,) = meeting.pool._connections

    meeting.pool.retire(WorkerId(name))
    meeting.pool.retire(WorkerId("9.9"))

    assert await worker.hear() == Retire()
    await worker.hang_up()


async def _holders(meeting: Meeting) -> list[str]:
    async with asyncio.timeout(patience(10.0)):
        while not meeting.pool._ledger.holders:
            await asyncio.sleep(0)
    return list(meeting.pool._ledger.holders)
