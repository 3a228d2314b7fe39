"""A proxy in front of the embedded server's socket, which cuts connections in the middle of a commit."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Final
from urllib.parse import parse_qs, urlsplit

_OURS, _REAL = ".s.PGSQL.5432", ".s.PGSQL.5433"
_QUERY: Final = b"Q"
_COMMIT, _READ_ONLY, _BEGIN = b"COMMIT", b"READ ONLY", b"BEGIN"

OnCommit = Callable[[Callable[[], Awaitable[None]]], Awaitable[None]]
"""Called with what sends the commit to the server and waits for its answer; the connection ends after it."""


def folder_of(dsn: str) -> Path:
    """Return the folder of the server's socket."""
    return Path(parse_qs(urlsplit(dsn).query)["host"][0])


@asynccontextmanager
async def moved(dsn: str) -> AsyncIterator[None]:
    """Move the socket of a running server away until the body ends; sessions that it has go on."""
    folder = folder_of(dsn)
    (folder / _OURS).rename(folder / _REAL)
    try:
        yield
    finally:
        # A server that was replaced meanwhile has made its own.
        with suppress(FileNotFoundError):
            if (folder / _OURS).exists():
                (folder / _REAL).unlink()
            else:
                (folder / _REAL).rename(folder / _OURS)


@asynccontextmanager
async def trapped(dsn: str, on_commit: OnCommit) -> AsyncIterator[asyncio.Event]:
    """Let new connections pass a proxy; hand the first commit of a transaction that can write to `on_commit`.

    Yields an event that is set once a commit was met.
    """
    met = asyncio.Event()
    async with moved(dsn):
        folder = folder_of(dsn)

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with suppress(OSError, asyncio.IncompleteReadError):
                server = await asyncio.open_unix_connection(str(folder / _REAL))
                await _Connection((reader, writer), server, on_commit, met).run()

        listening = await asyncio.start_unix_server(serve, str(folder / _OURS))
        try:
            yield met
        finally:
            listening.close()
            (folder / _OURS).unlink(missing_ok=True)


class _Connection:
    """One client's connection, and ours to the server."""

    def __init__(
        self,
        client: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        server: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        on_commit: OnCommit,
        met: asyncio.Event,
    ) -> None:
        self._from_client, self._to_client = client
        self._from_server, self._to_server = server
        self._on_commit = on_commit
        self._met = met
        self._answered = asyncio.Event()
        self._is_cut = False

    async def run(self) -> None:
        tasks = [asyncio.create_task(self._forward()), asyncio.create_task(self._answer())]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            for writer in (self._to_client, self._to_server):
                writer.close()
                with suppress(OSError):
                    await writer.wait_closed()

    async def _forward(self) -> None:
        # The first message has no type.
        size = await self._from_client.readexactly(4)
        self._to_server.write(size + await self._from_client.readexactly(int.from_bytes(size) - 4))
        can_write = False
        while True:
            head = await self._from_client.readexactly(5)
            body = await self._from_client.readexactly(int.from_bytes(head[1:]) - 4)
            if head[:1] == _QUERY and body.startswith(_BEGIN):
                can_write = _READ_ONLY not in body
            if head[:1] == _QUERY and body.startswith(_COMMIT) and can_write and not self._met.is_set():
                self._met.set()
                self._is_cut = True
                await self._on_commit(partial(self._send, head + body))
                return
            self._to_server.write(head + body)
            await self._to_server.drain()

    async def _send(self, message: bytes) -> None:
        """Send a message to the server, and wait for its answer, which the client never gets."""
        self._answered.clear()
        self._to_server.write(message)
        await self._to_server.drain()
        await self._answered.wait()

    async def _answer(self) -> None:
        while piece := await self._from_server.read(65_536):
            self._answered.set()
            if not self._is_cut:
                self._to_client.write(piece)
                await self._to_client.drain()
