"""The pool of local compute workers, in the engine; it executes the commands of the ledger."""

from __future__ import annotations

import asyncio
import os
import select
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any, Protocol

import structlog

from gaia.validator.app.meeting.heartbeat import Heart
from gaia.validator.app.meeting.lease_book import LeaseBook
from gaia.validator.app.meeting.rendezvous import BoardReader, DeathReport
from gaia.validator.app.pool.job_events import (
    Acknowledge,
    Assign,
    DeathCause,
    Dismiss,
    Finished,
    Inherited,
    Kill,
    Remember,
    Tick,
    WorkerDied,
    WorkerDisconnected,
    failed,
)
from gaia.validator.app.pool.job_ledger import JobLedger
from gaia.validator.app.pool.protocols import Capability
from gaia.validator.app.pool.scheduler import TICK_S, HandsCommand, Scheduler
from gaia.validator.app.pool.worker_connection import WorkerConnection
from gaia.validator.utils.identities import WorkerId
from gaia.validator.utils.ipc_types import (
    CANARY,
    Ack,
    Dismissed,
    ResultUnit,
    Retire,
    WorkUnit,
    encode_frame,
)
from gaia.validator.utils.logs.context import unbound

log = structlog.get_logger(__name__)

_BACKLOG = 512
_MOST_SEEN = 4096
_REPORT_EVERY_S = 0.005
_REPORT_PATIENCE_S = 0.5


class PoolLimits(Protocol):
    """Settings of the pool."""

    @property
    def unit_crash_limit(self) -> int: ...

    @property
    def unit_timeout_s(self) -> float: ...


