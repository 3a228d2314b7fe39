"""A bounded pool of connections; only this module takes and frees places."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Final

from gaia.validator.db.failures import ConnectionLost, NoPlace

if TYPE_CHECKING:
    import asyncpg

    Connection = asyncpg.Connection[asyncpg.Record]

LONGEST_IDLE_S: Final = 300.0
"""Seconds of silence after which routers and poolers may drop a connection without notice."""


class Places:
    """At most `size` connections to one server.

    The driver's own pool relies on the driver to clean up after a lost connection. During a
    statement or a commit it does not, and the place is lost for good. Here a place is a semaphore,
    released in a `finally`.
    """

    def __init__(self, opening: Callable[[], Awaitable[Connection]], size: int) -> None:
        self._open = opening
        self._size = size
        self._free = asyncio.Semaphore(size)
        self._idle: list[tuple[Connection, float]] = []
        self._busy: set[Connection] = set()
        self._is_closed = False

    @asynccontextmanager
    async def connection(self, timeout_s: float) -> AsyncIterator[Connection]:
        """Yield an exclusive connection; close it afterwards if it is unusable.

        Raises
        ------
        NoPlace
            If no connection becomes free within `timeout_s`.
        ConnectionLost
            If the pool is closed.
        """
        await self._take(timeout_s)
        try:
            self._require_open()  # the pool may have been closed during the wait
            connection = self._fit() or await self._open()
            self._busy.add(connection)
            try:
                yield connection
            finally:
                self._busy.discard(connection)
                if self._is_closed or connection.is_closed() or connection.is_in_transaction():
                    connection.terminate()
                else:
                    self._idle.append((connection, time.monotonic()))
        finally:
            self._free.release()

    def adopt(self, connection: Connection) -> None:
        """Add an idle connection that was opened elsewhere."""
        self._idle.append((connection, time.monotonic()))

    def count(self) -> tuple[int, int]:
        """Return the numbers of connections (in use, idle)."""
        return len(self._busy), sum(not connection.is_closed() for connection, _ in self._idle)

    async def close(self, timeout_s: float) -> None:
        """Wait up to `timeout_s` for connections in use, close all in order, and terminate the rest."""
        self._is_closed = True
        try:
            async with asyncio.timeout(timeout_s):
                for _ in range(self._size):
                    await self._free.acquire()
                for connection, _ in self._idle:
                    # A dead server needs no orderly close.
                    with suppress(Exception):
                        await connection.close()
        except TimeoutError:
            pass  # terminate closes those that are still in use
        finally:
            self.terminate()

    def terminate(self) -> None:
        """Close every connection now, in use or not; callers that wait get an error."""
        self._is_closed = True
        for connection in [*self._busy, *(connection for connection, _ in self._idle)]:
            connection.terminate()
        self._idle.clear()

    async def _take(self, timeout_s: float) -> None:
        self._require_open()
        try:
            async with asyncio.timeout(timeout_s):
                await self._free.acquire()
        except TimeoutError as error:
            raise NoPlace(
                f"database: all {self._size} connections (GAIA_DATABASE_POOL_SIZE) were in use"
                f" for {timeout_s:g} s (GAIA_DATABASE_TIMEOUT_S)"
            ) from error

    def _require_open(self) -> None:
        if self._is_closed:
            raise ConnectionLost("database: the connections are closed")

    def _fit(self) -> Connection | None:
        """Return the most recently used idle connection; close the unusable ones."""
        oldest = time.monotonic() - LONGEST_IDLE_S
        stale = [each for each in self._idle if each[0].is_closed() or each[1] < oldest]
        for each in stale:
            self._idle.remove(each)
            each[0].terminate()
        return self._idle.pop()[0] if self._idle else None
