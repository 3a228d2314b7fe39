"""The compute worker: a replaceable process that runs one handler at a time and returns its result."""

from __future__ import annotations

import functools
import logging
import os
import resource
import select
import signal
import socket
import sys
import time
from collections.abc import Callable
from importlib import import_module
from multiprocessing.connection import Connection
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import msgspec

from gaia.validator.app.children.preload import load_handlers
from gaia.validator.app.logging_config import configure_logging, event
from gaia.validator.app.meeting.rendezvous import run_directory
from gaia.validator.app.meeting.stack_dumps import offer_stacks
from gaia.validator.app.sandbox.confine import Level, confine, grant_for
from gaia.validator.app.sandbox.dial import EngineDial
from gaia.validator.app.worker_guard import Note, WorkerGuard
from gaia.validator.utils.errors import GaiaError
from gaia.validator.utils.identities import JobId, worker_id
from gaia.validator.utils.ipc_types import (
    CANARY,
    Ack,
    Dismissed,
    Failure,
    FrameReader,
    Hello,
    LeaveRequest,
    ResultUnit,
    Retire,
    SandboxMode,
    ToWorker,
    Welcome,
    WorkUnit,
    encode_frame,
)

if TYPE_CHECKING:
    from gaia.validator.app.supervisor_options import WorkerOrders

Handler = Callable[[dict[str, Any]], dict[str, Any]]

_log = logging.getLogger("application")
_security = logging.getLogger("security")
_RETRY_S = 0.05
_BRIEF_S = 0.5
"""Lifetime of a connection below which the next one is delayed, because the engine may close each."""
_FAREWELL_S = 0.5
_READ_BYTES = 65536
_FITS_BYTES = 65536
"""Bytes that a socket takes at once, even if the peer does not read."""
_FILLS_MEMORY_S = 0.001
_LINGER_MS = 50.0
"""Milliseconds that the alarm of an ended unit stays set, so that the next unit can reuse it."""
_peak: list[int] = []


def run_compute_worker(orders: WorkerOrders, notes: Connection | None = None) -> None:
    """Serve units until told to stop, or until `orders.max_jobs` units are served.

    Parameters
    ----------
    notes
        Connection on which the Supervisor learns that the worker is connected or should be replaced.
    """
    guard = WorkerGuard(orders.memory_mib, orders.stack_path)
    if orders.stack_path:
        offer_stacks(run_directory(Path(orders.data_dir)))
    configure_logging(
        orders.log_level, orders.log_format, orders.log_files, role="compute_worker", seat=orders.seat
    )
    worker = ComputeWorker(orders, guard, notes)
    if orders.sandbox != "off":
        worker.lock_in(orders.sandbox, orders.data_dir)

    def drain(_signum: int, _frame: FrameType | None) -> None:
        worker.drain()

    signal.signal(signal.SIGTERM, drain)
    worker.run()


