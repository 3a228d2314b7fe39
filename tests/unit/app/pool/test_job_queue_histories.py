"""Random histories of every `JobQueue`: each job has the answer it should."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from gaia.validator.app.pool.protocols import JobQueue
from gaia.validator.utils.identities import JobId
from gaia.validator.utils.ipc_types import ResultUnit
from tests.support.builders import a_unit
from tests.support.job_queues import CRASH_LIMIT, QUEUES, Lease, Takers, settle


class Histories(RuleBasedStateMachine):
    """Random histories of a queue: nothing is lost, answered twice, or handed out before the more urgent."""

    make_queue: Callable[[], JobQueue]

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.takers = Takers(type(self).make_queue())
        self.alive: dict[JobId, tuple[int, int]] = {}
        """Priority and age of each job without an answer, held or not."""
        self.held: dict[JobId, Lease] = {}
        self.stale: list[Lease] = []
        self.crashes: dict[JobId, int] = {}
        self.callers: dict[JobId, asyncio.Task[ResultUnit]] = {}
        self.expected: dict[JobId, str] = {}
        self.count = 0

    def _settle(self) -> None:
        self.loop.run_until_complete(settle())

    @rule(priority=st.integers(0, 3))
    def put(self, priority: int) -> None:
        self.count += 1
        name = JobId(f"job{self.count}")
        self.callers[name] = self.loop.run_until_complete(self.takers.put(a_unit(name, priority=priority)))
        self.alive[name] = (priority, self.count)

    @precondition(lambda self: self.alive.keys() - self.held.keys())
    @rule()
    def take(self) -> None:
        lease = self.takers.take()
        name = lease.unit.job_id
        assert name == min(self.alive.keys() - self.held.keys(), key=self.alive.__getitem__)
        self.held[name] = lease

    def _pick(self, data: st.DataObject) -> Lease:
        return self.held.pop(data.draw(st.sampled_from(sorted(self.held))))

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def answer(self, data: st.DataObject) -> None:
        lease = self._pick(data)
        self.takers.answer(lease)
        self._end(lease, "value")

    @precondition(lambda self: self.held)
    @rule(data=st.data(), is_crash=st.booleans())
    def lose(self, data: st.DataObject, is_crash: bool) -> None:
        lease = self._pick(data)
        name = lease.unit.job_id
        self.takers.lose(lease, "lost", is_crash=is_crash)
        self.stale.append(lease)
        self.crashes[name] = self.crashes.get(name, 0) + is_crash
        if self.crashes[name] == CRASH_LIMIT:
            self._end(lease, "QuarantinedError")

    @precondition(lambda self: self.alive)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.alive)))
        self.callers[name].cancel()
        self._settle()
        lease = self.held.pop(name, None)
        self.alive.pop(name)
        self.expected[name] = "cancelled"
        if lease is not None:
            assert lease.worker in self.takers.killed
            self.stale.append(lease)

    @precondition(lambda self: self.stale)
    @rule(data=st.data(), is_answer=st.booleans())
    def speak_up_late(self, data: st.DataObject, is_answer: bool) -> None:
        lease = data.draw(st.sampled_from(self.stale))
        if is_answer:
            self.takers.answer(lease, late=True)
        else:
            self.takers.lose(lease, "late", is_crash=True)

    def _end(self, lease: Lease, how: str) -> None:
        self.alive.pop(lease.unit.job_id)
        self.expected[lease.unit.job_id] = how
        self.stale.append(lease)

    @invariant()
    def every_job_has_the_answer_it_should(self) -> None:
        self._settle()
        assert self.takers.queue.waiting == len(self.alive.keys() - self.held.keys())
        assert self.takers.queue.busy == len(self.held)
        for name, caller in self.callers.items():
            how = self.expected.get(name)
            if how is None:
                assert not caller.done()
            elif how == "cancelled":
                assert caller.cancelled()
            else:
                result = caller.result()
                assert (result.failure.error_type if result.failure else "value") == how
                assert not result.value

    def teardown(self) -> None:
        for caller in self.callers.values():
            caller.cancel()
        self._settle()
        self.loop.close()


@pytest.mark.parametrize("make_queue", QUEUES.values(), ids=QUEUES)
def test_histories(make_queue: Callable[[], JobQueue]) -> None:
    class Machine(Histories):
        pass

    Machine.make_queue = staticmethod(make_queue)
    Machine.TestCase.settings = settings(max_examples=25, stateful_step_count=30, deadline=None)
    Machine.TestCase("runTest").runTest()
