"""The queue in memory: what every `JobQueue` promises, by example and by random histories."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from gaia.validator.app.backends.memory_queue import MemoryQueue
from gaia.validator.app.backends.protocols import JobQueue, Lease
from gaia.validator.utils.ipc_types import ResultUnit
from tests.support.builders import a_unit
from tests.support.patience import patience

CRASH_LIMIT = 3


@pytest.fixture
def queue() -> MemoryQueue:
    return MemoryQueue(CRASH_LIMIT, most_waiting=2)


def an_answer(lease: Lease, **value: Any) -> ResultUnit:
    return ResultUnit(job_id=lease.unit.job_id, attempt=lease.unit.attempt, value=value)


async def settle() -> None:
    """Let everybody who can go on do so."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_unit_is_handed_out_once_and_answered_once(queue: MemoryQueue) -> None:
    unit = a_unit()
    answer = await queue.put(unit)
    lease = await queue.take()

    assert lease.unit == unit
    assert queue.depth == 0
    assert queue.done(an_answer(lease, x=1))
    assert not queue.done(an_answer(lease, x=2))
    assert (await answer).value == {"x": 1}


async def test_holder_of_an_earlier_attempt_has_no_say_any_more(queue: MemoryQueue) -> None:
    answer = await queue.put(a_unit())
    first = await queue.take()
    assert queue.give_back("job", first.unit.attempt, "it left", is_crash=False)
    second = await queue.take()

    assert (first.unit.attempt, second.unit.attempt) == (1, 2)
    assert not queue.done(an_answer(first))
    assert not queue.give_back("job", first.unit.attempt, "late", is_crash=True)
    assert queue.done(an_answer(second, x=2))
    assert (await answer).value == {"x": 2}


async def test_unit_that_crashed_too_often_is_quarantined_with_its_story(queue: MemoryQueue) -> None:
    answer = await queue.put(a_unit(handler="test.poison"))

    for cause in ("signal 11", "signal 9", "memory"):
        lease = await queue.take()
        queue.give_back("job", lease.unit.attempt, cause, is_crash=True)

    result = await answer
    assert result.failure is not None
    assert result.failure.error_type == "QuarantinedError"
    assert result.failure.message == "test.poison killed 3 workers: signal 11; signal 9; memory"
    assert result.attempt == 3
    assert queue.depth == 0


async def test_losses_that_are_nobodys_crash_are_not_counted(queue: MemoryQueue) -> None:
    answer = await queue.put(a_unit())

    for _ in range(2 * CRASH_LIMIT):
        lease = await queue.take()
        queue.give_back("job", lease.unit.attempt, "the scheduler went away", is_crash=False)

    assert not answer.done()
    assert queue.depth == 1


async def test_unit_that_comes_back_keeps_its_place_among_its_equals(queue: MemoryQueue) -> None:
    await queue.put(a_unit("a"))
    await queue.put(a_unit("b"))
    lease = await queue.take()

    queue.give_back("a", lease.unit.attempt, "it left", is_crash=False)

    assert (await queue.take()).unit.job_id == "a"


async def test_taker_waits_for_a_unit(queue: MemoryQueue) -> None:
    taking = asyncio.create_task(queue.take())
    await settle()
    assert not taking.done()

    await queue.put(a_unit())

    assert (await taking).unit.job_id == "job"


async def test_unit_put_for_a_taker_who_has_gone_is_left_to_the_next(queue: MemoryQueue) -> None:
    gone, next_one = asyncio.create_task(queue.take()), asyncio.create_task(queue.take())
    await settle()

    await queue.put(a_unit())  # wakes the first of them
    gone.cancel()

    async with asyncio.timeout(patience(5)):
        assert (await next_one).unit.job_id == "job"


async def test_full_queue_lets_the_urgent_in_first(queue: MemoryQueue) -> None:
    for name in ("a", "b"):
        await queue.put(a_unit(name))
    later = asyncio.create_task(queue.put(a_unit("later", priority=100)))
    urgent = asyncio.create_task(queue.put(a_unit("urgent", priority=1)))
    await settle()
    assert queue.depth == 2

    await queue.take()
    await settle()

    assert (urgent.done(), later.done()) == (True, False)
    assert queue.depth == 2
    later.cancel()


async def test_room_left_to_somebody_who_has_gone_goes_to_the_next(queue: MemoryQueue) -> None:
    for name in ("a", "b"):
        await queue.put(a_unit(name))
    gone, next_one = (asyncio.create_task(queue.put(a_unit(name))) for name in ("c", "d"))
    await settle()

    await queue.take()
    gone.cancel()
    await settle()

    assert next_one.done()


async def test_unit_that_is_known_needs_no_room(queue: MemoryQueue) -> None:
    answers = [await queue.put(a_unit(name)) for name in ("a", "b")]

    again = await queue.put(a_unit("a"))
    queue.done(an_answer(await queue.take()))

    assert await again == await answers[0]


async def test_unit_that_finds_no_room_fails_at_its_deadline(queue: MemoryQueue) -> None:
    for name in ("a", "b"):
        await queue.put(a_unit(name))

    result = await (await queue.put(a_unit("c", deadline_at=time.time() + 0.05)))

    assert result.failure is not None
    assert "found no room in the queue" in result.failure.message
    assert queue.depth == 2


@pytest.mark.parametrize("is_taken", [False, True])
async def test_deadline_answers_the_unit_and_withdraws_it(queue: MemoryQueue, is_taken: bool) -> None:
    answer = await queue.put(a_unit(deadline_at=time.time() + 0.05))
    lease = await queue.take() if is_taken else None

    result = await answer

    assert result.failure is not None
    assert result.failure.error_type == "DeadlineExceeded"
    where = "in a worker" if is_taken else "waiting for a worker"
    assert where in result.failure.message
    assert queue.depth == 0
    if lease is not None:
        assert lease.withdrawn.is_set()
        assert not queue.done(an_answer(lease))