class ComputeWorker:
    """Serves one unit at a time on one connection; keeps each result until it is acknowledged.

    With `notes` it keeps serving after its last unit, until its successor is admitted and the
    Supervisor tells it to leave. Without `notes` it asks the engine for its dismissal.
    """

    def __init__(
        self, orders: WorkerOrders, guard: WorkerGuard | None = None, notes: Connection | None = None
    ) -> None:
        self._orders = orders
        self._dial = EngineDial(orders.socket_path)
        self._sandbox = Level.NONE
        self._guard = guard
        self._notes = notes
        self._noted: set[Note] = set()
        self._served = 0
        self._served_at = time.monotonic()
        self._unacknowledged: ResultUnit | None = None
        self._is_draining = False
        self._is_dismissed = False
        self._asked_to_leave_at: float | None = None
        self._wake_receiver, self._wake_sender = socket.socketpair()
        self._wake_receiver.setblocking(False)
        self._wake_sender.setblocking(False)

    def drain(self) -> None:
        """Finish the present unit, then leave; safe in a signal handler and from another thread."""
        self._is_draining = True
        try:
            self._wake_sender.send(b"!")
        except BlockingIOError:
            return  # it is already awake

    def lock_in(self, mode: SandboxMode, data_dir: str) -> None:
        """Enter the sandbox for good; the handlers' files and the engine's socket stay accessible.

        Raises
        ------
        ConfigurationError
            If the kernel offers less than `mode` requires.
        """
        # A compiler needs writable executable memory, which the sandbox forbids.
        load_handlers(self._orders.handlers)
        self._sandbox = confine(mode, grant_for(data_dir, self._orders.handlers), self._dial)
        level = logging.INFO if self._sandbox >= Level.BROKERED else logging.WARNING
        worker = worker_id(self._orders.seat, self._orders.incarnation)
        event(_security, "sandbox_entered", level, worker=worker, sandbox=self._sandbox.name.lower())

    def run(self) -> None:
        """Connect and serve; reconnect when the engine goes away, until dismissed."""
        try:
            while not self._is_dismissed:
                connection = self._connect()
                if connection is None:
                    return
                connected_at = time.monotonic()
                with connection:
                    try:
                        self._serve(connection)
                    except (OSError, ValueError, msgspec.MsgspecError):
                        pass  # the engine died, or its successor uses another protocol
                if self._guard is not None:
                    self._guard.rest()
                if not self._is_dismissed and time.monotonic() - connected_at < _BRIEF_S:
                    time.sleep(_RETRY_S)
        finally:
            self._dial.close()
            self._wake_receiver.close()
            self._wake_sender.close()

    def _connect(self) -> socket.socket | None:
        """Return a connection, or None if draining; waits, because the Supervisor keeps the socket open."""
        while True:
            try:
                connection = self._dial.dial()
            except OSError:
                if self._is_draining:
                    return None
                time.sleep(_RETRY_S)
                continue
            if self._dial.spares == 0 and not self._note(Note.SPENT):
                self._is_draining = True  # no other connection is possible
            return connection

    def _serve(self, connection: socket.socket) -> None:
        self._greet(connection)
        frames: FrameReader[ToWorker] = FrameReader(ToWorker)
        # A bare poll, because the selectors module costs more than a tiny unit.
        poll = select.poll()
        poll.register(connection, select.POLLIN)
        poll.register(self._wake_receiver, select.POLLIN)
        waker = self._wake_receiver.fileno()
        while not self._is_dismissed:
            events = poll.poll(self._patience_ms())
            if not events and self._guard is not None:
                self._guard.rest()
            for descriptor, _ in events:
                if descriptor == waker:
                    self._wake_receiver.recv(_READ_BYTES)
                    self._maybe_ask_to_leave(connection)
                    continue
                data = connection.recv(_READ_BYTES)
                if not data:
                    return
                for message in frames.feed(data):
                    self._hear(connection, message)

    def _greet(self, connection: socket.socket) -> None:
        held = self._unacknowledged
        self._asked_to_leave_at = None
        hello = Hello(
            seat=self._orders.seat,
            incarnation=self._orders.incarnation,
            pid=os.getpid(),
            holding=held.job_id if held else JobId(""),
            attempt=held.attempt if held else 0,
            sandbox=self._sandbox,
        )
        connection.sendall(encode_frame(hello))
        self._note(Note.CONNECTED)
        self._maybe_ask_to_leave(connection)
        if held:
            connection.sendall(encode_frame(held))

    def _maybe_ask_to_leave(self, connection: socket.socket) -> None:
        """Ask to leave before the last result is sent, because the engine answers a result with the next unit."""
        is_spent = self._served >= self._orders.max_jobs and not self._note(Note.MAX_JOBS)
        if (self._is_draining or is_spent) and self._asked_to_leave_at is None:
            self._asked_to_leave_at = time.monotonic()
            reason = "drain" if self._is_draining else "max_jobs"
            connection.sendall(encode_frame(LeaveRequest(reason=reason)))

    def _patience_ms(self) -> float | None:
        """Return the time to wait for the engine's next message; None: without limit."""
        if self._guard is not None and self._guard.is_armed:
            return _LINGER_MS
        if not self._is_draining and self._orders.idle_s and self._served and Note.IDLE not in self._noted:
            left_s = self._served_at + self._orders.idle_s - time.monotonic()
            if left_s > 0:
                return left_s * 1000 + 1
            self._note(Note.IDLE)
        if not self._is_draining or self._asked_to_leave_at is None or self._unacknowledged is not None:
            return None
        # No engine may be left to dismiss us, because it ends first when the validator stops.
        patience_s = self._asked_to_leave_at + _FAREWELL_S - time.monotonic()
        self._is_dismissed = patience_s <= 0
        return max(0.0, patience_s * 1000)

    def _note(self, note: Note) -> bool:
        """Send a note to the Supervisor once; return False if there is none."""
        if self._notes is None:
            return False
        if note not in self._noted:
            self._noted.add(note)
            try:
                os.write(self._notes.fileno(), note.value)
            except OSError:
                return False  # it is gone, and the kernel is about to end this process
        return True

    def _hear(self, connection: socket.socket, message: ToWorker) -> None:
        match message:
            case WorkUnit():
                self._compute(connection, message)
            case Ack(job_id=job_id, attempt=attempt):
                held = self._unacknowledged
                if held is not None and (held.job_id, held.attempt) == (job_id, attempt):
                    self._unacknowledged = None
            case Welcome():
                self._note(Note.ADMITTED)
            case Retire():
                self._note(Note.MEMORY)
            case Dismissed():
                self._is_dismissed = True

    def _compute(self, connection: socket.socket, unit: WorkUnit) -> None:
        if self._guard is not None:
            self._guard.arm(unit.deadline_at)
        self._unacknowledged, frame = encode_result(attempt_unit(unit, self._orders.handlers))
        if self._guard is not None:
            self._guard.disarm()
        if unit.handler != CANARY:
            self._served += 1
            self._served_at = time.monotonic()
        self._maybe_ask_to_leave(connection)
        if self._guard is not None and len(frame) > _FITS_BYTES:
            self._guard.rest()  # the engine may read it slowly
        connection.sendall(frame)
        if self._guard is not None:
            self._guard.tidy(self._unacknowledged.wall_s)


