"""The scheduler with hands that run nothing: results to callers, backpressure, and events in order."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator

import pytest
import structlog

from gaia.validator.app.logging_config import configure_logging
from gaia.validator.app.pool.job_events import (
    Acknowledge,
    Assign,
    Dismiss,
    Finished,
    Kill,
    WorkerDied,
    WorkerLeaving,
    WorkerReady,
)
from gaia.validator.app.pool.job_ledger import JobLedger
from gaia.validator.app.pool.scheduler import HandsCommand, Scheduler
from gaia.validator.utils.identities import JobId, WorkerId
from gaia.validator.utils.ipc_types import ResultUnit, WorkUnit
from gaia.validator.utils.logs.context import bound

A, B, C = map(JobId, "abc")
W, FAR = WorkerId("w"), WorkerId("tcp://10.0.0.1:4711")


class NotedHands:
    """Hands that note what they are told; workers in `prompt` answer while they are being told."""

    def __init__(self) -> None:
        self.told: list[HandsCommand] = []
        self.prompt: set[WorkerId] = set()
        self.ledger = JobLedger()
        self.scheduler = Scheduler(self.ledger, self)

    def carry_out(self, command: HandsCommand) -> None:
        self.told.append(command)
        if isinstance(command, Assign) and command.worker in self.prompt:
            self.answer(command)

    def answer(self, command: HandsCommand) -> None:
        assert isinstance(command, Assign)
        self.scheduler.tell(Finished(command.worker, an_answer(command.unit.job_id)))


def a_unit(job_id: JobId = A, *, priority: int = 100, timeout_s: float = 60.0) -> WorkUnit:
    return WorkUnit(
        job_id=job_id,
        handler="test.echo",
        payload={},
        deadline_at=time.time() + timeout_s,
        priority=priority,
    )


def an_answer(job_id: JobId = A) -> ResultUnit:
    return ResultUnit(job_id=job_id, attempt=1, value={"x": 1})


@pytest.fixture
def hands() -> Iterator[NotedHands]:
    hands = NotedHands()
    yield hands
    hands.ledger.check()


async def test_unit_goes_to_the_hands_and_its_result_to_every_caller(hands: NotedHands) -> None:
    hands.scheduler.tell(WorkerReady(FAR))
    callers = [asyncio.create_task(hands.scheduler.dispatch_and_wait(a_unit())) for _ in range(2)]
    await asyncio.sleep(0)
    (assign,) = hands.told

    hands.answer(assign)

    assert await asyncio.gather(*callers) == [an_answer(), an_answer()]
    assert hands.told[1:] == [Acknowledge(FAR, A, 1)]


async def test_event_told_while_another_is_handled_waits_for_its_turn(hands: NotedHands) -> None:
    hands.prompt = {W}
    hands.scheduler.tell(WorkerReady(W))

    results = await asyncio.gather(
        *(hands.scheduler.dispatch_and_wait(a_unit(job_id)) for job_id in (A, B, C))
    )

    assert [result.job_id for result in results] == [A, B, C]
    assert hands.ledger.idle == 1


async def test_last_caller_that_is_cancelled_takes_its_unit_along(hands: NotedHands) -> None:
    hands.scheduler.tell(WorkerReady(W))
    callers = [asyncio.create_task(hands.scheduler.dispatch_and_wait(a_unit())) for _ in range(2)]
    await asyncio.sleep(0)

    for caller in callers:
        assert Kill(W, "cancelled") not in hands.told
        caller.cancel()
        await asyncio.gather(caller, return_exceptions=True)

    assert hands.told[1:] == [Kill(W, "cancelled")]


async def test_full_queue_blocks_submitters_and_admits_the_most_urgent_first(hands: NotedHands) -> None:
    hands.scheduler.limit_queue(1)
    callers = [asyncio.create_task(hands.scheduler.dispatch_and_wait(a_unit(job_id))) for job_id in (A, B)]
    await asyncio.sleep(0)
    callers.append(asyncio.create_task(hands.scheduler.dispatch_and_wait(a_unit(C, priority=1))))
    await asyncio.sleep(0)
    assert hands.ledger.waiting == 1

    hands.prompt = {W}
    hands.scheduler.tell(WorkerReady(W))
    await asyncio.gather(*callers)

    order = [command.unit.job_id for command in hands.told if isinstance(command, Assign)]
    assert order == [A, C, B]


async def test_higher_limit_admits_blocked_submitters(hands: NotedHands) -> None:
    hands.scheduler.limit_queue(1)
    callers = [asyncio.create_task(hands.scheduler.dispatch_and_wait(a_unit(job_id))) for job_id in (A, B)]
    await asyncio.sleep(0)

    hands.scheduler.limit_queue(2)
    hands.prompt = {W}
    hands.scheduler.tell(WorkerReady(W))

    assert [result.job_id for result in await asyncio.gather(*callers)] == [A, B]


async def test_submitter_that_finds_no_room_before_its_deadline_gets_a_failure(hands: NotedHands) -> None:
    hands.scheduler.limit_queue(1)
    first = asyncio.create_task(hands.scheduler.dispatch_and_wait(a_unit(A)))
    await asyncio.sleep(0)

    result = await hands.scheduler.dispatch_and_wait(a_unit(B, timeout_s=0.02))

    assert result.failure is not None
    assert result.failure.error_type == "DeadlineExceeded"
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)


def test_closed_scheduler_ignores_events(hands: NotedHands) -> None:
    hands.scheduler.tell(WorkerReady(W))
    hands.scheduler.close()

    hands.scheduler.tell(WorkerLeaving(W))

    assert Dismiss(W) not in hands.told


async def test_result_is_undelivered_until_its_callers_have_taken_it(hands: NotedHands) -> None:
    hands.scheduler.tell(WorkerReady(W))
    callers = [asyncio.create_task(hands.scheduler.dispatch_and_wait(a_unit())) for _ in range(2)]
    await asyncio.sleep(0)
    waiting = hands.scheduler.undelivered
    (assign,) = hands.told

    hands.answer(assign)
    answered = hands.scheduler.undelivered
    await asyncio.gather(*callers)

    assert (waiting, answered, hands.scheduler.undelivered) == (0, 2, 0)


async def test_result_whose_caller_was_cancelled_in_the_same_turn_is_not_undelivered(
    hands: NotedHands,
) -> None:
    hands.scheduler.tell(WorkerReady(W))
    caller = asyncio.create_task(hands.scheduler.dispatch_and_wait(a_unit()))
    await asyncio.sleep(0)
    (assign,) = hands.told
    hands.answer(assign)

    caller.cancel()
    await asyncio.wait([caller])

    assert hands.scheduler.undelivered == 0


async def test_caller_that_was_cancelled_before_the_answer_has_no_undelivered_result(
    hands: NotedHands,
) -> None:
    hands.scheduler.tell(WorkerReady(W))
    caller = asyncio.create_task(hands.scheduler.dispatch_and_wait(a_unit()))
    await asyncio.sleep(0)

    caller.cancel()
    await asyncio.wait([caller])

    assert hands.scheduler.undelivered == 0


async def test_quarantine_of_one_unit_is_no_line_of_the_caller_of_another(
    hands: NotedHands, capsys: pytest.CaptureFixture[str]
) -> None:
    """A death is told by whoever hears of it, such as a step that hands in its own unit."""
    configure_logging("INFO", "json")
    poison = asyncio.create_task(hands.scheduler.dispatch_and_wait(a_unit(JobId("poison"))))
    await asyncio.sleep(0)

    with bound(hotkey="5Innocent"):
        for number in range(3):
            hands.scheduler.tell(WorkerReady(WorkerId(f"w{number}")))
            hands.scheduler.tell(WorkerDied(WorkerId(f"w{number}")))

    assert (await poison).failure is not None
    (line,) = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert (line["event"], line["job_id"]) == ("unit_quarantined", "poison")
    assert "hotkey" not in line
    structlog.reset_defaults()
