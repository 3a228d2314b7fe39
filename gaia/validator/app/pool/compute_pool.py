"""The engine's side of the compute workers: units out, results back."""

from __future__ import annotations

import asyncio
import heapq
import os
import select
import signal
import socket
import sys
import time
from collections import deque
from itertools import count
from pathlib import Path
from typing import Any, Protocol

import structlog

from gaia.validator.app.meeting.heartbeat import Heart
from gaia.validator.app.meeting.lease_book import LeaseBook
from gaia.validator.app.meeting.rendezvous import BoardReader, DeathReport
from gaia.validator.app.pool.job_events import (
    Acknowledge,
    Assign,
    Cancelled,
    Command,
    Dismiss,
    Event,
    Finished,
    Inherited,
    Kill,
    Quarantine,
    Remember,
    Resolve,
    Submitted,
    Tick,
    WorkerDied,
    WorkerLost,
)
from gaia.validator.app.pool.job_ledger import JobLedger
from gaia.validator.app.pool.worker_connection import WorkerConnection
from gaia.validator.utils.errors import DeadlineExceeded
from gaia.validator.utils.ipc_types import (
    CANARY,
    Ack,
    Bye,
    Failure,
    ResultUnit,
    WorkUnit,
    encode_frame,
)

log = structlog.get_logger(__name__)

