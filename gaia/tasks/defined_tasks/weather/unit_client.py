"""Sends units of the weather task to the compute pool, and decodes their answers."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

import msgspec

from gaia.validator.utils.errors import TransientError
from gaia.validator.utils.identities import JobId
from gaia.validator.utils.ipc_types import Priority, WorkUnit

if TYPE_CHECKING:
    from gaia.tasks.defined_tasks.base import UnitRunner
    from gaia.tasks.defined_tasks.weather.units import UnitOf

A = TypeVar("A")


@dataclass(frozen=True, slots=True)
class Done(Generic[A]):
    """The answer of a unit, and its cost."""

    answer: A
    cpu_s: float


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
        result = await self._pool.dispatch_and_wait(
            WorkUnit(
                job_id=job_id,
                handler=unit.handler,
                payload=msgspec.to_builtins(unit),
                deadline_at=self._wall_clock() + self._timeout_s,
                priority=priority,
                trace_id=job_id,
            )
        )
        value = result.unwrap()
        try:
            return Done(msgspec.convert(value, unit.answer), result.cpu_s)
        except msgspec.ValidationError as error:
            raise TransientError(f"the answer to {unit.handler} has the wrong type: {error}") from error
