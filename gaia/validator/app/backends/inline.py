"""Units in threads of this very process: no isolation, no start-up; for tests and for looking into a handler."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from gaia.validator.app.compute_worker import attempt_unit, encode_result
from gaia.validator.utils.entry_points import HANDLERS

if TYPE_CHECKING:
    from gaia.validator.app.backends.protocols import Capability
    from gaia.validator.utils.ipc_types import ResultUnit, WorkUnit


class InlineBackend:
    """A `ComputeBackend` that can neither kill a unit nor outlive one that crashes.

    Parameters
    ----------
    slots
        Units at once.
    handlers
        Module whose ``resolve(name)`` returns the handler of that name.
    """

    capabilities: frozenset[Capability] = frozenset()

    def __init__(self, slots: int = 1, handlers: str = HANDLERS) -> None:
        self._slots = slots
        self._handlers = handlers

    async def start(self, changed: Callable[[], None]) -> None:
        """Be ready; the capacity never changes."""

    def capacity(self) -> int:
        """Return how many units can run at once."""
        return self._slots

    async def run(self, unit: WorkUnit) -> ResultUnit:
        """Run the unit in a thread, and refuse a value that no message could carry, as others would."""
        result = await asyncio.to_thread(attempt_unit, unit, self._handlers)
        return encode_result(result)[0]

    async def cancel(self, job_id: str, attempt: int) -> bool:  # noqa: ARG002 - the protocol's
        """Return False: a thread can't be ended."""
        return False

    async def close(self) -> None:
        """Let go; a unit that runs goes on unheard."""
