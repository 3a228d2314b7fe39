"""What the code that sets weights needs to run on one snapshot: a database that only reads, and a pool."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, NoReturn, TypeVar

import msgspec

from gaia.cli.replay.units import compute_overlaps
from gaia.tasks.defined_tasks.weather.units import FindOverlaps
from gaia.validator.db.connection import Database
from gaia.validator.utils.errors import GaiaError
from gaia.validator.utils.ipc_types import Failure, ResultUnit, WorkUnit

if TYPE_CHECKING:
    from concurrent.futures import ProcessPoolExecutor

    from gaia.validator.db.connection import Connection

T = TypeVar("T")


class Snapshot(Database):
    """A database whose transactions all run in one snapshot that is read only."""

    def __init__(self, connection: Connection) -> None:
        super().__init__(_no_other_connection, _no_other_connection, timeout_s=0.0, pool_size=1)
        self._connection = connection

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        yield self._connection

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[Connection]:
        yield self._connection

    async def run(self, body: Callable[[Connection], Awaitable[T]]) -> T:
        return await body(self._connection)


async def _no_other_connection(_name: str = "") -> NoReturn:
    raise AssertionError("the snapshot has one connection")


class UnitsInPool:
    """Runs the units that find copies, in a process that is confined like a compute worker."""

    def __init__(self, executor: ProcessPoolExecutor) -> None:
        self._executor = executor

    async def dispatch_and_wait(self, unit: WorkUnit) -> ResultUnit:
        try:
            answer = compute_overlaps(self._executor, msgspec.convert(unit.payload, FindOverlaps))
        except GaiaError as error:
            return ResultUnit(job_id=unit.job_id, attempt=unit.attempt, failure=Failure.of(error))
        return ResultUnit(job_id=unit.job_id, attempt=unit.attempt, value=msgspec.to_builtins(answer))