def attempt_unit(unit: WorkUnit, handlers: str) -> ResultUnit:
    """Run `unit`; return its result, with any exception of the handler as its failure."""
    wall, cpu = time.perf_counter(), time.process_time()
    value: dict[str, Any] | None = None
    failure: Failure | None = None
    try:
        value = find_handler(handlers, unit.handler)(unit.payload)
    except Exception as error:  # noqa: BLE001 - the only place around the handler
        failure = Failure.of(error)
        if not isinstance(error, GaiaError):
            bug = {"job_id": unit.job_id, "handler": unit.handler, "trace_id": unit.trace_id}
            _log.error("handler_failed", exc_info=error, extra={"values": bug})
    return ResultUnit(
        job_id=unit.job_id,
        attempt=unit.attempt,
        value=value,
        failure=failure,
        worker_pid=os.getpid(),
        wall_s=(wall_s := time.perf_counter() - wall),
        cpu_s=time.process_time() - cpu,
        peak_rss_bytes=_peak_rss_bytes(wall_s),
    )


def encode_result(result: ResultUnit) -> tuple[ResultUnit, bytes]:
    """Return `result` and its frame; if its value cannot be sent, a failure that says so."""
    try:
        return result, encode_frame(result)
    except (TypeError, ValueError) as error:
        unsendable = msgspec.structs.replace(result, value=None, failure=Failure.of(error))
        return unsendable, encode_frame(unsendable)


@functools.cache
def find_handler(module: str, name: str) -> Handler:
    """Return the handler `name` of `module`, which is imported on first use."""
    if name == CANARY:
        return dict
    handler: Handler = import_module(module).resolve(name)
    return handler


def _peak_rss_bytes(wall_s: float) -> int:
    """Return the peak resident memory of this process, updated after units long enough to raise it."""
    if wall_s >= _FILLS_MEMORY_S or not _peak:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        _peak[:] = [peak if sys.platform == "darwin" else peak * 1024]
    return _peak[0]
