"""Applies migrations and takes them back, on a session of its own that no time limit ends."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import asyncpg
import structlog

from gaia.validator.db.failures import Conflict, DatabaseFailure, StatementRefused
from gaia.validator.db.schema.files import Migration, runs_concurrently
from gaia.validator.db.schema.standing import Applied, Fit, Standing, standing_of
from gaia.validator.db.statements import SQL
from gaia.validator.utils.errors import ConfigurationError, ExitCode

if TYPE_CHECKING:
    from gaia.validator.db.connection import Connection, Database

log = structlog.get_logger(__name__)

LOCK: Final = 5_701
"""Number of the advisory lock under which the schema changes."""
SESSION: Final = "gaia-migration"
"""Name of the session that changes the schema."""

_LOCK_WAIT: Final = "2s"
"""How long a statement waits for a lock; whoever comes after it waits as long."""
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.1, 5.0
_WATCH_S: Final = 10.0
# Errors of statements in a database that another program made, or whose record lacks a migration.
_TAKEN: Final = (
    asyncpg.DuplicateTableError,
    asyncpg.DuplicateColumnError,
    asyncpg.DuplicateObjectError,
    asyncpg.DuplicateFunctionError,
    asyncpg.UndefinedTableError,
    asyncpg.UndefinedColumnError,
    asyncpg.UndefinedObjectError,
    # Rows that no release of ours has written.
    asyncpg.IntegrityConstraintViolationError,
)
_SETTING: Final = "GAIA_DATABASE_URL"


@dataclass(frozen=True, slots=True)
class Step:
    """One migration that was applied or taken back."""

    version: int
    name: str
    seconds: float


class Migrator:
    """Changes the schema of one database, while no other session does.

    Each change is a transaction with its row in the record, so that an end at any moment leaves
    whole changes behind. A statement waits for a lock only for a moment, and is tried again later:
    everybody else who needs the table waits behind it.

    Parameters
    ----------
    database
        Database to change.
    patience_s
        Seconds without progress after which a failure is raised.
    """

    def __init__(self, database: Database, patience_s: float) -> None:
        self._database = database
        self._patience_s = patience_s
        self._progress_at = time.monotonic()

    async def migrate(
        self,
        migrations: Sequence[Migration],
        before: Callable[[Sequence[Migration]], Awaitable[None]] | None = None,
    ) -> list[Step]:
        """Apply all missing migrations; return those that were applied.

        Parameters
        ----------
        before
            Called with the missing ones before the first of them, unless the database is empty. Its errors are
            raised unchanged.

        Raises
        ------
        ConfigurationError
            If the database does not fit this program, or the role may not change it.
        DatabaseFailure
            If the server refuses a statement, or nothing moves for so long.
        """
        steps: list[Step] = []
        is_saved = before is None

        async def apply(connection: Connection) -> None:
            nonlocal is_saved
            standing = await read_standing(connection, migrations)
            standing.require_fit()
            if standing.missing or not await connection.fetchval(SQL["is_extended"]):
                await connection.execute(SQL["create_migrations"])
                await connection.execute(SQL["extend_migrations"])
            if standing.fit is Fit.BEHIND and before is not None and not is_saved:
                await before(standing.missing)
                # Once: a lock that is never free must not bring one backup after the other.
                is_saved = True
                self._progress_at = time.monotonic()
            for migration in standing.missing:
                # A first start makes the tables in a moment; lines about each step would tell nothing.
                level = logging.DEBUG if standing.fit is Fit.EMPTY else logging.INFO
                log.log(level, "migration_begun", version=migration.version, name=migration.name)
                step = await self._apply(connection, migration)
                log.log(
                    level, "migration_applied", version=step.version, name=step.name, seconds=step.seconds
                )
                steps.append(step)

        await self._persist(apply)
        return steps

    async def roll_back(self, to: int) -> list[Step]:
        """Take back all migrations above version `to`, newest first, by the scripts that the database keeps.

        Raises
        ------
        ConfigurationError
            If one of them has no script, or the database has no record of migrations. Nothing is taken back then.
        DatabaseFailure
            If the server refuses a statement, or nothing moves for so long.
        """
        steps: list[Step] = []

        async def take_back(connection: Connection) -> None:
            for version, name, down in await downs_above(connection, to):
                log.info("rollback_begun", version=version, name=name)
                steps.append(await self._take_back(connection, version, name, down))

        await self._persist(take_back)
        return steps

    async def _persist(self, body: Callable[[Connection], Awaitable[None]]) -> None:
        """Run `body` in a session that holds the lock; repeat it after failures that time heals.

        `body` finds out anew what is left to do.
        """
        self._progress_at = time.monotonic()
        wait_s = _FIRST_WAIT_S
        while True:
            try:
                async with self._session() as connection:
                    await body(connection)
                    return
            except StatementRefused:
                raise
            except DatabaseFailure as failure:
                if time.monotonic() - self._progress_at > self._patience_s:
                    raise
                if isinstance(failure, Conflict):
                    log.info("database_setup_waits", error=str(failure))
                else:
                    log.warning("database_setup_repeated", error=str(failure))
            await asyncio.sleep(wait_s)
            wait_s = min(2 * wait_s, _LONGEST_WAIT_S)

    @asynccontextmanager
    async def _session(self) -> AsyncIterator[Connection]:
        """Yield a session that holds the lock of migrations."""
        async with self._database.alone(SESSION) as connection:
            watch = asyncio.create_task(self._watch(connection))
            try:
                await connection.execute(SQL["unlimited"], _LOCK_WAIT)
                await self._take_lock(connection)
                with _in_sentences():
                    yield connection
            finally:
                watch.cancel()

    async def _take_lock(self, connection: Connection) -> None:
        try:
            await connection.execute(SQL["lock_migrations"], LOCK)
        except asyncpg.LockNotAvailableError as error:
            holder = await connection.fetchrow(SQL["migration_holder"], LOCK, SESSION)
            if holder is not None and holder["is_ours"]:
                self._progress_at = time.monotonic()  # another of us is at work, for as long as it takes
            who = (
                "another session"
                if holder is None
                else f"session {holder['pid']} ({holder['application_name']})"
            )
            raise Conflict(f"database: {who} holds the lock of migrations", error.sqlstate) from error

    async def _watch(self, connection: Connection) -> None:
        """End our session once the server has lost it: the network may drop it without a word to us."""
        pid = connection.get_server_pid()
        unknown_since = time.monotonic()
        while True:
            await asyncio.sleep(_WATCH_S)
            try:
                async with self._database.reading() as other:
                    is_alive = bool(await other.fetchval(SQL["session_lives"], pid))
                unknown_since = time.monotonic()
            except DatabaseFailure:
                is_alive = time.monotonic() - unknown_since < self._patience_s
            if not is_alive:
                connection.terminate()
                return

    async def _apply(self, connection: Connection, migration: Migration) -> Step:
        begun = time.monotonic()

        async def record() -> None:
            await connection.execute(
                SQL["record_migration"],
                migration.version,
                migration.name,
                migration.sha256,
                migration.down,
                round(time.monotonic() - begun, 3),
            )

        await _change(connection, migration.sql, record)
        return self._done(migration.version, migration.name, begun)

    async def _take_back(self, connection: Connection, version: int, name: str, down: str) -> Step:
        begun = time.monotonic()

        async def forget() -> None:
            await connection.execute(SQL["forget_migration"], version)

        await _change(connection, down, forget)
        step = self._done(version, name, begun)
        log.info("rollback_done", version=version, name=name, seconds=step.seconds)
        return step

    def _done(self, version: int, name: str, begun: float) -> Step:
        self._progress_at = time.monotonic()
        return Step(version, name, round(self._progress_at - begun, 3))


@contextmanager
def _in_sentences() -> Iterator[None]:
    """Raise what an operator must mend as a sentence: rights of the role, or a schema of others."""
    try:
        yield
    except asyncpg.InsufficientPrivilegeError as error:
        raise ConfigurationError(
            _SETTING,
            f"the role may not make tables ({_first_line(error)})",
            "grant it CREATE on the schema public, or name another role",
            ExitCode.DATABASE_MISFIT,
        ) from error
    except _TAKEN as error:
        raise ConfigurationError(
            _SETTING,
            f"a migration does not fit what the database holds ({_first_line(error)})",
            "compare it with `gaia db verify`, restore a backup, or name an empty database",
            ExitCode.DATABASE_MISFIT,
        ) from error


async def _change(connection: Connection, sql: str, record: Callable[[], Awaitable[None]]) -> None:
    """Execute a script and its record, in one transaction unless the script runs outside of any."""
    if runs_concurrently(sql):
        await connection.execute(SQL["drop_invalid_indexes"])
        await connection.execute(sql)
        await record()
        return
    async with connection.transaction():
        await connection.execute(sql)
        await record()


async def read_standing(connection: Connection, migrations: Sequence[Migration]) -> Standing:
    """Return what the database of `connection` has of `migrations`."""
    tables = [row["relname"] for row in await connection.fetch(SQL["own_tables"])]
    applied = None
    if await connection.fetchval(SQL["has_migrations"]):
        applied = [Applied(*row) for row in await connection.fetch(SQL["applied_migrations"])]
    return standing_of(migrations, applied, tables)


async def missing_migrations(connection: Connection, migrations: Sequence[Migration]) -> list[Migration]:
    """Return the migrations that the database lacks, by its record alone, which must exist.

    Raises
    ------
    ConfigurationError
        If the record does not fit this program.
    """
    applied = [Applied(*row) for row in await connection.fetch(SQL["applied_migrations"])]
    standing = standing_of(migrations, applied, ())
    standing.require_fit()
    return list(standing.missing)


async def migrate_within(connection: Connection, migrations: Sequence[Migration]) -> None:
    """Apply what is missing in the transaction of `connection`, for a reader that rolls it back.

    Raises
    ------
    ConfigurationError
        If the database does not fit this program.
    asyncpg.PostgresError
        If the server refuses a statement.
    """
    standing = await read_standing(connection, migrations)
    standing.require_fit()
    for migration in standing.missing:
        if not migration.is_concurrent:  # an index, which a reader does not need
            await connection.execute(migration.sql)


async def downs_above(connection: Connection, to: int) -> list[tuple[int, str, str]]:
    """Return (version, name, script) of all migrations above version `to`, newest first.

    Raises
    ------
    ConfigurationError
        If the database has no record of migrations, or one of them has no script.
    """
    if not await connection.fetchval(SQL["is_extended"]):
        raise ConfigurationError(
            _SETTING,
            "the database keeps no script that takes a migration back",
            "restore a backup of before them",
            ExitCode.DATABASE_MISFIT,
        )
    rows = [row for row in await connection.fetch(SQL["migrations_in_detail"]) if row["version"] > to]
    for row in rows:
        if row["down"] is None:
            raise ConfigurationError(
                "--to",
                f"migration {row['version']} ({row['name']}) cannot be taken back",
                f"name {row['version']} or a later version, or restore a backup of before it",
                ExitCode.DATABASE_MISFIT,
            )
    return [(row["version"], row["name"], row["down"]) for row in reversed(rows)]


def _first_line(error: BaseException) -> str:
    return str(error).partition("\n")[0]
