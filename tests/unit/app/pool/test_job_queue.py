"""What every `JobQueue` promises behind a `Scheduler`; one that is added to `QUEUES` is held to the same."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import pytest

from gaia.validator.app.pool.job_events import Submitted, Tick, WorkerDied
from gaia.validator.app.pool.protocols import JobQueue
from tests.support.builders import a_unit
from tests.support.job_queues import CRASH_LIMIT, QUEUES, Lease, Takers, answer_of, settle


@pytest.fixture(params=QUEUES)
def takers(request: pytest.FixtureRequest) -> Takers:
    return Takers(QUEUES[request.param](), queue_limit=2)


async def test_unit_is_handed_out_once_and_answered_once(takers: Takers) -> None:
    unit = a_unit()
    caller = await takers.put(unit)
    lease = takers.take()

    assert lease.unit == unit
    assert (takers.queue.waiting, takers.queue.busy) == (0, 1)
    takers.answer(lease, x=1)
    takers.answer(lease, x=2)

    assert (await answer_of(caller)).value == {"x": 1}
    assert takers.queue.busy == 0


async def test_all_who_ask_for_one_job_get_its_one_answer(takers: Takers) -> None:
    callers = [await takers.put(a_unit()) for _ in range(2)]
    takers.answer(takers.take(), x=1)

    assert [(await answer_of(caller)).value for caller in callers] == [{"x": 1}, {"x": 1}]
    assert len(takers.given) == 1


async def test_holder_of_an_earlier_attempt_has_no_say_any_more(takers: Takers) -> None:
    caller = await takers.put(a_unit())
    first = takers.take()
    takers.lose(first, "it left", is_crash=False)
    second = takers.take()

    assert (first.unit.attempt, second.unit.attempt) == (1, 2)
    takers.answer(first, x=1)
    takers.lose(first, "late", is_crash=True)
    assert not caller.done()
    takers.answer(second, x=2)
    assert (await answer_of(caller)).value == {"x": 2}


async def test_answer_to_an_earlier_attempt_is_not_counted(takers: Takers) -> None:
    caller = await takers.put(a_unit())
    first = takers.take()
    takers.lose(first, "it left", is_crash=False)
    second = takers.take()

    takers.answer(Lease(second.worker, first.unit), x=1)
    await settle()

    assert not caller.done()
    takers.answer(takers.take(), x=2)
    assert (await answer_of(caller)).value == {"x": 2}


async def test_unit_that_crashed_too_often_is_quarantined_with_its_history(takers: Takers) -> None:
    caller = await takers.put(a_unit(handler="test.poison"))

    for cause in ("signal 11", "signal 9", "memory"):
        takers.lose(takers.take(), cause, is_crash=True)

    result = await answer_of(caller)
    assert result.failure is not None
    assert result.failure.error_type == "QuarantinedError"
    assert result.failure.message.startswith("test.poison killed 3 workers: ")
    assert all(cause in result.failure.message for cause in ("signal 11", "signal 9", "memory"))
    assert result.attempt == 3
    assert takers.queue.waiting == 0


async def test_losses_that_are_nobodys_crash_are_not_counted(takers: Takers) -> None:
    caller = await takers.put(a_unit())

    for _ in range(2 * CRASH_LIMIT):
        takers.lose(takers.take(), "the scheduler went away", is_crash=False)

    await settle()
    assert not caller.done()
    assert takers.queue.waiting == 1
    caller.cancel()


async def test_the_most_urgent_is_handed_out_first_and_equals_in_order(takers: Takers) -> None:
    takers.scheduler.limit_queue(0)
    for name, priority in (("c", 2), ("a", 1), ("d", 2), ("b", 1)):
        await takers.put(a_unit(name, priority=priority))

    assert [takers.take().unit.job_id for _ in range(4)] == ["a", "b", "c", "d"]


async def test_unit_that_comes_back_keeps_its_place_among_its_equals(takers: Takers) -> None:
    for name in ("a", "b"):
        await takers.put(a_unit(name))

    takers.lose(takers.take(), "it left", is_crash=False)

    assert takers.take().unit.job_id == "a"


async def test_idle_worker_gets_the_unit_that_comes(takers: Takers) -> None:
    worker = takers.come()
    assert not takers.given

    await takers.put(a_unit())

    assert takers.given[worker].job_id == "job"


async def test_unit_that_comes_once_a_worker_has_gone_is_left_to_the_next(takers: Takers) -> None:
    gone, next_one = takers.come(), takers.come()
    takers.scheduler.tell(WorkerDied(gone))

    await takers.put(a_unit())

    assert list(takers.given) == [next_one]


async def test_full_queue_lets_the_urgent_in_first(takers: Takers) -> None:
    for name in ("a", "b"):
        await takers.put(a_unit(name))
    for name, priority in (("later", 100), ("urgent", 1)):
        await takers.put(a_unit(name, priority=priority))
    assert takers.queue.waiting == 2

    takers.take()
    await settle()

    assert takers.queue.waiting == 2
    assert [takers.take().unit.job_id for _ in range(2)] == ["urgent", "b"]


async def test_room_left_to_somebody_who_has_gone_goes_to_the_next_by_the_next_tick(takers: Takers) -> None:
    for name in ("a", "b"):
        await takers.put(a_unit(name))
    gone, _ = [await takers.put(a_unit(name)) for name in ("c", "d")]

    takers.take()
    gone.cancel()
    await settle()
    takers.scheduler.tell(Tick())
    await settle()

    assert [takers.take().unit.job_id for _ in range(2)] == ["b", "d"]


async def test_unit_that_is_known_needs_no_room(takers: Takers) -> None:
    first, _ = [await takers.put(a_unit(name)) for name in ("a", "b")]

    again = await takers.put(a_unit("a"))
    takers.answer(takers.take())

    assert await answer_of(again) == await answer_of(first)


async def test_unit_that_finds_no_room_fails_at_its_deadline(takers: Takers) -> None:
    for name in ("a", "b"):
        await takers.put(a_unit(name))

    result = await answer_of(await takers.put(a_unit("c", deadline_at=time.time() + 0.05)))

    assert result.failure is not None
    assert "found no room in the queue" in result.failure.message
    assert takers.queue.waiting == 2


@pytest.mark.parametrize("is_taken", [False, True])
async def test_deadline_answers_the_unit_and_kills_its_holder(takers: Takers, is_taken: bool) -> None:
    caller = await takers.put(a_unit(deadline_at=time.time() + 0.05))
    lease = takers.take() if is_taken else None

    await asyncio.sleep(0.06)
    takers.scheduler.tell(Tick())

    result = await answer_of(caller)
    assert result.failure is not None
    assert result.failure.error_type == "DeadlineExceeded"
    where = "in a worker" if is_taken else "waiting for a worker"
    assert where in result.failure.message
    assert takers.queue.waiting == 0
    assert takers.killed == ([lease.worker] if lease is not None else [])


async def test_unit_put_after_its_deadline_fails_at_once(takers: Takers) -> None:
    caller = await takers.put(a_unit(deadline_at=time.time() - 1.0))

    assert caller.done()
    assert caller.result().failure is not None


@pytest.mark.parametrize("make_queue", QUEUES.values(), ids=QUEUES)
def test_deadline_waits_for_the_time_that_the_queue_is_told(make_queue: Callable[[], JobQueue]) -> None:
    queue = make_queue()
    queue.handle(Submitted(a_unit(deadline_at=1000.01)), 1000.0)

    assert queue.handle(Tick(), 1000.0) == []
    assert queue.handle(Tick(), 1000.02) != []


async def test_unit_goes_with_the_last_who_waits_for_it(takers: Takers) -> None:
    first, second = await takers.put(a_unit()), await takers.put(a_unit())
    lease = takers.take()

    first.cancel()
    await settle()
    assert takers.killed == []
    second.cancel()
    await settle()

    assert takers.killed == [lease.worker]
    assert (takers.queue.waiting, takers.queue.busy) == (0, 0)


async def test_cancelled_unit_that_waits_is_forgotten(takers: Takers) -> None:
    caller = await takers.put(a_unit())

    caller.cancel()
    await settle()

    assert takers.queue.waiting == 0


async def test_job_may_be_put_anew_after_its_answer(takers: Takers) -> None:
    first = await takers.put(a_unit())
    takers.answer(takers.take(), x=1)
    second = await takers.put(a_unit())
    takers.answer(takers.take(), x=2)

    assert ((await answer_of(first)).value, (await answer_of(second)).value) == ({"x": 1}, {"x": 2})
