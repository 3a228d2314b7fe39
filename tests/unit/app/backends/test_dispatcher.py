"""What the dispatcher does about a backend that grows, fails, or goes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from gaia.validator.app.backends.dispatcher import Dispatcher
from gaia.validator.app.backends.inline import InlineBackend
from gaia.validator.app.backends.memory_queue import MemoryQueue
from gaia.validator.utils.ipc_types import ResultUnit, WorkUnit
from tests.support.builders import a_unit

HANDLERS = "tests.support.backend_handlers"


class Growing(InlineBackend):
    """Threads that are not there at first."""

    def __init__(self) -> None:
        super().__init__(slots=0, handlers=HANDLERS)
        self._changed: Callable[[], None] = lambda: None

    async def start(self, changed: Callable[[], None]) -> None:
        self._changed = changed

    def grow(self) -> None:
        self._slots += 1
        self._changed()


class Broken(InlineBackend):
    """Threads behind code with a bug."""

    async def run(self, unit: WorkUnit) -> ResultUnit:
        raise RuntimeError("by design")


async def test_units_wait_until_there_is_somewhere_to_run_them() -> None:
    backend = Growing()
    dispatcher = Dispatcher(MemoryQueue(), backend)
    await dispatcher.start()
    asked = asyncio.create_task(dispatcher.dispatch_and_wait(a_unit()))
    await asyncio.sleep(0.02)
    assert (dispatcher.queue_depth, dispatcher.busy, dispatcher.workers) == (1, 0, 0)

    backend.grow()

    assert (await asked).succeeded
    assert (dispatcher.workers, dispatcher.healthy_seats, dispatcher.sandbox_level) == (1, 1, 0)
    await dispatcher.close()


async def test_fault_of_the_backend_is_the_answer_and_leaves_nobody_waiting() -> None:
    dispatcher = Dispatcher(MemoryQueue(), Broken())
    await dispatcher.start()

    result = await dispatcher.dispatch_and_wait(a_unit())

    assert result.failure is not None
    assert (result.failure.error_type, result.failure.message) == ("RuntimeError", "by design")
    await dispatcher.close()


async def test_close_without_patience_leaves_what_runs_and_cancels_who_waits() -> None:
    dispatcher = Dispatcher(MemoryQueue(), InlineBackend(0, HANDLERS))
    await dispatcher.start()
    asked = asyncio.create_task(dispatcher.dispatch_and_wait(a_unit()))
    await asyncio.sleep(0)

    await dispatcher.close()

    await asyncio.wait({asked})
    assert asked.cancelled()
