"""An HTTP server on loopback that answers whatever a test wants, right or wrong."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Lie:
    """One answer, as it is sent."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    hangs: bool = False
    """Accept the request and say nothing, for ever."""


class Liar:
    """Answers each request with what `answer(method, path, headers)` returns; remembers them all."""

    def __init__(self, answer: Callable[[str, str, Mapping[str, str]], Lie]) -> None:
        self.answer = answer
        self.seen: list[tuple[str, str, dict[str, str]]] = []
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            method, path, _ = head[0].split(" ")
            headers = {
                name.lower(): text.strip() for name, _, text in (line.partition(":") for line in head[1:])
            }
            await reader.readexactly(int(headers.get("content-length") or 0))
            self.seen.append((method, path, headers))
            lie = self.answer(method, path, headers)
            if lie.hangs:
                await reader.read()
                return
            lines = [f"HTTP/1.1 {lie.status} said", "Connection: close", f"Content-Length: {len(lie.body)}"]
            lines += [f"{name}: {text}" for name, text in lie.headers.items()]
            writer.write("\r\n".join([*lines, "", ""]).encode() + lie.body)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def lying(answer: Callable[[str, str, Mapping[str, str]], Lie]) -> AsyncIterator[Liar]:
    """Serve lies on a port of its own; give the server, whose `url` has no slash at its end."""
    liar = Liar(answer)
    server = await asyncio.start_server(liar.serve, "127.0.0.1", 0)
    liar.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield liar
    finally:
        server.close()
