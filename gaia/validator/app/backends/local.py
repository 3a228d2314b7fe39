"""The pool of local workers as a `ComputeBackend`, one attempt at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from gaia.validator.app.backends.protocols import AttemptLost, Capability
from gaia.validator.utils.errors import QuarantinedError

if TYPE_CHECKING:
    from gaia.validator.app.pool.compute_pool import ComputePool
    from gaia.validator.utils.ipc_types import ResultUnit, WorkUnit

_LOOK_EVERY_S = 0.02


class LocalBackend:
    """A `ComputeBackend` over a `ComputePool` that was made with a crash limit of 1.

    The pool's own ledger repeats and quarantines; with a limit of 1 it hands every
    crash to us instead, so that whoever feeds this backend decides.

    Parameters
    ----------
    pool
        Started, and closed, by whoever made it: its listening socket is the Supervisor's.
    """

    capabilities = frozenset(
        {
            Capability.SURVIVES_CRASH,
            Capability.KILL_RUNNING,
            Capability.MEMORY_LIMIT,
            Capability.RECYCLE,
            Capability.SANDBOX,
        }
    )

    def __init__(self, pool: ComputePool) -> None:
        self._pool = pool
        self._attempts: dict[tuple[str, int], asyncio.Task[ResultUnit]] = {}
        self._workers = 0
        self._looking: asyncio.Task[None] | None = None

    async def start(self, changed: Callable[[], None]) -> None:
        """Watch workers come and go."""
        self._looking = asyncio.create_task(self._look(changed))

    def capacity(self) -> int:
        """Return how many workers were connected when we last told of a change."""
        return self._workers

    async def run(self, unit: WorkUnit) -> ResultUnit:
        """Run one attempt in a worker; raises `AttemptLost` when that worker died or was killed."""
        key = (unit.job_id, unit.attempt)
        attempt = self._attempts[key] = asyncio.create_task(self._pool.dispatch_and_wait(unit))
        try:
            await asyncio.wait({attempt})
        finally:
            attempt.cancel()
            del self._attempts[key]
        if attempt.cancelled():
            raise AttemptLost("cancelled", is_crash=False)
        result = attempt.result()
        # The ledger answers without a worker; a handler's own error has its worker's pid.
        is_lost = result.worker_pid == 0 and result.failure is not None
        if is_lost and result.failure and result.failure.error_type == QuarantinedError.__name__:
            raise AttemptLost(result.failure.message)
        return result

    async def cancel(self, job_id: str, attempt: int) -> bool:
        """Kill the worker that has the attempt."""
        running = self._attempts.get((job_id, attempt))
        return running is not None and running.cancel()

    async def close(self) -> None:
        """Lose what runs; the pool itself stays its maker's."""
        for attempt in self._attempts.values():
            attempt.cancel()
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)

    async def _look(self, changed: Callable[[], None]) -> None:
        while True:
            if self._pool.workers != self._workers:
                self._workers = self._pool.workers
                changed()
            await asyncio.sleep(_LOOK_EVERY_S)