class ComputePool:
    """Runs units in the local processes that connect; the hands of its own `Scheduler`.

    Parameters
    ----------
    limits
        The settings `unit_crash_limit` and `unit_timeout_s`.
    board_path
        File in which the Supervisor publishes the living processes. Leases, crash histories and the
        heartbeat are files beside it. None: none of these exists.
    queue_limit
        Maximum number of units that wait for a worker; further submissions wait for room. 0: no limit.
    canary_interval_s
        Seconds without an answer after which an idle worker gets a canary; 0: never.
    """

    capabilities = frozenset(Capability)

    def __init__(
        self,
        limits: PoolLimits,
        board_path: Path | None = None,
        *,
        queue_limit: int = 0,
        canary_interval_s: float = 0.0,
    ) -> None:
        self._board = BoardReader(board_path)
        self._book = LeaseBook(board_path.with_name("leases")) if board_path else None
        self._heart = Heart(board_path.with_name("heartbeat")) if board_path else None
        self._ledger = JobLedger(
            crash_limit=limits.unit_crash_limit,
            silence_limit_s=limits.unit_timeout_s,
            canary_interval_s=canary_interval_s,
            crash_histories=self._book.crash_histories if self._book else {},
        )
        self._scheduler = Scheduler(self._ledger, self, queue_limit=queue_limit)
        self.tell = self._scheduler.tell
        """Pass an event to the ledger; see `Scheduler.tell`."""
        self.dispatch_and_wait = self._scheduler.dispatch_and_wait
        """Run a unit and return its result; see `Scheduler.dispatch_and_wait`."""
        self._met: set[WorkerConnection] = set()
        """All open connections, identified or not."""
        self._connections: dict[WorkerId, WorkerConnection] = {}
        self._owed: dict[WorkerId, Acknowledge] = {}
        """Worker -> acknowledgement to send at the next tick, unless its next unit makes that needless."""
        self._dying: dict[WorkerId, int] = {}
        """Worker -> pidfd, for each disconnected worker whose process may live."""
        self._reported: dict[WorkerId, DeathReport] = {}
        """Worker -> its death report, until the ledger gets it."""
        self._seen_reports: dict[WorkerId, None] = {}
        """Workers whose death report is read, oldest first."""
        self._server: asyncio.AbstractServer | None = None
        self._ticking: asyncio.Task[None] | None = None

    async def start(self, listener: socket.socket) -> None:
        """Accept workers on `listener`, a listening AF_UNIX socket that another process owns."""
        loop = asyncio.get_running_loop()
        for holding in self._book.holdings() if self._book else []:
            self.tell(Inherited(holding))
        options: dict[str, Any] = {"backlog": _BACKLOG}
        if sys.version_info >= (3, 13) and type(loop).__module__.startswith("asyncio"):
            options["cleanup_socket"] = False  # the Supervisor owns the path
        self._server = await loop.create_unix_server(lambda: WorkerConnection(self), sock=listener, **options)
        self._ticking = asyncio.create_task(self._tick())

    def reconfigure(self, queue_limit: int, canary_interval_s: float) -> None:
        """Apply the settings that may change while the pool runs."""
        self._ledger.canary_interval_s = canary_interval_s
        self._scheduler.limit_queue(queue_limit)

    async def close(self) -> None:
        """Stop accepting, and disconnect from all workers; they keep their units."""
        if self._ticking is not None:
            self._ticking.cancel()
            await asyncio.gather(self._ticking, return_exceptions=True)
        if self._server is not None:
            self._server.close()
            self._server = None
        self._acknowledge()
        # Yield to the loop once, so that this is sent.
        await asyncio.sleep(0)
        for connection in list(self._met):
            connection.close()
        # Yield to the loop once, so that the transports close.
        await asyncio.sleep(0)
        for worker in list(self._dying):
            self._stop_watching(worker)
        for notes in (self._book, self._heart):
            if notes is not None:
                notes.close()
        self._book = self._heart = None
        self._scheduler.close()

    @property
    def queue_depth(self) -> int:
        """Number of units that wait for a worker."""
        return self._ledger.waiting

    @property
    def busy(self) -> int:
        """Number of workers that hold a unit."""
        return self._ledger.busy

    @property
    def undelivered(self) -> int:
        """Number of results that their callers have not taken yet."""
        return self._scheduler.undelivered

    @property
    def workers(self) -> int:
        """Number of connected workers."""
        return len(self._connections)

    @property
    def healthy_seats(self) -> int:
        """Number of seats whose worker recently answered, or is within the deadline of its unit."""
        return self._ledger.healthy_seats(time.time())

    @property
    def sandbox_level(self) -> int:
        """Sandbox level of the least protected worker; 0 if there is no worker."""
        return min((connection.sandbox_level for connection in self._connections.values()), default=0)

    def idle_workers(self) -> dict[WorkerId, int]:
        """Return worker -> pid of each connected worker that holds no unit."""
        board = self._board.read()
        pids = board.workers if board else {}
        idle = self._connections.keys() - self._ledger.holders.keys()
        return {WorkerId(worker): pids[worker] for worker in idle if worker in pids}

    def retire(self, worker: WorkerId) -> None:
        """Have a worker replaced; it serves until the Supervisor has started its successor."""
        self._send(worker, encode_frame(Retire()))

    def meet(self, connection: WorkerConnection) -> None:
        """Note an open connection that is not identified yet."""
        self._met.add(connection)

    def expects(self, worker: WorkerId, pid: int) -> bool | None:
        """Return whether the board has this process under this name; None if it does not list the name yet."""
        board = self._board.read()
        if board is None:
            return True  # there is no Supervisor
        return board.workers[worker] == pid if worker in board.workers else None

    def join(self, worker: WorkerId, connection: WorkerConnection) -> None:
        """Use `connection` for `worker`, in place of any earlier one."""
        earlier = self._connections.get(worker)
        self._connections[worker] = connection
        self._stop_watching(worker)
        if earlier is not None:
            earlier.close()

    def leave(self, worker: WorkerId, connection: WorkerConnection, pidfd: int) -> None:
        """Note that the connection ended; `pidfd`, which the pool closes, tells whether the process lives."""
        self._met.discard(connection)
        if pidfd < 0:
            return
        if self._connections.get(worker) is not connection:
            os.close(pidfd)  # it has reconnected since
            return
        del self._connections[worker]
        self.tell(WorkerDisconnected(worker))
        if self._server is None:
            os.close(pidfd)
            return
        self._dying[worker] = pidfd
        if select.select([pidfd], [], [], 0)[0]:
            self._on_death(worker)
        else:
            asyncio.get_running_loop().add_reader(pidfd, self._on_death, worker)

    def answered(self, worker: WorkerId, result: ResultUnit) -> None:
        """Process the answer of a worker."""
        if self._book is not None:
            # Before anything else, because its next unit is noted in the same slot.
            self._book.release(worker)
        self.tell(Finished(worker, result))

    def _stop_watching(self, worker: WorkerId) -> None:
        pidfd = self._dying.pop(worker, None)
        if pidfd is not None:
            asyncio.get_running_loop().remove_reader(pidfd)
            os.close(pidfd)

    def _on_death(self, worker: WorkerId, patience_s: float = _REPORT_PATIENCE_S) -> None:
        """Tell the ledger of a death; if the verdict depends on the cause, await the Supervisor's report."""
        self._stop_watching(worker)
        self._read_reports()
        report = self._reported.pop(worker, None)
        self._pass_reports_on()
        is_awaited = report is None and self._board.read() and self._ledger.wants_report(worker, time.time())
        if is_awaited and patience_s > 0:
            later = patience_s - _REPORT_EVERY_S
            asyncio.get_running_loop().call_later(_REPORT_EVERY_S, self._on_death, worker, later)
            return
        self._bury(worker, report)

    def _bury(self, worker: WorkerId, report: DeathReport | None) -> None:
        if self._book is not None:
            self._book.bury(worker)
        self.tell(WorkerDied(worker, _cause_of(report) if report is not None else None))

    def _pass_reports_on(self) -> None:
        for worker in self._reported.keys() - self._connections.keys():
            self._stop_watching(worker)
            self._bury(worker, self._reported.pop(worker))

    def _read_reports(self) -> None:
        """Read the deaths that the Supervisor has reported since the last call."""
        board = self._board.read()
        for report in board.deaths if board else []:
            if report.worker and report.worker not in self._seen_reports:
                self._seen_reports[report.worker] = None
                self._reported[report.worker] = report
        while len(self._seen_reports) > _MOST_SEEN:
            del self._seen_reports[next(iter(self._seen_reports))]

    def carry_out(self, command: HandsCommand) -> None:
        """Execute a command of the ledger; see `Hands`."""
        match command:
            case Assign():
                self._assign(command.worker, command.unit)
            case Acknowledge():
                # Sent at the next tick, unless a unit makes it needless, because sending a result twice costs little.
                # An earlier acknowledgement stays, because the unit since then could not be sent.
                self._owed.setdefault(command.worker, command)
            case Dismiss(worker):
                self._send(worker, encode_frame(Dismissed()))
            case Kill(worker, reason):
                with unbound():
                    log.warning("worker_killed", worker=worker, reason=reason)
                self._kill(worker)
            case Remember(job_id, history):
                if self._book is not None:
                    self._book.record_crashes(job_id, history)

    def _assign(self, worker: WorkerId, unit: WorkUnit) -> None:
        try:
            frame = encode_frame(unit)
        except (TypeError, ValueError) as error:
            self.tell(Finished(worker, failed(unit, error)))
            return
        if self._book is not None and unit.handler != CANARY:
            self._book.lease(worker, unit.job_id, unit.attempt, unit.deadline_at)
        self._owed.pop(worker, None)
        self._send(worker, frame)

    def _acknowledge(self) -> None:
        while self._owed:
            worker, owed = self._owed.popitem()
            self._send(worker, encode_frame(Ack(job_id=owed.job_id, attempt=owed.attempt)))

    def _send(self, worker: WorkerId, frame: bytes) -> None:
        connection = self._connections.get(worker)
        if connection is not None:
            connection.send(frame)

    def _kill(self, worker: WorkerId) -> None:
        connection = self._connections.get(worker)
        if connection is not None:
            connection.kill()
            return
        board = self._board.read()
        pid = board.workers.get(worker) if board else None
        if pid is not None:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                return

    async def _tick(self) -> None:
        while True:
            if self._heart is not None:
                self._heart.beat()
            board = self._board.read()
            self._read_reports()
            self._pass_reports_on()
            living = frozenset(board.workers) if board else None
            for worker in sorted(self._ledger.away - living) if living is not None else []:
                self._bury(worker, None)
            self.tell(Tick(living))
            self._acknowledge()
            await asyncio.sleep(TICK_S)


def _cause_of(report: DeathReport) -> DeathCause:
    is_deadline = report.cause == "deadline"
    return DeathCause(report.sentence, blames_unit=report.blames_unit, is_deadline=is_deadline)
