"""The connection pool; a library's errors become ours."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import asyncpg

from gaia.validator.utils.errors import ConfigurationError, ExitCode, TransientError

if TYPE_CHECKING:
    from asyncpg.pool import PoolConnectionProxy

    Connection = PoolConnectionProxy[asyncpg.Record]

# What asyncpg raises when the server died under it; InternalClientError included, as
# it reports "cannot switch to state" when a reply is cut short.
_LOST = (
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.TooManyConnectionsError,
    asyncpg.DiskFullError,
    asyncpg.QueryCanceledError,
    OSError,
    TimeoutError,
)
_REFUSED = (
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidPasswordError,
    asyncpg.InvalidCatalogNameError,
)


class Database:
    """A bounded pool whose failures are `TransientError`."""

    def __init__(self, pool: asyncpg.Pool[asyncpg.Record], timeout_s: float) -> None:
        self._pool = pool
        self._timeout_s = timeout_s

    @classmethod
    async def connect(
        cls, dsn: str, *, timeout_s: float, pool_size: int, setting: str = "GAIA_DATABASE_URL"
    ) -> Database:
        """Open the pool, waiting up to `timeout_s` for the server.

        Raises
        ------
        ConfigurationError
            If no server answers by then or it refuses us; names `setting`.
        """
        loop = asyncio.get_running_loop()
        end = loop.time() + timeout_s
        while True:
            try:
                pool = await asyncpg.create_pool(
                    dsn,
                    min_size=1,
                    max_size=pool_size,
                    timeout=timeout_s,
                    command_timeout=timeout_s,
                    init=_speak_json,
                    server_settings={"application_name": "gaia-validator", "timezone": "UTC"},
                )
                return cls(pool, timeout_s)
            except _REFUSED as error:
                raise _unreachable(setting, str(error)) from error
            except _LOST as error:
                if loop.time() > end:
                    problem = _said(error) or f"no answer in {timeout_s:g} s"
                    raise _unreachable(setting, problem) from error
                await asyncio.sleep(0.1)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        """Yield a connection inside a transaction.

        Raises
        ------
        TransientError
            If the server went away. The commit may or may not have happened:
            every write is safe to repeat by its key.
        """
        try:
            async with (
                self._pool.acquire(timeout=self._timeout_s) as connection,
                connection.transaction(),
            ):
                yield connection
        except _LOST as error:
            raise TransientError(f"database: {type(error).__name__}: {error}") from error

    def connections(self) -> tuple[int, int]:
        """Return how many connections are (active, idle)."""
        idle = self._pool.get_idle_size()
        return self._pool.get_size() - idle, idle

    async def close(self) -> None:
        try:
            await asyncio.wait_for(self._pool.close(), self._timeout_s)
        except _LOST:
            self._pool.terminate()


async def _speak_json(connection: asyncpg.Connection[asyncpg.Record]) -> None:
    await connection.set_type_codec("jsonb", encoder=json.dumps, decoder=json.loads, schema="pg_catalog")


def _said(error: BaseException) -> str:
    """What a library's error says to an operator; an error of the system without its number."""
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def _unreachable(setting: str, problem: str) -> ConfigurationError:
    first_line = problem.splitlines()[0]
    return ConfigurationError(
        setting,
        f"the database cannot be reached ({first_line})",
        "start PostgreSQL or correct the address, or unset it to use the embedded server",
        ExitCode.DATABASE_UNREACHABLE,
    )