_TICK_S = 0.1
_BACKLOG = 512
_MOST_TOLD = 4096
_REPORT_EVERY_S = 0.005
_REPORT_PATIENCE_S = 0.5


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
        The Supervisor's board of who lives; the notes that outlive us are beside it.
        None: there is neither.
    queue_limit
        As long as so many units wait, who submits another waits too; 0: no limit.
    canary_interval_s
        A worker that answered nothing for so long is given a canary; 0: never.
    """

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
            stories=self._book.stories if self._book else {},
        )
        self._queue_limit = queue_limit
        self._at_the_door: list[tuple[int, int, asyncio.Future[None]]] = []
        self._let_in = 0
        self._order = count()
        self._events: deque[Event] = deque()
        self._is_handling = False
        self._is_closed = False
        self._met: set[WorkerConnection] = set()
        """Whoever is connected, those among them that have not said who they are."""
        self._connections: dict[str, WorkerConnection] = {}
        self._owed: dict[str, Acknowledge] = {}
        """Acknowledgements that the worker's next unit may make needless."""
        self._dying: dict[str, int] = {}
        """Pidfd of each worker whose connection ended and whose process may live."""
        self._reported: dict[str, DeathReport] = {}
        """Deaths that the ledger does not know of, or not of what."""
        self._told: dict[str, None] = {}
        self._waiters: dict[str, list[asyncio.Future[ResultUnit]]] = {}
        self._server: asyncio.AbstractServer | None = None
        self._ticking: asyncio.Task[None] | None = None

    async def start(self, listener: socket.socket) -> None:
        """Accept workers on `listener`, a listening AF_UNIX socket that outlives us."""
        loop = asyncio.get_running_loop()
        for holding in self._book.holdings() if self._book else []:
            self.tell(Inherited(holding))
        options: dict[str, Any] = {"backlog": _BACKLOG}
        if sys.version_info >= (3, 13) and type(loop).__module__.startswith("asyncio"):
            options["cleanup_socket"] = False  # the path is the Supervisor's
        self._server = await loop.create_unix_server(lambda: WorkerConnection(self), sock=listener, **options)
        self._ticking = asyncio.create_task(self._tick())

    def reconfigure(self, queue_limit: int, canary_interval_s: float) -> None:
        """Take over what may change while the pool runs."""
        self._queue_limit = queue_limit
        self._ledger.canary_interval_s = canary_interval_s
        self._open_the_door()

    async def close(self) -> None:
        """Stop accepting and let go of all workers; they keep what they hold."""
        if self._ticking is not None:
            self._ticking.cancel()
            await asyncio.gather(self._ticking, return_exceptions=True)
        if self._server is not None:
            self._server.close()
            self._server = None
        self._acknowledge()
        # One turn of the loop, in which that is sent.
        await asyncio.sleep(0)
        for connection in list(self._met):
            connection.close()
        # One turn of the loop, in which the transports close.
        await asyncio.sleep(0)
        for worker in list(self._dying):
            self._watch_no_more(worker)
        for notes in (self._book, self._heart):
            if notes is not None:
                notes.close()
        self._book = self._heart = None
        self._is_closed = True

    async def dispatch_and_wait(self, unit: WorkUnit) -> ResultUnit:
        """Run `unit` and return its result, a `Failure` included; never raises for the unit.

        A job id that is already under way is not run twice: all who wait get
        its one result. When the last of them is cancelled, so is the unit.
        While the queue is full, this waits for room: the most urgent first.
        """
        if self._queue_limit and unit.job_id not in self._waiters and not await self._enter(unit):
            error = DeadlineExceeded(f"{unit.handler} found no room in the queue before its deadline")
            return ResultUnit(job_id=unit.job_id, attempt=unit.attempt, failure=Failure.of(error))
        waiter: asyncio.Future[ResultUnit] = asyncio.get_running_loop().create_future()
        waiters = self._waiters.setdefault(unit.job_id, [])
        waiters.append(waiter)
        self.tell(Submitted(unit))
        try:
            return await waiter
        except asyncio.CancelledError:
            waiters.remove(waiter)
            if not waiters and self._waiters.get(unit.job_id) is waiters:
                del self._waiters[unit.job_id]
                self.tell(Cancelled(unit.job_id))
            raise

    async def _enter(self, unit: WorkUnit) -> bool:
        """Wait for room in the queue; False: the unit's deadline came first."""
        if not self._at_the_door and self.queue_depth + self._let_in < self._queue_limit:
            return True
        door: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._at_the_door, (unit.priority, next(self._order), door))
        try:
            async with asyncio.timeout(max(0.0, unit.deadline_at - time.time())):
                await door
        except TimeoutError:
            return False
        finally:
            if door.done() and not door.cancelled():
                self._let_in -= 1
            door.cancel()
        return True

    def _open_the_door(self) -> None:
        while self._at_the_door and self.queue_depth + self._let_in < self._queue_limit:
            _, _, door = heapq.heappop(self._at_the_door)
            if not door.done():
                self._let_in += 1
                door.set_result(None)

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
    def healthy_seats(self) -> int:
        """Seats whose worker answered lately, a canary at least, or is within its unit's deadline."""
        return self._ledger.healthy_seats(time.time())

    @property
    def sandbox_level(self) -> int:
        """Sandbox level of the least protected worker; 0 while there is none."""
        return min((connection.sandbox_level for connection in self._connections.values()), default=0)

    def tell(self, event: Event) -> None:
        """Hand `event` to the ledger and carry out what it commands."""
        if self._is_closed:
            return  # the workers are our successor's
        if self._is_handling:
            self._events.append(event)
            return  # the outer call goes on with it, in order
        self._is_handling = True
        try:
            for command in self._ledger.handle(event, time.time()):
                self._carry_out(command)
            while self._events:
                for command in self._ledger.handle(self._events.popleft(), time.time()):
                    self._carry_out(command)
        finally:
            self._is_handling = False
        if self._at_the_door:
            self._open_the_door()

    def meet(self, connection: WorkerConnection) -> None:
        """Somebody has connected."""
        self._met.add(connection)

    def expects(self, worker: str, pid: int) -> bool | None:
        """Say whether the Supervisor started that process under that name; None: not as far as we know yet."""
        board = self._board.read()
        if board is None:
            return True  # there is no Supervisor
        return board.workers[worker] == pid if worker in board.workers else None

    def join(self, worker: str, connection: WorkerConnection) -> None:
        """Take `connection` for `worker`'s, in place of any earlier one."""
        earlier = self._connections.get(worker)
        self._connections[worker] = connection
        self._watch_no_more(worker)
        if earlier is not None:
            earlier.close()

    def leave(self, worker: str, connection: WorkerConnection, pidfd: int) -> None:
        """Note that the connection ended; whether the worker lives, only `pidfd` tells, which is now ours."""
        self._met.discard(connection)
        if pidfd < 0:
            return
        if self._connections.get(worker) is not connection:
            os.close(pidfd)  # it has connected anew meanwhile
            return
        del self._connections[worker]
        self.tell(WorkerLost(worker))
        if self._server is None:
            os.close(pidfd)
            return
        self._dying[worker] = pidfd
        if select.select([pidfd], [], [], 0)[0]:
            self._note_death(worker)
        else:
            asyncio.get_running_loop().add_reader(pidfd, self._note_death, worker)

    def answered(self, worker: str, result: ResultUnit) -> None:
        """Take a worker's answer."""
        if self._book is not None:
            # Before anything else, for its next unit will be noted in the same place.
            self._book.release(worker)
        self.tell(Finished(worker, result))

    def _watch_no_more(self, worker: str) -> None:
        pidfd = self._dying.pop(worker, None)
        if pidfd is not None:
            asyncio.get_running_loop().remove_reader(pidfd)
            os.close(pidfd)

    def _note_death(self, worker: str, patience_s: float = _REPORT_PATIENCE_S) -> None:
        """The process is gone; where the verdict hangs on the cause, the Supervisor's report is awaited."""
        self._watch_no_more(worker)
        self._read_reports()
        report = self._reported.pop(worker, None)
        self._pass_reports_on()
        is_awaited = report is None and self._board.read() and self._ledger.wants_report(worker, time.time())
        if is_awaited and patience_s > 0:
            later = patience_s - _REPORT_EVERY_S
            asyncio.get_running_loop().call_later(_REPORT_EVERY_S, self._note_death, worker, later)
            return
        self._bury(worker, report)

    def _bury(self, worker: str, report: DeathReport | None) -> None:
        if self._book is not None:
            self._book.bury(worker)
        self.tell(WorkerDied(worker, report))

    def _pass_reports_on(self) -> None:
        for worker in self._reported.keys() - self._connections.keys():
            self._watch_no_more(worker)
            self._bury(worker, self._reported.pop(worker))

    def _read_reports(self) -> None:
        """Note the deaths that the Supervisor reported since we last looked."""
        board = self._board.read()
        for report in board.deaths if board else []:
            if report.worker and report.worker not in self._told:
                self._told[report.worker] = None
                self._reported[report.worker] = report
        while len(self._told) > _MOST_TOLD:
            del self._told[next(iter(self._told))]

    def _carry_out(self, command: Command) -> None:
        match command:
            case Assign():
                self._assign(command.worker, command.unit)
            case Resolve():
                for waiter in self._waiters.pop(command.result.job_id, ()):
                    if not waiter.done():
                        waiter.set_result(command.result)
            case Acknowledge():
                # At the next tick, unless a unit that says the same comes first: to send a result twice costs little.
                # One that is owed already stands: the unit since then could not be sent.
                self._owed.setdefault(command.worker, command)
            case Dismiss(worker):
                self._send(worker, encode_frame(Bye()))
            case Kill(worker, reason):
                log.warning("worker_killed", worker=worker, reason=reason)
                self._kill(worker)
            case Quarantine(job_id, crashes):
                log.error("unit_quarantined", job_id=job_id, crashes=crashes)
            case Remember(job_id, story):
                if self._book is not None:
                    self._book.tell(job_id, story)

    def _assign(self, worker: str, unit: WorkUnit) -> None:
        try:
            frame = encode_frame(unit)
        except (TypeError, ValueError) as error:
            failure = Failure.of(error)
            result = ResultUnit(job_id=unit.job_id, attempt=unit.attempt, failure=failure)
            self.tell(Finished(worker, result))
            return
        if self._book is not None and unit.handler != CANARY:
            self._book.lease(worker, unit.job_id, unit.attempt, unit.deadline_at)
        self._owed.pop(worker, None)
        self._send(worker, frame)

    def _acknowledge(self) -> None:
        while self._owed:
            worker, owed = self._owed.popitem()
            self._send(worker, encode_frame(Ack(job_id=owed.job_id, attempt=owed.attempt)))

    def _send(self, worker: str, frame: bytes) -> None:
        connection = self._connections.get(worker)
        if connection is not None:
            connection.send(frame)

    def _kill(self, worker: str) -> None:
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
            await asyncio.sleep(_TICK_S)
