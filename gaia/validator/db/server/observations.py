"""Reads and stores what the validator observes of its database and its memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple

from gaia.validator.db.statements import SQL

if TYPE_CHECKING:
    from gaia.validator.db.connection import Connection


class Session(NamedTuple):
    """Another session of the database, at one moment."""

    state: str
    """As in `pg_stat_activity`, such as "active" or "idle in transaction"."""
    is_waiting: bool
    """Whether it waits for a lock that another session holds."""
    statement_s: float
    """Age of its present or last statement."""
    transaction_s: float
    """Age of its transaction; 0: it has none open."""


class Counters(NamedTuple):
    """What the server counts for the database."""

    size_bytes: int
    commits: int
    rollbacks: int
    blocks_hit: int
    blocks_read: int
    deadlocks: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseSnapshot:
    """The database at one moment."""

    at: datetime
    active: int
    idle: int
    waiting: int
    longest_statement_s: float
    longest_transaction_s: float
    answer_s: float
    """Seconds that the observation took."""
    size_bytes: int
    commits: int
    rollbacks: int
    blocks_hit: int
    blocks_read: int
    deadlocks: int


class RoleMemory(NamedTuple):
    """Memory of the processes of one role."""

    role: str
    processes: int
    resident_bytes: int
    private_bytes: int


class MemoryAt(NamedTuple):
    """Memory of one role at one moment."""

    at: datetime
    role: str
    processes: int
    resident_bytes: int
    private_bytes: int


async def sessions(connection: Connection) -> list[Session]:
    """Return the other sessions of this database."""
    return [Session(**row) for row in await connection.fetch(SQL["database_sessions"])]


async def counters(connection: Connection) -> Counters:
    """Return what the server counts for this database."""
    (row,) = await connection.fetch(SQL["database_counters"])
    return Counters(**row)


async def record_database_snapshot(
    connection: Connection, snapshot: DatabaseSnapshot, forget_before: datetime
) -> None:
    """Store a snapshot, and delete those from before `forget_before`."""
    values = [getattr(snapshot, name) for name in DatabaseSnapshot.__slots__]
    await connection.execute(SQL["record_database_snapshot"], *values)
    await connection.execute(SQL["forget_database_snapshots"], forget_before)


async def database_snapshots(connection: Connection, since: datetime) -> list[DatabaseSnapshot]:
    """Return the snapshots since a moment, oldest first."""
    return [DatabaseSnapshot(**row) for row in await connection.fetch(SQL["database_snapshots"], since)]


async def record_memory_snapshot(
    connection: Connection, at: datetime, memory: Sequence[RoleMemory], forget_before: datetime
) -> None:
    """Store the memory of all roles at one moment, and delete what is from before `forget_before`."""
    columns = list(zip(*memory, strict=True)) or [(), (), (), ()]
    await connection.execute(SQL["record_memory_snapshot"], at, *map(list, columns))
    await connection.execute(SQL["forget_memory_snapshots"], forget_before)


async def memory_snapshots(connection: Connection, since: datetime) -> list[MemoryAt]:
    """Return the memory of each role since a moment, oldest first."""
    return [MemoryAt(**row) for row in await connection.fetch(SQL["memory_snapshots"], since)]
