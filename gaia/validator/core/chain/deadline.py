"""A time limit for calls that may not end when they are cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

import structlog

_CANCELS: Final = 2
"""The chain SDK takes the first to unsubscribe, and waits for the node's answer; the second ends that."""
_GRACE_S: Final = 0.25
"""Time that a call has to end after each cancellation."""
_running: set[asyncio.Task[Any]] = set()
"""Calls that may outlive those who wait for them; the set keeps them from being collected while they run."""
_Answer = TypeVar("_Answer")
log = structlog.get_logger(__name__)


async def within(seconds: float, call: Coroutine[Any, Any, _Answer], doing: str) -> _Answer:
    """Return what `call` returns; when the time is over, cancel it, and leave it if it does not end.

    `asyncio.timeout` waits until the cancelled call ends, which is for ever if the call awaits
    another answer of the same silent node.

    Raises
    ------
    TimeoutError
        If the call has not ended after `seconds`.
    ConnectionAbortedError
        If the call ended by a cancellation that was not ours.
    """
    task = _kept(call)
    try:
        await asyncio.wait({task}, timeout=seconds)
    except asyncio.CancelledError:
        await _end(task, doing)
        raise
    if task.cancelled():
        # The SDK hands the cancellation of one call to others that wait for the same answer.
        raise ConnectionAbortedError("the call was given up with another one")
    if task.done():
        return task.result()
    await _end(task, doing)
    # An answer that came while it was being cancelled counts.
    if task.done() and not task.cancelled():
        return task.result()
    raise TimeoutError


async def started(seconds: float, call: Coroutine[Any, Any, None]) -> None:
    """Start `call` and wait for its end, but no longer than `seconds`; then it goes on by itself.

    Raises
    ------
    TimeoutError
        If it goes on.
    """
    task = _kept(call)
    await asyncio.wait({task}, timeout=seconds)
    if not task.done():
        raise TimeoutError
    if not task.cancelled():
        task.result()


def _kept(call: Coroutine[Any, Any, _Answer]) -> asyncio.Task[_Answer]:
    task = asyncio.ensure_future(call)
    _running.add(task)
    task.add_done_callback(_forget)
    return task


async def _end(task: asyncio.Task[Any], doing: str) -> None:
    for _ in range(_CANCELS):
        task.cancel()
        await asyncio.wait({task}, timeout=_GRACE_S)
        if task.done():
            return
    log.warning("chain_call_abandoned", doing=doing)


def _forget(task: asyncio.Task[Any]) -> None:
    _running.discard(task)
    if not task.cancelled():
        task.exception()  # else asyncio logs that it was never retrieved
