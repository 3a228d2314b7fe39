"""A call has its time and no more, whatever it does when it is cancelled."""

from __future__ import annotations

import asyncio

import pytest
from structlog.testing import capture_logs

from gaia.validator.core.chain.deadline import started, within
from tests.support.patience import patience


async def _answer() -> int:
    return 7


async def _never() -> int:
    await asyncio.Event().wait()
    return 0


async def test_answer_in_time_is_returned_and_an_error_raised() -> None:
    async def fail() -> int:
        raise ValueError("no")

    assert await within(patience(10), _answer(), "asking") == 7
    with pytest.raises(ValueError, match="no"):
        await within(patience(10), fail(), "asking")


async def test_call_that_takes_too_long_is_cancelled() -> None:
    with pytest.raises(TimeoutError), capture_logs() as logs:
        await within(0.01, _never(), "asking")
    assert logs == []


async def test_answer_that_comes_while_the_call_is_cancelled_counts() -> None:
    async def in_the_last_moment() -> int:
        try:
            return await _never()
        except asyncio.CancelledError:
            return 7

    assert await within(0.01, in_the_last_moment(), "asking") == 7


async def test_call_that_ignores_its_cancellation_is_left_and_named() -> None:
    freed = asyncio.Event()
    ended = asyncio.Event()

    async def stubborn() -> int:
        while not freed.is_set():
            try:
                await freed.wait()
            except asyncio.CancelledError:
                continue
        ended.set()
        raise ValueError("after the end")

    with capture_logs() as logs, pytest.raises(TimeoutError):
        await within(0.01, stubborn(), "asking")

    assert [(line["event"], line["doing"]) for line in logs] == [("chain_call_abandoned", "asking")]
    freed.set()
    await asyncio.wait_for(ended.wait(), patience(10))


async def test_call_that_was_cancelled_by_another_is_a_lost_connection_and_no_cancellation_of_ours() -> None:
    async def given_up() -> int:
        raise asyncio.CancelledError

    with pytest.raises(ConnectionAbortedError):
        await within(patience(10), given_up(), "asking")


async def test_what_is_started_goes_on_after_its_time() -> None:
    freed, ended = asyncio.Event(), asyncio.Event()

    async def closing() -> None:
        await freed.wait()
        ended.set()

    with pytest.raises(TimeoutError):
        await started(0.01, closing())
    freed.set()
    await asyncio.wait_for(ended.wait(), patience(10))
    await started(patience(10), closing())


async def test_cancellation_from_outside_ends_the_call() -> None:
    begun, ended = asyncio.Event(), asyncio.Event()

    async def call() -> int:
        begun.set()
        try:
            return await _never()
        finally:
            ended.set()

    asking = asyncio.create_task(within(patience(10), call(), "asking"))
    await begun.wait()
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert ended.is_set()