async def test_unit_put_after_its_deadline_fails_at_once(queue: MemoryQueue) -> None:
    answer = await queue.put(a_unit(deadline_at=time.time() - 1.0))

    assert answer.done()
    assert answer.result().failure is not None


async def test_deadline_waits_for_the_wall_clock() -> None:
    now = [1000.0]
    queue = MemoryQueue(wall_clock=lambda: now[0])
    answer = await queue.put(a_unit(deadline_at=1000.01))

    await asyncio.sleep(0.05)
    assert not answer.done()
    now[0] = 1000.02

    assert (await answer).failure is not None


async def test_unit_goes_with_the_last_who_waits_for_it(queue: MemoryQueue) -> None:
    first, second = await queue.put(a_unit()), await queue.put(a_unit())
    lease = await queue.take()

    first.cancel()
    await settle()
    assert not lease.withdrawn.is_set()
    second.cancel()
    await settle()

    assert lease.withdrawn.is_set()
    assert not queue.done(an_answer(lease))


async def test_cancel_tells_all_who_wait(queue: MemoryQueue) -> None:
    answers = [await queue.put(a_unit()) for _ in range(2)]

    assert queue.cancel("job")

    assert [answer.cancelled() for answer in answers] == [True, True]
    assert not queue.cancel("job")
    assert queue.depth == 0


async def test_job_may_be_put_anew_after_its_answer(queue: MemoryQueue) -> None:
    first = await queue.put(a_unit())
    queue.done(an_answer(await queue.take(), x=1))
    second = await queue.put(a_unit())
    queue.done(an_answer(await queue.take(), x=2))

    assert ((await first).value, (await second).value) == ({"x": 1}, {"x": 2})


class Histories(RuleBasedStateMachine):
    """Random histories of a queue: nothing is lost, answered twice, or handed out before the more urgent."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.queue: JobQueue = MemoryQueue(CRASH_LIMIT)
        self.alive: dict[str, tuple[int, int]] = {}
        """Priority and age of each job without an answer, held or not."""
        self.held: dict[str, Lease] = {}
        self.stale: list[Lease] = []
        self.crashes: dict[str, int] = {}
        self.answers: dict[str, asyncio.Future[ResultUnit]] = {}
        self.expected: dict[str, str] = {}
        self.count = 0

    @rule(priority=st.integers(0, 3))
    def put(self, priority: int) -> None:
        self.count += 1
        name = f"job{self.count}"
        unit = a_unit(name, priority=priority)
        self.answers[name] = self.loop.run_until_complete(self.queue.put(unit))
        self.alive[name] = (priority, self.count)

    @precondition(lambda self: self.alive.keys() - self.held.keys())
    @rule()
    def take(self) -> None:
        lease = self.loop.run_until_complete(self.queue.take())
        name = lease.unit.job_id
        assert name == min(self.alive.keys() - self.held.keys(), key=self.alive.__getitem__)
        self.held[name] = lease

    def _pick(self, data: st.DataObject) -> Lease:
        return self.held.pop(data.draw(st.sampled_from(sorted(self.held))))

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def done(self, data: st.DataObject) -> None:
        lease = self._pick(data)
        assert self.queue.done(an_answer(lease))
        self._end(lease, "value")

    @precondition(lambda self: self.held)
    @rule(data=st.data(), is_crash=st.booleans())
    def give_back(self, data: st.DataObject, is_crash: bool) -> None:
        lease = self._pick(data)
        name = lease.unit.job_id
        assert self.queue.give_back(name, lease.unit.attempt, "lost", is_crash=is_crash)
        self.stale.append(lease)
        self.crashes[name] = self.crashes.get(name, 0) + is_crash
        if self.crashes[name] == CRASH_LIMIT:
            self._end(lease, "QuarantinedError")

    @precondition(lambda self: self.alive)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.alive)))
        assert self.queue.cancel(name)
        lease = self.held.pop(name, None)
        self.alive.pop(name)
        self.expected[name] = "cancelled"
        if lease is not None:
            assert lease.withdrawn.is_set()
            self.stale.append(lease)

    @precondition(lambda self: self.stale)
    @rule(data=st.data(), is_answer=st.booleans())
    def speak_up_late(self, data: st.DataObject, is_answer: bool) -> None:
        lease = data.draw(st.sampled_from(self.stale))
        if is_answer:
            assert not self.queue.done(an_answer(lease, late=True))
        else:
            assert not self.queue.give_back(lease.unit.job_id, lease.unit.attempt, "late", is_crash=True)

    def _end(self, lease: Lease, how: str) -> None:
        self.alive.pop(lease.unit.job_id)
        self.expected[lease.unit.job_id] = how
        self.stale.append(lease)

    @invariant()
    def every_job_has_the_answer_it_should(self) -> None:
        assert self.queue.depth == len(self.alive.keys() - self.held.keys())
        for name, answer in self.answers.items():
            how = self.expected.get(name)
            if how is None:
                assert not answer.done()
            elif how == "cancelled":
                assert answer.cancelled()
            else:
                failure = answer.result().failure
                assert (failure.error_type if failure else "value") == how

    def teardown(self) -> None:
        self.queue.close()
        self.loop.run_until_complete(asyncio.sleep(0))
        self.loop.close()


TestHistories = Histories.TestCase
TestHistories.settings = settings(max_examples=25, stateful_step_count=30, deadline=None)
