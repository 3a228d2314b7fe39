"""A uvicorn server on its own port, without signal handlers, so that a process can run several."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import uvicorn

if TYPE_CHECKING:
    from starlette.types import ASGIApp

_BACKLOG = 256


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = asyncio.Event()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Install no signal handlers, because the process handles signals."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.listening.set()


class Listener:
    """Serves one ASGI application until it is stopped.

    Parameters
    ----------
    certificate
        Files of certificate and key; None: plain HTTP.
    """

    def __init__(self, application: ASGIApp, certificate: tuple[Path, Path] | None = None) -> None:
        certificate_file, key_file = certificate or (None, None)
        self._config = uvicorn.Config(
            application,
            http="h11",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=1,
            ssl_certfile=certificate_file,
            ssl_keyfile=key_file,
        )
        self._server: _Server | None = None
        self._task: asyncio.Task[None] | None = None

    async def start(self, host: str, port: int = 0) -> tuple[str, int]:
        """Listen on `host`; return the address. Port 0 takes any free one."""
        listening = socket.create_server((host, port), backlog=_BACKLOG)
        self._server = _Server(self._config)
        self._task = asyncio.create_task(self._server.serve(sockets=[listening]))
        started = asyncio.create_task(self._server.listening.wait())
        await asyncio.wait({self._task, started}, return_when=asyncio.FIRST_COMPLETED)
        if self._task.done():
            started.cancel()
            self._task.result()
        address: tuple[str, int] = listening.getsockname()
        return address

    async def stop(self) -> None:
        """Stop listening, and give open requests one second to finish."""
        if self._server is not None and self._task is not None:
            self._server.should_exit = True
            await self._task
