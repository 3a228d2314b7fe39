"""Values that every log line gets from where it is said: run, miner, job, trace, and the time since its start."""

from __future__ import annotations

import asyncio
import contextvars
import secrets
import time
from collections.abc import Coroutine, Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any, Final, TypeVar

from structlog.contextvars import (
    bind_contextvars,
    bound_contextvars,
    clear_contextvars,
    get_contextvars,
)

T = TypeVar("T")

_BEGAN: Final[contextvars.ContextVar[float | None]] = contextvars.ContextVar("log_began", default=None)
_TRACE_BYTES = 8


@contextmanager
def bound(**values: object) -> Iterator[None]:
    """Add `values` to each line of the body, and `elapsed_s`, the seconds since its start.

    Tasks that the body starts inherit both. A task that serves several callers is started by
    `shared_task` instead, so that it does not speak for the one that happened to start it.
    """
    began = _BEGAN.set(time.monotonic())
    try:
        with bound_contextvars(**values):
            yield
    finally:
        _BEGAN.reset(began)


@contextmanager
def unbound() -> Iterator[None]:
    """Add nothing to the lines of the body, because they are not about what the caller does."""
    values = get_contextvars()
    began = _BEGAN.set(None)
    clear_contextvars()
    try:
        yield
    finally:
        bind_contextvars(**values)
        _BEGAN.reset(began)


def shared_task(work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
    """Start `work`, which serves several callers, as a task; nothing that its caller bound is on its lines."""
    context = contextvars.copy_context()
    context.run(_clear)
    return asyncio.create_task(work, context=context)


def new_trace() -> str:
    """Return a new trace id, which joins the lines of one step with its units."""
    return secrets.token_hex(_TRACE_BYTES)


def present_trace() -> str:
    """Return the trace id that is bound here; "" if there is none."""
    return str(get_contextvars().get("trace_id", ""))


def add_bound(_logger: Any, _method: str, values: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Add what is bound here before the values of a line, which win (a structlog processor)."""
    merged = get_contextvars()
    began = _BEGAN.get()
    if began is not None:
        merged["elapsed_s"] = round(time.monotonic() - began, 3)
    return {**merged, **values}


def _clear() -> None:
    clear_contextvars()
    _BEGAN.set(None)
