"""Database transactions with typed failures and bounded times."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final, TypeVar

import asyncpg
import structlog

from gaia.validator.db.access.places import Places
from gaia.validator.db.access.transactions import begun, hold
from gaia.validator.db.failures import (
    FAILURES,
    REPEATABLE,
    Conflict,
    DatabaseFailure,
    LeaseLost,
    StatementRefused,
    is_drivers,
    typed,
)
from gaia.validator.db.statements import SQL
from gaia.validator.utils.borders import UNFORESEEN, Party
from gaia.validator.utils.errors import ConfigurationError, ExitCode
from gaia.validator.utils.tallies import Durations

if TYPE_CHECKING:
    Connection = asyncpg.Connection[asyncpg.Record]

T = TypeVar("T")

log = structlog.get_logger(__name__)

ATTEMPTS: Final = 3
"""Number of attempts of `Database.run` at a transaction that conflicts or loses its connection."""
REBUILD_AFTER_S: Final = 60.0
"""Seconds of failures after which the pool is at fault, if the server answers; three default time limits."""
TRANSACTION_SECONDS: Final = Durations([0.01, 0.1, 2.0])
"""How long the transactions of this process took, with the wait for a connection."""
_BACKOFF_S: Final = 0.05
_OUR_NAME: Final = "gaia-validator"
# Wrong address, role, password or rights, for which it is useless to wait at start.
_REFUSED: Final = (
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.InsufficientPrivilegeError,
    asyncpg.ClientConfigurationError,
    ValueError,
)


class Database:
    """A bounded number of connections; all failures are a `DatabaseFailure`, which is an `OwnFailure`.

    Statements, commits, rollbacks and waits for a connection have time limits. No state of the
    server or the network can therefore block a caller for good.
    """

    def __init__(
        self,
        opening: Callable[[], Awaitable[Connection]],
        opening_alone: Callable[[str], Awaitable[Connection]],
        *,
        timeout_s: float,
        pool_size: int,
        rebuild_after_s: float = REBUILD_AFTER_S,
    ) -> None:
        self._open = opening
        self._open_alone = opening_alone
        self._timeout_s = timeout_s
        self._pool_size = pool_size
        self._rebuild_after_s = rebuild_after_s
        self._places = Places(opening, pool_size)
        self._failing_since: float | None = None
        self._token: int | None = None
        """Token of our lease; None: no transaction is bound to one."""

    @classmethod
    async def connect(
        cls,
        dsn: str,
        *,
        timeout_s: float,
        pool_size: int,
        setting: str = "GAIA_DATABASE_URL",
        rebuild_after_s: float = REBUILD_AFTER_S,
        name: str = _OUR_NAME,
    ) -> Database:
        """Return a database with a first connection; wait up to `timeout_s` for the server.

        Parameters
        ----------
        name
            Name of its sessions; those of a validator bear the same one.

        Raises
        ------
        ConfigurationError
            If no server answers by then, or it refuses us; names `setting`.
        """

        async def opening() -> Connection:
            return await _open_connection(dsn, timeout_s, name, command_timeout_s=timeout_s)

        async def opening_alone(own_name: str) -> Connection:
            return await _open_connection(dsn, timeout_s, own_name, command_timeout_s=None)

        end = time.monotonic() + timeout_s
        database = cls(
            opening, opening_alone, timeout_s=timeout_s, pool_size=pool_size, rebuild_after_s=rebuild_after_s
        )
        while True:
            try:
                database._places.adopt(await opening())
            except _REFUSED as error:
                # Python's error about an unreadable address may repeat the password in it.
                problem = _text_of(error) if is_drivers(error) else "it is not the address of a server"
                raise _unreachable(setting, problem) from error
            except Exception as error:
                if not is_drivers(error):
                    raise
                if time.monotonic() > end:
                    raise _unreachable(setting, _text_of(error) or f"no answer in {timeout_s:g} s") from error
                await asyncio.sleep(0.1)
            else:
                return database

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        """Yield a connection in a transaction, which is committed at the end, or rolled back after an error.

        Errors of the body that are not the database's are raised unchanged.

        Raises
        ------
        DatabaseFailure
            If the database failed. The commit may have happened; every write is safe to repeat by
            its key.
        LeaseLost
            If another validator has taken the database over.
        """
        async with self._counted() as connection, begun(connection):
            if self._token is not None:
                await hold(connection, self._token)
            yield connection

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[Connection]:
        """Yield a connection in a transaction that cannot write, whoever holds the lease.

        Raises
        ------
        DatabaseFailure
            If the database failed.
        """
        async with self._counted() as connection, begun(connection, readonly=True):
            yield connection

    def bind(self, token: int) -> None:
        """Let every transaction that can write begin with a look whether the lease still has `token`."""
        self._token = token

    @asynccontextmanager
    async def _counted(self) -> AsyncIterator[Connection]:
        """Yield a connection of the pool; count how long it is used, and give its failures our types."""
        try:
            with TRANSACTION_SECONDS.timed():
                async with self._places.connection(self._timeout_s) as connection:
                    yield connection
        except DatabaseFailure as failure:
            await self._take_note(failure)
            raise
        except Exception as error:
            if not is_drivers(error):
                raise
            own = self._typed(error)
            await self._take_note(own)
            raise own from error
        self._failing_since = None

    async def run(self, body: Callable[[Connection], Awaitable[T]]) -> T:
        """Run `body` in a transaction; repeat it after a conflict or a lost connection.

        `body` may be called up to `ATTEMPTS` times, also after a commit whose answer was lost. That
        is safe, because each write depends on its key (ON CONFLICT, or a state of the row), so that
        a second time changes nothing. `body` must execute statements only.

        Raises
        ------
        DatabaseFailure
            If a repetition would be useless, or the last attempt failed.
        """
        attempt = 1
        while True:
            try:
                async with self.transaction() as connection:
                    value = await body(connection)
            except REPEATABLE as failure:
                if attempt == ATTEMPTS:
                    raise
                log.info("transaction_repeated", attempt=attempt, error=str(failure))
            else:
                return value
            # Jitter, so that two transactions in a deadlock do not meet again.
            await asyncio.sleep(_BACKOFF_S * 2**attempt * random.uniform(0.5, 1.0))
            attempt += 1

    @asynccontextmanager
    async def alone(self, name: str) -> AsyncIterator[Connection]:
        """Yield a connection outside of the pool, whose statements have no time limit here.

        Parameters
        ----------
        name
            Name of the session, by which an operator and others of us know it.

        Raises
        ------
        DatabaseFailure
            If the connection fails, or the database in the body.
        """
        connection: Connection | None = None
        try:
            connection = await self._open_alone(name)
            yield connection
        except Exception as error:
            if isinstance(error, DatabaseFailure) or not is_drivers(error):
                raise
            raise self._typed(error) from error
        finally:
            if connection is not None:
                connection.terminate()

    def connections(self) -> tuple[int, int]:
        """Return the numbers of (active, idle) connections."""
        return self._places.count()

    @property
    def pool_size(self) -> int:
        """Largest number of connections."""
        return self._pool_size

    async def close(self) -> None:
        await self._places.close(self._timeout_s)

    def _typed(self, error: Exception) -> DatabaseFailure:
        failure = typed(error)
        if isinstance(failure, StatementRefused):
            UNFORESEEN[Party.DATABASE] += 1
            log.error(
                "statement_refused",
                sqlstate=failure.sqlstate,
                error=str(failure),
                exc_info=error,
                once=(failure.sqlstate, str(failure)),
            )
        elif isinstance(error, TimeoutError):
            return DatabaseFailure(
                f"database: no answer within {self._timeout_s:g} s (GAIA_DATABASE_TIMEOUT_S)"
            )
        return failure

    async def _take_note(self, failure: DatabaseFailure) -> None:
        """Replace all connections after a long time of failures, if the server answers a new one."""
        if isinstance(failure, LeaseLost):
            self._failing_since = None
            return  # the database is well
        FAILURES.add(type(failure).__name__)
        now = time.monotonic()
        if isinstance(failure, Conflict | StatementRefused):
            self._failing_since = None  # an answer of the server
            return
        if self._failing_since is None:
            self._failing_since = now
        failed_for_s = now - self._failing_since
        if failed_for_s < self._rebuild_after_s:
            return
        self._failing_since = now
        try:
            async with asyncio.timeout(self._timeout_s):
                fresh = await self._open()
        except Exception as error:
            if not is_drivers(error):
                raise
            return  # the server answers no one: new connections would not help
        spent, self._places = self._places, Places(self._open, self._pool_size)
        self._places.adopt(fresh)
        spent.terminate()
        log.warning("database_pool_rebuilt", failed_for_s=round(failed_for_s, 1), error=str(failure))


async def _open_connection(
    dsn: str, timeout_s: float, name: str, *, command_timeout_s: float | None
) -> Connection:
    """Return a new connection that decodes jsonb to Python values."""
    connection = await asyncpg.connect(
        dsn,
        timeout=timeout_s,
        command_timeout=command_timeout_s,
        server_settings={"application_name": name, "timezone": "UTC"},
    )
    try:
        await connection.set_type_codec("jsonb", encoder=json.dumps, decoder=json.loads, schema="pg_catalog")
        if name == _OUR_NAME:
            await connection.execute(SQL["bound_session"])
    except BaseException:
        connection.terminate()
        raise
    return connection


def _text_of(error: BaseException) -> str:
    """Return the text of a library's error for the operator, without the number of a system error."""
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def _unreachable(setting: str, problem: str) -> ConfigurationError:
    first_line = problem.splitlines()[0]
    return ConfigurationError(
        setting,
        f"the database cannot be reached ({first_line})",
        "start PostgreSQL or correct the address, or unset it to use the embedded server",
        ExitCode.DATABASE_UNREACHABLE,
    )
