"""Waits until a validator is ready: its probe says so, and its engine has a session at the server of now."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import Final

import asyncpg

from gaia.localnet.view.watch import NOT_NOW

POLL_S: Final = 0.01
_ANSWER_S: Final = 5.0
_ENGINE_SESSIONS: Final = (
    "SELECT count(*) FROM pg_stat_activity"
    " WHERE application_name = 'gaia-validator' AND backend_type = 'client backend'"
)
_REQUEST: Final = b"GET /readyz HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"


class NeverReady(Exception):
    """The validator was not ready within the limit."""


class Readiness:
    """Asks one validator, over its endpoint and over a session of its database.

    Parameters
    ----------
    port
        Port of the endpoint on loopback.
    dsn
        URL of the embedded database.
    """

    def __init__(self, port: int, dsn: str) -> None:
        self._port = port
        self._dsn = dsn
        self._session: asyncpg.Connection[asyncpg.Record] | None = None

    async def reached(self, begun: float, limit_s: float) -> float:
        """Ask at even intervals until ready; return the seconds since `begun`.

        Raises
        ------
        NeverReady
            If that takes longer than `limit_s`.
        """
        while True:
            asked = time.monotonic()
            if await self._is_ready():
                return time.monotonic() - begun
            if asked - begun > limit_s:
                raise NeverReady(f"the validator was not ready within {limit_s:g} s")
            await asyncio.sleep(max(0.0, asked + POLL_S - time.monotonic()))

    async def write(self, statement: str) -> None:
        """Execute a statement in a ready database."""
        assert self._session is not None
        await self._session.execute(statement)

    def close(self) -> None:
        """Drop the session."""
        if self._session is not None:
            self._session.terminate()
        self._session = None

    async def _is_ready(self) -> bool:
        return await self._says_ready() and await self._has_engine()

    async def _says_ready(self) -> bool:
        try:
            async with asyncio.timeout(_ANSWER_S):
                reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
                try:
                    writer.write(_REQUEST)
                    return b" 200 " in await reader.readline()
                finally:
                    writer.close()
        except OSError:
            return False  # nobody listens or answers; the one who did may have died

    async def _has_engine(self) -> bool:
        """Return whether the server answers a session of ours, and has one of the engine."""
        with suppress(*NOT_NOW):
            if self._session is None or self._session.is_closed():
                self._session = await asyncpg.connect(self._dsn, ssl=False, timeout=_ANSWER_S)
            return bool(await self._session.fetchval(_ENGINE_SESSIONS, timeout=_ANSWER_S))
        self.close()
        return False
