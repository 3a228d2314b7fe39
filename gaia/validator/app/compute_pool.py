"""The engine's side of the compute workers: units out, results back."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import struct
import sys
import time
from collections import deque
from pathlib import Path
from typing import Any, Protocol, cast

import msgspec
import structlog

from gaia.validator.app.job_ledger import (
    Acknowledge,
    Assign,
    Cancelled,
    Command,
    Dismiss,
    Event,
    Finished,
    JobLedger,
    Kill,
    Quarantine,
    Resolve,
    Submitted,
    Tick,
    WorkerHolding,
    WorkerLeaving,
    WorkerLost,
    WorkerReady,
)
from gaia.validator.app.rendezvous import read_board
from gaia.validator.utils.ipc_types import (
    Ack,
    Bye,
    Failure,
    FrameReader,
    Goodbye,
    Hello,
    ResultUnit,
    ToEngine,
    WorkUnit,
    encode_frame,
)

log = structlog.get_logger(__name__)

_TICK_S = 0.1
_BACKLOG = 512
_CREDENTIALS = struct.Struct("3i")


class PoolLimits(Protocol):
    """The settings that the pool obeys."""

    @property
    def unit_crash_limit(self) -> int: ...

    @property
    def unit_timeout_s(self) -> float: ...


class ComputePool:
    """Runs units in the workers that dial in.

    Parameters
    ----------
    limits
        The settings `unit_crash_limit` and `unit_timeout_s`.
    board_path
        The Supervisor's board of who lives; None: nobody publishes one.
    """

    def __init__(self, limits: PoolLimits, board_path: Path | None = None) -> None:
        self._board_path = board_path
        self._ledger = JobLedger(crash_limit=limits.unit_crash_limit, silence_limit_s=limits.unit_timeout_s)
        self._events: deque[Event] = deque()
        self._is_handling = False
        self._connections: dict[str, _Connection] = {}
        self._waiters: dict[str, list[asyncio.Future[ResultUnit]]] = {}
        self._server: asyncio.AbstractServer | None = None
        self._ticking: asyncio.Task[None] | None = None

    async def start(self, listener: socket.socket) -> None:
        """Accept workers on `listener`, a listening AF_UNIX socket that outlives us."""
        loop = asyncio.get_running_loop()
        options: dict[str, Any] = {"backlog": _BACKLOG}
        if sys.version_info >= (3, 13) and type(loop).__module__.startswith("asyncio"):
            options["cleanup_socket"] = False  # the path is the Supervisor's
        self._server = await loop.create_unix_server(lambda: _Connection(self), sock=listener, **options)
        self._ticking = asyncio.create_task(self._tick())

    async def close(self) -> None:
        """Stop accepting and let go of all workers; they keep what they hold."""
        if self._ticking is not None:
            self._ticking.cancel()
            await asyncio.gather(self._ticking, return_exceptions=True)
        if self._server is not None:
            self._server.close()
        for connection in list(self._connections.values()):
            connection.close()
        # One turn of the loop, in which the transports close.
        await asyncio.sleep(0)

    async def dispatch_and_wait(self, unit: WorkUnit) -> ResultUnit:
        """Run `unit` and return its result, a `Failure` included; never raises for the unit.

        A job id that is already under way is not run twice: all who wait get
        its one result. When the last of them is cancelled, so is the unit.
        """
        waiter: asyncio.Future[ResultUnit] = asyncio.get_running_loop().create_future()
        waiters = self._waiters.setdefault(unit.job_id, [])
        waiters.append(waiter)
        self.tell(Submitted(unit))
        try:
            return await waiter
        finally:
            if waiter in waiters:
                waiters.remove(waiter)
            if waiter.cancelled() and not waiters and self._waiters.get(unit.job_id) is waiters:
                del self._waiters[unit.job_id]
                self.tell(Cancelled(unit.job_id))

    @property
    def queue_depth(self) -> int:
        """Units that wait for a worker."""
        return self._ledger.waiting

    @property
    def busy(self) -> int:
        """Workers that hold a unit."""
        return self._ledger.busy

    @property
    def workers(self) -> int:
        """Workers that are connected."""
        return len(self._connections)

    @property
    def sandbox_level(self) -> int:
        """Sandbox level of the least protected worker; 0 while there is none."""
        return min((connection.sandbox_level for connection in self._connections.values()), default=0)

    def tell(self, event: Event) -> None:
        """Hand `event` to the ledger and carry out what it commands."""
        self._events.append(event)
        if self._is_handling:
            return  # the outer call goes on with it, in order
        self._is_handling = True
        try:
            while self._events:
                for command in self._ledger.handle(self._events.popleft(), time.time()):
                    self._carry_out(command)
        finally:
            self._is_handling = False

    def join(self, worker: str, connection: _Connection) -> None:
        """Take `connection` for `worker`'s, in place of any earlier one."""
        earlier = self._connections.get(worker)
        self._connections[worker] = connection
        if earlier is not None:
            earlier.close()

    def leave(self, worker: str, connection: _Connection) -> None:
        """Forget the worker, unless it has connected anew meanwhile."""
        if self._connections.get(worker) is connection:
            del self._connections[worker]
            self.tell(WorkerLost(worker))

    def _carry_out(self, command: Command) -> None:
        match command:
            case Assign(worker, unit):
                self._assign(worker, unit)
            case Resolve(result):
                for waiter in self._waiters.pop(result.job_id, []):
                    if not waiter.done():
                        waiter.set_result(result)
            case Acknowledge(worker, job_id, attempt):
                self._send(worker, encode_frame(Ack(job_id=job_id, attempt=attempt)))
            case Dismiss(worker):
                self._send(worker, encode_frame(Bye()))
            case Kill(worker, reason):
                log.warning("worker_killed", worker=worker, reason=reason)
                self._kill(worker)
            case Quarantine(job_id, crashes):
                log.error("unit_quarantined", job_id=job_id, crashes=crashes)

    def _assign(self, worker: str, unit: WorkUnit) -> None:
        try:
            frame = encode_frame(unit)
        except (TypeError, ValueError) as error:
            failure = Failure.of(error)
            result = ResultUnit(job_id=unit.job_id, attempt=unit.attempt, failure=failure)
            self.tell(Finished(worker, result))
            return
        self._send(worker, frame)

    def _send(self, worker: str, frame: bytes) -> None:
        connection = self._connections.get(worker)
        if connection is not None:
            connection.send(frame)

    def _kill(self, worker: str) -> None:
        connection = self._connections.get(worker)
        if connection is not None:
            connection.kill()
            return
        pid = read_board(self._board_path).workers.get(worker) if self._board_path else None
        if pid is not None:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                return

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(_TICK_S)
            living = read_board(self._board_path).workers if self._board_path else {}
            self.tell(Tick(frozenset(living)))


class _Connection(asyncio.Protocol):
    """One worker's stream."""

    def __init__(self, pool: ComputePool) -> None:
        self._pool = pool
        self._frames: FrameReader[ToEngine] = FrameReader(ToEngine)
        self._transport: asyncio.Transport | None = None
        self._pid = 0
        self._pidfd = -1
        self._worker = ""
        self.sandbox_level = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
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
        if self._pidfd >= 0:
            os.close(self._pidfd)
            self._pidfd = -1
        if self._worker:
            self._pool.leave(self._worker, self)

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
                self._pool.tell(Finished(self._worker, message))
            case Hello(seat=seat, incarnation=incarnation, pid=pid):
                if pid != self._pid:
                    self.close()
                    return
                self._worker = f"{seat}.{incarnation}"
                self.sandbox_level = message.sandbox
                self._pool.join(self._worker, self)
                if message.holding:
                    self._pool.tell(WorkerHolding(self._worker, message.holding, message.attempt))
                else:
                    self._pool.tell(WorkerReady(self._worker))
            case _ if not self._worker:
                self.close()
            case Goodbye():
                self._pool.tell(WorkerLeaving(self._worker))
