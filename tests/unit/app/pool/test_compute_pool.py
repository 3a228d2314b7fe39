"""What the pool does with units, on a real socket, with workers played by hand."""

from __future__ import annotations

import asyncio
import os

import msgspec

from gaia.validator.app.meeting.rendezvous import Board, publish
from gaia.validator.app.pool.job_events import Tick
from gaia.validator.utils.identities import JobId, worker_id
from gaia.validator.utils.ipc_types import Ack, Dismissed, Failure, LeaveRequest, ResultUnit, WorkUnit
from tests.support.pool_meeting import FIRST, OTHER, A, B, Meeting, a_unit, an_answer, tell_death


async def test_unit_goes_to_a_worker_and_its_result_comes_back(meeting: Meeting) -> None:
    worker = await meeting.join()
    unit = a_unit(x=1)

    asked = meeting.ask(unit)

    assert await worker.hear() == unit
    assert (meeting.pool.workers, meeting.pool.busy, meeting.pool.queue_depth) == (1, 1, 0)
    worker.say(an_answer())
    assert await asked == an_answer()
    assert await worker.hear() == Ack(job_id=A, attempt=1)
    assert meeting.pool.busy == 0
    await worker.hang_up()


async def test_unit_that_follows_at_once_is_sent_in_place_of_an_acknowledgement(meeting: Meeting) -> None:
    worker = await meeting.join()

    async def one_after_the_other() -> None:
        await meeting.pool.dispatch_and_wait(a_unit(A))
        await meeting.pool.dispatch_and_wait(a_unit(B))

    asking = asyncio.create_task(one_after_the_other())
    assert isinstance(await worker.hear(), WorkUnit)
    worker.say(an_answer(A))
    heard = await worker.hear()
    worker.say(an_answer(B))
    await asking

    assert isinstance(heard, WorkUnit)
    assert heard.job_id == B
    assert await worker.hear() == Ack(job_id=B, attempt=1)
    await worker.hang_up()


async def test_failure_is_a_result_and_not_raised(meeting: Meeting) -> None:
    worker = await meeting.join()
    asked = meeting.ask(a_unit())
    await worker.hear()

    failure = Failure(error_type="MinerFault", message="forecast lacks 2t")
    worker.say(ResultUnit(job_id=A, attempt=1, failure=failure))

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
        dead = (worker_id(seat, 1) for seat in range(1, attempt + 1))
        tell_death(meeting, *dead, living={worker_id(attempt + 1, 1): os.getpid()})

    result = await asked

    assert result.failure == Failure(
        error_type="QuarantinedError",
        message="test.echo killed 2 workers: attempt 1: signal 11 in compute_worker 1.1; attempt 2: signal 11 in compute_worker 2.1",
    )


async def test_unit_of_a_worker_that_hangs_up_and_lives_waits_for_its_return(meeting: Meeting) -> None:
    worker, other = await meeting.join(seat=1), await meeting.join(seat=2)
    asked = meeting.ask(a_unit())
    assert isinstance(await worker.hear(), WorkUnit)

    await worker.hang_up()
    worker = await meeting.join(seat=1, holding=A, attempt=1)
    worker.say(an_answer())

    assert await asked == an_answer()
    assert meeting.pool.workers == 2
    await worker.hang_up()
    await other.hang_up()


async def test_next_engine_knows_who_holds_what_and_does_not_run_it_again(meeting: Meeting) -> None:
    worker = await meeting.join()
    asked = meeting.ask(a_unit())
    assert isinstance(await worker.hear(), WorkUnit)
    publish(Board(workers={FIRST: os.getpid(), OTHER: os.getpid()}), meeting.path.parent / "board")

    successor = await meeting.replace_pool()
    asked.cancel()
    again = asyncio.create_task(successor.dispatch_and_wait(a_unit()))
    other = await meeting.join(seat=1)
    successor.tell(Tick(frozenset({FIRST, OTHER})))
    assert (successor.busy, successor.queue_depth) == (1, 0)
    returned = await meeting.join(holding=A, attempt=1)
    returned.say(an_answer())

    assert await again == an_answer()
    for each in (worker, other, returned):
        await each.hang_up()


async def test_next_engine_runs_again_what_a_dead_worker_held(meeting: Meeting) -> None:
    worker = await meeting.join()
    asked = meeting.ask(a_unit())
    assert isinstance(await worker.hear(), WorkUnit)
    tell_death(meeting, FIRST, living={OTHER: os.getpid()})

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
    asked = [meeting.ask(a_unit(JobId(f"job{number}"))) for number in range(4)]
    await asyncio.sleep(0)
    urgent = meeting.ask(msgspec.structs.replace(a_unit(JobId("urgent")), priority=1))
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
    asked = meeting.ask(a_unit(A))
    await asyncio.sleep(0)

    result = await meeting.pool.dispatch_and_wait(a_unit(B, timeout_s=0.05))

    assert result.failure is not None
    assert result.failure.error_type == "DeadlineExceeded"
    assert "no room" in result.failure.message
    asked.cancel()


async def test_result_held_from_an_earlier_engine_is_acknowledged_and_used(meeting: Meeting) -> None:
    worker = await meeting.join(holding=A, attempt=4)
    worker.say(an_answer(attempt=4))
    assert await worker.hear() == Ack(job_id=A, attempt=4)

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
    assert await worker.hear() == Ack(job_id=A, attempt=1)
    asked = meeting.ask(a_unit(B))
    assert isinstance(await worker.hear(), WorkUnit)
    worker.say(an_answer(B))
    assert (await asked).succeeded
    await worker.hang_up()


async def test_cancelled_caller_takes_the_waiting_unit_along(meeting: Meeting) -> None:
    asked = meeting.ask(a_unit())
    await asyncio.sleep(0)

    asked.cancel()
    await asyncio.gather(asked, return_exceptions=True)

    assert meeting.pool.queue_depth == 0
