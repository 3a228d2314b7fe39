"""A wire between a client and a server that can be cut or fall silent at any byte."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Self
from urllib.parse import parse_qs, urlsplit

_PIECE = 65_536


class Wire:
    """Listens on loopback and passes bytes on to the socket of the server that `dsn` names."""

    def __init__(self, dsn: str) -> None:
        parts = urlsplit(dsn)
        self._socket = Path(parse_qs(parts.query)["host"][0], ".s.PGSQL.5432")
        self._database = parts.path.strip("/")
        self._writers: set[asyncio.StreamWriter] = set()
        self._flows = asyncio.Event()
        self._flows.set()
        self.port = 0
        self.from_server = 0
        """Bytes the server has answered so far."""
        self.cut_at: int | None = None
        """The wire is cut, once, when the server has answered so many bytes."""

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self.speak()
        self._server.close()
        for writer in list(self._writers):
            writer.transport.abort()
        await self._server.wait_closed()

    @property
    def dsn(self) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/{self._database}?sslmode=disable"

    def fall_silent(self) -> None:
        """Pass nothing on any more, and close nothing, like a network that swallows packets."""
        self._flows.clear()

    def speak(self) -> None:
        self._flows.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up_reader, up_writer = await asyncio.open_unix_connection(str(self._socket))
        ends = {writer, up_writer}
        self._writers |= ends
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pass(reader, up_writer, is_answer=False))
                group.create_task(self._pass(up_reader, writer, is_answer=True))
        except* OSError:
            pass  # either end was closed: so is the other
        finally:
            for end in ends:
                end.transport.abort()
            self._writers -= ends

    async def _pass(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, is_answer: bool
    ) -> None:
        while piece := await source.read(_PIECE):
            await self._flows.wait()
            if is_answer:
                piece = self._counted(piece)
            sink.write(piece)
            await sink.drain()
            if is_answer and self.cut_at is not None and self.from_server >= self.cut_at:
                self.cut_at = None
                break
        raise ConnectionAbortedError

    def _counted(self, piece: bytes) -> bytes:
        if self.cut_at is not None:
            piece = piece[: max(0, self.cut_at - self.from_server)]
        self.from_server += len(piece)
        return piece
