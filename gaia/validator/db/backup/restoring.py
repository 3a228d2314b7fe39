"""Restores a backup into a database beside the present one, compares it, and puts it in its place."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final

import asyncpg

from gaia.validator.db.backup.contents import differences, read_contents
from gaia.validator.db.backup.folders import Backup, name_of
from gaia.validator.db.backup.making import LOCK_WAIT
from gaia.validator.db.backup.programs import (
    RESTORE,
    BackupFailed,
    clients_for,
    database_in,
    named,
    run_program,
)
from gaia.validator.db.connection import Database
from gaia.validator.db.statements import SQL
from gaia.validator.utils.errors import ConfigurationError, ExitCode

if TYPE_CHECKING:
    from gaia.validator.db.connection import Connection

SCRATCH: Final = "gaia_scratch_"
"""Beginning of the names of databases into which a backup is restored; the pid follows."""

_REPLACED: Final = "_before_"
_MAINTENANCE: Final = ("postgres", "template1")
_SESSION: Final = "gaia-restore"


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A database that a restore has replaced."""

    name: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Server:
    """The server of the validator's database, on which others are made, renamed and dropped.

    Every method raises `DatabaseFailure` if the server fails.
    """

    dsn: str
    """Address of the validator's database, which need not exist."""
    timeout_s: float
    """Seconds to wait for a connection."""

    @asynccontextmanager
    async def restored(self, backup: Backup, name: str) -> AsyncIterator[str]:
        """Yield the address of a new database with what is in a backup; drop it after, if it has its name still.

        Raises
        ------
        BackupFailed
            If the backup is damaged, cannot be restored, or holds something else than it says.
        ConfigurationError
            If the role may not make databases, or no pg_restore fits the server.
        """
        await asyncio.to_thread(backup.require_whole)
        major = await self._make(name)
        try:
            scratch = named(self.dsn, name)
            programs = await asyncio.to_thread(clients_for, major)
            arguments = ("--exit-on-error", "--no-owner", "--no-privileges", backup.archive)
            await run_program(programs / RESTORE, scratch, *arguments)
            await self._compare(backup, scratch)
            yield scratch
        finally:
            await self.drop(name)

    async def exchange(self, name: str, now: datetime) -> str | None:
        """Give database `name` the name of the validator's; return the new name of that one, None if there was none.

        Raises
        ------
        BackupFailed
            If another session uses the validator's; nothing is renamed then.
        """
        present = database_in(self.dsn)
        async with self._maintained() as connection:
            if not await connection.fetchval(SQL["database_exists"], present):
                await _execute(connection, SQL["statement_that_renames"], name, present)
                return None
            replaced = f"{present}{_REPLACED}{name_of(now).replace('-', '').lower()}"
            try:
                await _execute(connection, SQL["statement_that_renames"], present, replaced)
            except asyncpg.ObjectInUseError as error:
                raise BackupFailed(
                    f"another program uses database {present}; end its session first"
                ) from error
            try:
                await _execute(connection, SQL["statement_that_renames"], name, present)
            except asyncpg.PostgresError:
                await _execute(connection, SQL["statement_that_renames"], replaced, present)
                raise
        return replaced

    async def replaced(self) -> list[Neighbour]:
        """Return the databases that restores have replaced, and those that a killed one left behind."""
        async with self._maintained() as connection:
            rows = [
                row
                for beginning in (database_in(self.dsn) + _REPLACED, SCRATCH)
                for row in await connection.fetch(SQL["databases_beside"], beginning)
            ]
        return [Neighbour(row["name"], row["size_bytes"]) for row in rows]

    async def drop(self, name: str) -> None:
        """Drop a database, if it exists."""
        async with self._maintained() as connection:
            await _execute(connection, SQL["statement_that_drops"], name)

    async def _make(self, name: str) -> int:
        """Make an empty database; return the major version of the server."""
        async with self._maintained() as connection:
            await _execute(connection, SQL["statement_that_drops"], name)
            try:
                await _execute(connection, SQL["statement_that_makes"], name, database_in(self.dsn))
            except asyncpg.InsufficientPrivilegeError as error:
                raise ConfigurationError(
                    "GAIA_DATABASE_URL",
                    "the role may not make a database, into which a backup is restored first",
                    "let an administrator execute ALTER ROLE … CREATEDB for it",
                    ExitCode.DATABASE_MISFIT,
                ) from error
            return int(await connection.fetchval(SQL["server_major"]))

    async def _compare(self, backup: Backup, scratch: str) -> None:
        async with self._connected(scratch) as connection, connection.transaction(readonly=True):
            found = differences(backup.manifest.tables, await read_contents(connection))
        if found:
            raise BackupFailed(f"backup {backup.name} was not restored as it was saved: {'; '.join(found)}")

    @asynccontextmanager
    async def _maintained(self) -> AsyncIterator[Connection]:
        """Yield a connection to a database of the server that is not the validator's."""
        other = next(name for name in _MAINTENANCE if name != database_in(self.dsn))
        async with self._connected(named(self.dsn, other)) as connection:
            yield connection

    @asynccontextmanager
    async def _connected(self, dsn: str) -> AsyncIterator[Connection]:
        """Yield a connection whose statements have no time limit."""
        database = await Database.connect(dsn, timeout_s=self.timeout_s, pool_size=2, name=_SESSION)
        try:
            async with database.alone(_SESSION) as connection:
                await connection.execute(SQL["unlimited"], LOCK_WAIT)
                yield connection
        finally:
            await database.close()


async def _execute(connection: Connection, writing: str, *names: str) -> None:
    """Let the server write a statement about databases, and execute it."""
    await connection.execute(await connection.fetchval(writing, *names))
