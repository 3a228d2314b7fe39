"""One compute worker's stream, at the engine's end: who it is, what it says, how it is ended."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import struct
from typing import Protocol, cast

import msgspec
import structlog

from gaia.validator.app.pool.job_events import Event, WorkerHolding, WorkerLeaving, WorkerReady
from gaia.validator.utils.ipc_types import (
    FrameReader,
    Goodbye,
    Hello,
    ResultUnit,
    ToEngine,
    Welcome,
    encode_frame,
)

log = structlog.get_logger(__name__)

_CREDENTIALS = struct.Struct("3i")
_WELCOME = encode_frame(Welcome())
_LOOK_AGAIN_S = 0.005
_PATIENCE_S = 5.0


class Host(Protocol):
    """The pool, as a connection sees it."""

    def expects(self, worker: str, pid: int) -> bool | None:
        """Say whether the Supervisor started that process under that name; None: not as far as we know yet."""
        ...

    def meet(self, connection: WorkerConnection) -> None:
        """Somebody has connected."""
        ...

    def join(self, worker: str, connection: WorkerConnection) -> None:
        """It is `worker`."""
        ...

    def leave(self, worker: str, connection: WorkerConnection, pidfd: int) -> None:
        """The connection ended; `worker` is "" if it never said who it was. `pidfd` is the host's to close."""
        ...

    def answered(self, worker: str, result: ResultUnit) -> None: ...

    def tell(self, event: Event) -> None: ...


class WorkerConnection(asyncio.Protocol):
    """A stream from a process that says which worker it is, once, and is believed if the board agrees."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._frames: FrameReader[ToEngine] = FrameReader(ToEngine)
        self._transport: asyncio.Transport | None = None
        self._pid = 0
        self._pidfd = -1
        self._worker = ""
        self._unheard: list[ToEngine] | None = None
        """What it said while we wait for the board to name it."""
        self.sandbox_level = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._host.meet(self)
        peer = transport.get_extra_info("socket")
        credentials = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        self._pid, uid, _ = _CREDENTIALS.unpack(credentials)
        try:
            # While it is connected its pid cannot be another's, so this is surely the worker.
            self._pidfd = os.pidfd_open(self._pid)
        except OSError:
            transport.close()
        if uid != os.geteuid():
            transport.close()

    def data_received(self, data: bytes) -> None:
        try:
            messages = self._frames.feed(data)
        except (ValueError, msgspec.MsgspecError):
            self.close()
            return
        for message in messages:
            self._hear(message)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        pidfd, self._pidfd = self._pidfd, -1
        self._host.leave(self._worker, self, pidfd)

    def send(self, frame: bytes) -> None:
        if self._transport is not None:
            self._transport.write(frame)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def kill(self) -> None:
        """End the process at the other side, whatever it is doing."""
        if self._pidfd >= 0:
            try:
                signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
            except ProcessLookupError:
                return

    def _hear(self, message: ToEngine) -> None:
        match message:
            case ResultUnit() if self._worker:
                self._host.answered(self._worker, message)
            case Goodbye() if self._worker:
                self._host.tell(WorkerLeaving(self._worker))
            case Hello() if not self._worker and self._unheard is None:
                self._introduce(message, _PATIENCE_S)
            case _ if self._unheard is not None and not isinstance(message, Hello):
                self._unheard.append(message)
            case _:
                self.close()

    def _introduce(self, hello: Hello, patience_s: float) -> None:
        """Believe who it says it is, if that is what the Supervisor says; it may say so a little later."""
        if self._transport is None:
            return
        worker = f"{hello.seat}.{hello.incarnation}"
        is_expected = hello.pid == self._pid and self._host.expects(worker, self._pid)
        if is_expected is None and patience_s > 0:
            self._unheard = self._unheard or []
            self._transport.pause_reading()
            later = patience_s - _LOOK_AGAIN_S
            asyncio.get_running_loop().call_later(_LOOK_AGAIN_S, self._introduce, hello, later)
            return
        if not is_expected:
            log.error("worker_refused", worker=worker, says_pid=hello.pid, pid=self._pid)
            self.close()
            return
        self._admit(worker, hello)

    def _admit(self, worker: str, hello: Hello) -> None:
        self._worker = worker
        self.sandbox_level = hello.sandbox
        self._host.join(worker, self)
        self.send(_WELCOME)
        if hello.holding:
            self._host.tell(WorkerHolding(worker, hello.holding, hello.attempt))
        else:
            self._host.tell(WorkerReady(worker))
        unheard, self._unheard = self._unheard, None
        if unheard is not None and self._transport is not None:
            self._transport.resume_reading()
            for message in unheard:
                self._hear(message)
