"""Sends units of the weather task to the compute pool, and decodes their answers."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

import msgspec
import structlog

from gaia.validator.utils.errors import TransientError
from gaia.validator.utils.identities import JobId
from gaia.validator.utils.ipc_types import Priority, WorkUnit
from gaia.validator.utils.logs.context import bound, present_trace

if TYPE_CHECKING:
    from gaia.tasks.defined_tasks.base import UnitRunner
    from gaia.tasks.defined_tasks.weather.units import UnitOf

A = TypeVar("A")
_MIB = 1024 * 1024
_performance = structlog.get_logger("performance")


@dataclass(frozen=True, slots=True)
class Done(Generic[A]):
    """The answer of a unit, and its cost."""

    answer: A
    cpu_s: float
    job_id: str = ""
    """Unit that gave it, which other answers may share."""


class UnitClient:
    """Sends units with a deadline to the pool, and returns their answers.

    Parameters
    ----------
    timeout_s
        Seconds after which a unit without an answer has failed, including its wait for a worker.
    """

    def __init__(
        self, pool: UnitRunner, timeout_s: float, wall_clock: Callable[[], float] = time.time
    ) -> None:
        self._pool = pool
        self._timeout_s = timeout_s
        self._wall_clock = wall_clock

    async def run_unit(
        self, unit: UnitOf[A], job_id: JobId, *, priority: Priority = Priority.USUAL
    ) -> Done[A]:
        """Run `unit`; return its answer, of the type that the unit declares.

        Raises
        ------
        GaiaError
            If the handler raised it, or the unit failed in the pool.
        TransientError
            Also if the answer has another type, because a compromised worker may answer anything.
        """
        work = WorkUnit(
            job_id=job_id,
            handler=unit.handler,
            payload=msgspec.to_builtins(unit),
            deadline_at=self._wall_clock() + self._timeout_s,
            priority=priority,
            trace_id=present_trace() or job_id,
        )
        with bound(job_id=job_id, trace_id=work.trace_id):
            result = await self._pool.dispatch_and_wait(work)
            _performance.info(
                "unit_finished",
                handler=work.handler,
                attempt=result.attempt,
                outcome=result.failure.error_type if result.failure else "ok",
                wall_s=round(result.wall_s, 4),
                cpu_s=round(result.cpu_s, 4),
                peak_rss_mib=round(result.peak_rss_bytes / _MIB, 1),
            )
        value = result.unwrap()
        try:
            return Done(msgspec.convert(value, unit.answer), result.cpu_s, job_id)
        except msgspec.ValidationError as error:
            raise TransientError(f"the answer to {unit.handler} has the wrong type: {error}") from error
