"""A bounded number of connections; every place is given back by this file and by nothing else."""

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
"""Routers and poolers forget a connection that is silent for longer, and tell nobody."""


class Places:
    """Connections of one server, `size` at most at a time.

    The driver's own pool counts on the driver to clear up after a lost connection. Where
    the loss shows while a statement or a commit is under way it does not, and the place is
    gone for good. Here a place is a semaphore's, given back in a `finally`.
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
        """Yield a connection nobody else has; one that is left unfit for use is ended.

        Raises
        ------
        NoPlace
            If none comes free within `timeout_s`.
        ConnectionLost
            If the places are closed.
        """
        await self._take(timeout_s)
        try:
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
        """Keep a connection that was opened elsewhere, for the next who asks."""
        self._idle.append((connection, time.monotonic()))

    def count(self) -> tuple[int, int]:
        """Return how many connections are (in use, idle)."""
        return len(self._busy), sum(not connection.is_closed() for connection, _ in self._idle)

    async def close(self, timeout_s: float) -> None:
        """Wait up to `timeout_s` for those in use, say goodbye to the server, and end what is left."""
        self._is_closed = True
        try:
            async with asyncio.timeout(timeout_s):
                for _ in range(self._size):
                    await self._free.acquire()
                for connection, _ in self._idle:
                    # A server that is gone needs no goodbye.
                    with suppress(Exception):
                        await connection.close()
        except TimeoutError:
            pass  # terminate ends those that are still in use
        finally:
            self.terminate()

    def terminate(self) -> None:
        """End every connection now, in use or not; whoever waits for an answer is told."""
        self._is_closed = True
        for connection in [*self._busy, *(connection for connection, _ in self._idle)]:
            connection.terminate()
        self._idle.clear()

    async def _take(self, timeout_s: float) -> None:
        if self._is_closed:
            raise ConnectionLost("database: the connections are closed")
        try:
            async with asyncio.timeout(timeout_s):
                await self._free.acquire()
        except TimeoutError as error:
            raise NoPlace(
                f"database: all {self._size} connections (GAIA_DATABASE_POOL_SIZE) were in use"
                f" for {timeout_s:g} s (GAIA_DATABASE_TIMEOUT_S)"
            ) from error

    def _fit(self) -> Connection | None:
        """Return the idle connection that was used last; end those that are of no use any more."""
        oldest = time.monotonic() - LONGEST_IDLE_S
        stale = [each for each in self._idle if each[0].is_closed() or each[1] < oldest]
        for each in stale:
            self._idle.remove(each)
            each[0].terminate()
        return self._idle.pop()[0] if self._idle else None
