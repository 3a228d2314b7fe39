"""A web server on loopback that takes messages, as a service for operators does."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Webhook:
    """A web server that keeps what is posted to it."""

    answer: str
    port: int = 0
    posted: list[dict[str, Any]] = field(default_factory=list)
    gets: asyncio.Queue[str] = field(default_factory=asyncio.Queue)
    """Paths of the GET requests."""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        if head.startswith("GET "):
            self.gets.put_nowait(head.split()[1])
        else:
            length = int(head.lower().partition("content-length: ")[2].partition("\r\n")[0])
            self.posted.append(json.loads(await reader.readexactly(length)))
        writer.write(f"HTTP/1.1 {self.answer}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())
        await writer.drain()
        writer.close()

    @property
    def address(self) -> str:
        return f"json://user:hushhush@127.0.0.1:{self.port}/hook"


@asynccontextmanager
async def webhook(answer: str = "200 OK") -> AsyncIterator[Webhook]:
    hook = Webhook(answer)
    server = await asyncio.start_server(hook.serve, "127.0.0.1", 0)
    hook.port = server.sockets[0].getsockname()[1]
    async with server:
        yield hook


@contextmanager
def stuck_service() -> Iterator[str]:
    """Yield the address of a service that takes connections and never answers, until it is left."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"json://127.0.0.1:{server.getsockname()[1]}/?rto=600&cto=600"
