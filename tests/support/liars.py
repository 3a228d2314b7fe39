"""Servers on loopback that answer as they please."""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

Answer = Callable[[bytes, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def liar(answer: Answer, certificate: tuple[Path, Path] | None = None) -> AsyncIterator[str]:
    """Serve each connection with `answer(request head, writer)`; yields "scheme://host:port"."""
    answers: set[asyncio.Task[None]] = set()
    context = None
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*certificate)

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        answers.add(task)
        try:
            await answer(await reader.readuntil(b"\r\n\r\n"), writer)
            await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError, ssl.SSLError):
            return
        finally:
            writer.transport.abort() if context else writer.close()

    server = await asyncio.start_server(converse, "127.0.0.1", 0, ssl=context)
    host, port = server.sockets[0].getsockname()
    try:
        yield f"{'https' if context else 'http'}://{host}:{port}"
    finally:
        for task in answers:
            task.cancel()
        await asyncio.gather(*answers, return_exceptions=True)
        server.close()
        await server.wait_closed()


def beneath_tls(writer: asyncio.StreamWriter, content: bytes) -> None:
    """Put `content` on the wire as it is, past the encryption."""
    os.write(writer.get_extra_info("socket").fileno(), content)
