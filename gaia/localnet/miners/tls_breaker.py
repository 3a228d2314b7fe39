"""A TLS proxy that forwards requests and breaks the encryption of some answers."""

from __future__ import annotations

import asyncio
import os
import re
import ssl
from contextlib import suppress
from pathlib import Path

NO_TLS_RECORD = b"this is no TLS record, by no means"


class TlsBreaker:
    """Answers requests for the paths in `broken` with unencrypted bytes, and forwards all others.

    Without a certificate it uses no TLS; the bytes then are not valid HTTP either.
    """

    def __init__(self, broken: re.Pattern[str]) -> None:
        self._broken = broken
        self._behind = ("", 0)
        self._server: asyncio.Server | None = None
        self._talks: set[asyncio.Task[None]] = set()

    async def start(
        self, host: str, port: int, certificate: tuple[Path, Path] | None, behind: tuple[str, int]
    ) -> tuple[str, int]:
        """Listen; return the address. `behind` is the address of a plain HTTP server."""
        self._behind = behind
        context = None
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*certificate)
        self._server = await asyncio.start_server(self._converse, host, port, ssl=context)
        address: tuple[str, int] = self._server.sockets[0].getsockname()
        return address

    async def stop(self) -> None:
        """Close all connections and stop listening."""
        if self._server is not None:
            self._server.close()
            for talk in self._talks:
                talk.cancel()
            await asyncio.gather(*self._talks, return_exceptions=True)
            await self._server.wait_closed()
            self._server = None

    def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        talk = asyncio.create_task(self._answer(reader, writer))
        self._talks.add(talk)
        talk.add_done_callback(self._talks.discard)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve the only request of a connection."""
        with suppress(ConnectionError, ssl.SSLError, asyncio.IncompleteReadError):
            try:
                head = await reader.readuntil(b"\r\n\r\n")
                if self._broken.search(head.split(b" ")[1].decode("latin-1")):
                    os.write(writer.get_extra_info("socket").fileno(), NO_TLS_RECORD)
                    await reader.read()
                    return
                writer.write(await self._from_behind(head, await reader.readexactly(_length_in(head))))
                await writer.drain()
                writer.close()
                await writer.wait_closed()
            finally:
                writer.transport.abort()

    async def _from_behind(self, head: bytes, body: bytes) -> bytes:
        reader, writer = await asyncio.open_connection(*self._behind)
        try:
            once = re.sub(rb"(?i)\r\nconnection:[^\r]*", b"", head)
            writer.write(once[:-2] + b"Connection: close\r\n\r\n" + body)
            return await reader.read()
        finally:
            writer.close()


def _length_in(head: bytes) -> int:
    found = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
    return int(found[1]) if found else 0
