"""The engine's end of a compute worker's connection: identity, messages and end."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import struct
from collections.abc import Callable
from typing import Protocol, cast

import msgspec
import structlog

from gaia.validator.app.pool.job_events import Event, WorkerHolding, WorkerLeaving, WorkerReady
from gaia.validator.utils.identities import WorkerId, worker_id
from gaia.validator.utils.ipc_types import (
    FrameReader,
    Hello,
    LeaveRequest,
    ResultUnit,
    ToEngine,
    Welcome,
    encode_frame,
)

_security = structlog.get_logger("security")

_CREDENTIALS = struct.Struct("3i")
_WELCOME = encode_frame(Welcome())
_RETRY_S = 0.005
_PATIENCE_S = 5.0


class Host(Protocol):
    """Interface of the pool for connections."""

    def expects(self, worker: WorkerId, pid: int) -> bool | None:
        """Return whether the board has this process under this name; None if it does not list the name yet."""
        ...

    def meet(self, connection: WorkerConnection) -> None:
        """Note an open connection that is not identified yet."""
        ...

    def join(self, worker: WorkerId, connection: WorkerConnection) -> None:
        """Use `connection` for `worker`, in place of any earlier one."""
        ...

    def leave(self, worker: WorkerId, connection: WorkerConnection, pidfd: int) -> None:
        """Note that the connection ended; the host closes `pidfd`. `worker` is "" if it was never identified."""
        ...

    def answered(self, worker: WorkerId, result: ResultUnit) -> None:
        """Process the answer of a worker."""
        ...

    @property
    def tell(self) -> Callable[[Event], None]:
        """Pass an event to the ledger."""
        ...


class WorkerConnection(asyncio.Protocol):
    """Connection of a process that identifies itself as a worker once; the board must confirm it."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._frames: FrameReader[ToEngine] = FrameReader(ToEngine)
        self._transport: asyncio.Transport | None = None
        self._pid = 0
        self._pidfd = -1
        self._worker = WorkerId("")
        self._deferred: list[ToEngine] | None = None
        """Messages that arrived before the board named the worker; None if the board is not awaited."""
        self.sandbox_level = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._host.meet(self)
        peer = transport.get_extra_info("socket")
        credentials = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        self._pid, uid, _ = _CREDENTIALS.unpack(credentials)
        try:
            # While it is connected, no other process can have its pid, so this is the worker.
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
            self._on_message(message)

    def connection_lost(self, _exc: Exception | None) -> None:
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
        """Kill the process at the other end."""
        if self._pidfd >= 0:
            try:
                signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
            except ProcessLookupError:
                return

    def _on_message(self, message: ToEngine) -> None:
        match message:
            case ResultUnit() if self._worker:
                self._host.answered(self._worker, message)
            case LeaveRequest() if self._worker:
                self._host.tell(WorkerLeaving(self._worker))
            case Hello() if not self._worker and self._deferred is None:
                self._introduce(message, _PATIENCE_S)
            case _ if self._deferred is not None and not isinstance(message, Hello):
                self._deferred.append(message)
            case _:
                self.close()

    def _introduce(self, hello: Hello, patience_s: float) -> None:
        """Admit the worker once the board names this process, which may happen a little later."""
        if self._transport is None:
            return
        worker = worker_id(hello.seat, hello.incarnation)
        is_expected = hello.pid == self._pid and self._host.expects(worker, self._pid)
        if is_expected is None and patience_s > 0:
            self._deferred = self._deferred or []
            self._transport.pause_reading()
            later = patience_s - _RETRY_S
            asyncio.get_running_loop().call_later(_RETRY_S, self._introduce, hello, later)
            return
        if not is_expected:
            _security.error("worker_refused", worker=worker, claimed_pid=hello.pid, pid=self._pid)
            self.close()
            return
        self._admit(worker, hello)

    def _admit(self, worker: WorkerId, hello: Hello) -> None:
        self._worker = worker
        self.sandbox_level = hello.sandbox
        self._host.join(worker, self)
        self.send(_WELCOME)
        if hello.holding:
            self._host.tell(WorkerHolding(worker, hello.holding, hello.attempt, str(hello.seat)))
        else:
            self._host.tell(WorkerReady(worker, str(hello.seat)))
        deferred, self._deferred = self._deferred, None
        if deferred is not None and self._transport is not None:
            self._transport.resume_reading()
            for message in deferred:
                self._on_message(message)
