"""The parent of all: starts, watches, stops and reaps; synchronous, and loads next to nothing."""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Literal

import msgspec

from gaia.validator.app import child, preload, rendezvous
from gaia.validator.app.embedded_postgres import EmbeddedPostgres
from gaia.validator.app.logging_config import configure_logging, event
from gaia.validator.app.preflight import folder_trouble
from gaia.validator.app.sandbox import Mode
from gaia.validator.app.supervision import (
    FORK_SERVER_DIED,
    Child,
    Command,
    Death,
    Halt,
    Kill,
    Limits,
    Role,
    Start,
    Stop,
    plan,
)
from gaia.validator.utils.errors import ConfigurationError, ExitCode

TARGETS: Mapping[Role, str] = {
    Role.ENGINE: "gaia.validator.app.io_engine:run_io_engine",
    Role.SIGNER: "gaia.validator.app.chain_signer:run_chain_signer",
    Role.WORKER: "gaia.validator.app.compute_worker:run_compute_worker",
}
"""What each child runs: "module:function", imported in the child alone."""

_log = logging.getLogger("application")
_SPAWN = multiprocessing.get_context("spawn")
_FORKSERVER = multiprocessing.get_context("forkserver")
_IMPATIENT_POLL_S = 0.02
_REMEMBERED_DEATHS = 512
_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_PACKAGE_ROOT = Path(__file__).resolve().parents[3]


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What the Supervisor must know; the settings themselves it only hands on."""

    data_dir: str
    settings: bytes
    """Pickled, for the IO-Engine and the signer."""
    workers: int
    embedded_database: bool
    start_method: str = "forkserver"
    worker_max_jobs: int = 1000
    worker_soft_limit_mib: int = 1024
    worker_hard_limit_mib: int = 2048
    unit_timeout_s: float = 300.0
    drain_timeout_s: float = 25.0
    poll_s: float = 0.25
    crash_limit: int = 12
    log_level: str = "INFO"
    log_format: Literal["json", "console"] = "json"
    lock_fd: int = -1
    """Keeps the data folder ours as long as we live."""
    sandbox: Mode = "required"
    """Of the compute workers."""
    handlers: str = "gaia.tasks.defined_tasks.weather.validator.handlers"


def main(options_fd: int) -> int:
    """Supervise with the options that the entry point left in `options_fd`; return the exit code."""
    with os.fdopen(options_fd, "rb") as source:
        options = msgspec.msgpack.decode(source.read(), type=Options)
    if options.lock_fd >= 0:
        os.set_inheritable(options.lock_fd, False)
    configure_logging(options.log_level, options.log_format, role="supervisor")
    return Supervisor(options).run()


@dataclass(slots=True)
class _Seated:
    """A child, and what we hold of it."""

    child: Child
    incarnation: int
    process: multiprocessing.process.BaseProcess | subprocess.Popen[bytes]
    pidfd: int
    ready: Connection | None


class Supervisor:
    """Owns every process of the validator, and the two sockets they meet at.

    Parameters
    ----------
    options
        What to run and within which limits.
    targets
        What each role runs; a role without a target is not started.
    """

    def __init__(self, options: Options, targets: Mapping[Role, str] = TARGETS) -> None:
        self._options = options
        self._targets = targets
        self._data_dir = Path(options.data_dir).resolve()
        self._limits = Limits(
            soft_mib=options.worker_soft_limit_mib,
            hard_mib=options.worker_hard_limit_mib,
            drain_timeout_s=options.drain_timeout_s,
            recycle_grace_s=options.unit_timeout_s,
            crash_limit=options.crash_limit,
        )
        self._wanted = self._wanted_seats()
        self._seated: dict[int, _Seated] = {}
        self._deaths: deque[Death] = deque(maxlen=_REMEMBERED_DEATHS)
        self._restarts: Counter[str] = Counter()
        self._incarnations = 0
        self._exit_code: int = ExitCode.OK
        self._selector = selectors.DefaultSelector()
        self._postgres: EmbeddedPostgres | None = None
        self._next_look_at = 0.0

    def run(self) -> int:
        """Supervise until told to stop or forced to give up; return the exit code."""
        with contextlib.ExitStack() as stack:
            stack.callback(self._selector.close)
            stack.enter_context(self._signals_noted())
            try:
                self._open_sockets(stack)
                stack.callback(self._kill_all)
                self._prepare_children()
                event(_log, "supervisor_started", pid=os.getpid(), workers=self._options.workers)
                while self._seated or self._wanted:
                    self._carry_out_plan()
                    self._wait()
                    self._look_at_children()
            except ConfigurationError as error:
                self._give_up(error)
            except OSError as error:
                trouble = folder_trouble(error, self._data_dir)
                if trouble is None:
                    raise
                self._give_up(trouble)
        event(_log, "supervisor_ended", exit_code=int(self._exit_code))
        return int(self._exit_code)

    def _give_up(self, error: ConfigurationError) -> None:
        sys.stderr.write(f"{error}\n")
        sys.stderr.flush()
        self._exit_code = error.exit_code

    def _wanted_seats(self) -> dict[Role, int]:
        seats = {Role.SIGNER: 1, Role.ENGINE: 1, Role.WORKER: self._options.workers}
        wanted = {role: seats[role] for role in seats if role in self._targets}
        return wanted | ({Role.DATABASE: 1} if self._options.embedded_database else {})

    @contextlib.contextmanager
    def _signals_noted(self) -> Iterator[None]:
        """A signal only writes its number into a socket; the loop acts on it."""
        receiver, sender = socket.socketpair()
        with receiver, sender:
            receiver.setblocking(False)
            sender.setblocking(False)
            earlier_fd = signal.set_wakeup_fd(sender.fileno(), warn_on_full_buffer=False)
            earlier = {number: signal.signal(number, lambda *_: None) for number in _STOP_SIGNALS}
            self._selector.register(receiver, selectors.EVENT_READ, "signal")
            try:
                yield
            finally:
                signal.set_wakeup_fd(earlier_fd)
                for number, handler in earlier.items():
                    signal.signal(number, handler)

    def _open_sockets(self, stack: contextlib.ExitStack) -> None:
        rendezvous.make_private(rendezvous.run_directory(self._data_dir))
        self._pool_socket = _listen(rendezvous.pool_socket_path(self._data_dir), stack)
        self._signer_socket = _listen(rendezvous.signer_socket_path(self._data_dir), stack)
        stack.callback(rendezvous.board_path(self._data_dir).unlink, missing_ok=True)

    def _prepare_children(self) -> None:
        """What must be in the environment before any child, and the fork server as early as can be."""
        os.environ.update(preload.environment(self._data_dir))
        paths = [str(_PACKAGE_ROOT), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
        os.environ["PYTHONPATH"] = os.pathsep.join(dict.fromkeys(paths))
        if self._options.start_method == "forkserver" and self._wanted.get(Role.WORKER):
            os.environ[preload.PARENT_VARIABLE] = str(os.getpid())
            multiprocessing.set_forkserver_preload(["gaia.validator.app.preload"])
            with _sigint_blocked():
                forkserver.ensure_running()

    def _carry_out_plan(self) -> None:
        children = [seated.child for seated in self._seated.values()]
        for command in plan(children, self._deaths, self._wanted, self._limits, time.monotonic()):
            self._carry_out(command)

    def _carry_out(self, command: Command) -> None:
        match command:
            case Start(role, seat):
                self._start(role, seat)
            case Stop(pid, grace_s, reason):
                self._stop(self._seated[pid], grace_s, reason)
            case Kill(pid, reason):
                self._kill(self._seated[pid], reason)
            case Halt(exit_code, reason):
                event(_log, "halting", logging.ERROR, exit_code=exit_code, reason=reason)
                self._exit_code = exit_code
                self._wanted = {}

    def _start(self, role: Role, seat: int) -> None:
        started_at = time.monotonic()
        ready: Connection | None = None
        process: multiprocessing.process.BaseProcess | subprocess.Popen[bytes]
        with _sigint_blocked():
            if role is Role.DATABASE:
                postgres = self._start_postgres()
                if postgres is None:
                    return
                process = postgres
            else:
                try:
                    process, ready = self._start_python(role, seat)
                except (EOFError, ConnectionError):
                    self._note_failed_start(role, seat, started_at)
                    return
        pid = process.pid
        assert pid is not None
        try:
            pidfd = os.pidfd_open(pid)
        except ProcessLookupError:
            pidfd = -1  # it is dead already, and reaped by the fork server
        facts = Child(role=role, seat=seat, pid=pid, started_at=started_at, is_ready=False)
        seated = _Seated(facts, self._incarnations, process, pidfd, ready)
        self._seated[pid] = seated
        if ready is not None:
            self._selector.register(ready, selectors.EVENT_READ, seated)
        if any((death.role, death.seat) == (role, seat) for death in self._deaths):
            self._restarts[role] += 1
        event(_log, "child_started", child=role, seat=seat, pid=pid)
        if pidfd >= 0:
            self._selector.register(pidfd, selectors.EVENT_READ, seated)
            self._publish()
        else:
            self._reap(seated)

    def _note_failed_start(self, role: Role, seat: int, started_at: float) -> None:
        """The fork server died while it was asked for a child; the next one is started with the next child."""
        now = time.monotonic()
        death = Death(
            role=role,
            seat=seat,
            at=now,
            lived_s=now - started_at,
            was_ready=False,
            exit_code=FORK_SERVER_DIED,
            was_planned=False,
        )
        self._deaths.append(death)
        event(_log, "child_not_started", logging.WARNING, child=role, seat=seat)

    def _start_postgres(self) -> subprocess.Popen[bytes] | None:
        if self._postgres is None:
            postgres = EmbeddedPostgres(self._data_dir)
            postgres.prepare()
            self._postgres = postgres
        return self._postgres.start() if self._postgres.is_free(time.monotonic()) else None

    def _start_python(self, role: Role, seat: int) -> tuple[multiprocessing.process.BaseProcess, Connection]:
        self._incarnations += 1
        is_forked = role is Role.WORKER and self._options.start_method == "forkserver"
        context = _FORKSERVER if is_forked else _SPAWN
        ready, ready_sender = context.Pipe(duplex=False)
        with ready_sender:
            process = context.Process(
                target=child.boot,
                name=f"{role}-{seat}",
                args=(
                    self._targets[role],
                    None if is_forked else os.getpid(),
                    ready_sender,
                    b"" if role is Role.WORKER else self._options.settings,
                    self._arguments(role, seat),
                ),
            )
            try:
                process.start()
            except (EOFError, ConnectionError):
                ready.close()
                raise
        return process, ready

    def _arguments(self, role: Role, seat: int) -> tuple[Any, ...]:
        if role is Role.ENGINE:
            return (
                self._pool_socket,
                str(rendezvous.signer_socket_path(self._data_dir)),
                str(rendezvous.board_path(self._data_dir)),
            )
        if role is Role.SIGNER:
            return (self._signer_socket,)
        return (
            seat,
            self._incarnations,
            str(rendezvous.pool_socket_path(self._data_dir)),
            self._options.worker_max_jobs,
            self._options.worker_hard_limit_mib,
            self._options.handlers,
            self._options.log_level,
            self._options.log_format,
            self._options.sandbox,
            str(self._data_dir),
        )

    def _stop(self, seated: _Seated, grace_s: float, reason: str) -> None:
        seated.child = replace(seated.child, kill_at=time.monotonic() + grace_s)
        event(_log, "child_stopping", child=seated.child.role, pid=seated.child.pid, reason=reason)
        # To PostgreSQL, SIGTERM means to wait until every client has left.
        is_database = seated.child.role is Role.DATABASE
        _signal(seated, signal.SIGINT if is_database else signal.SIGTERM)

    def _kill(self, seated: _Seated, reason: str) -> None:
        seated.child = replace(seated.child, is_killed=True)
        event(
            _log,
            "child_killed",
            logging.WARNING,
            child=seated.child.role,
            pid=seated.child.pid,
            reason=reason,
        )
        _signal(seated, signal.SIGKILL)

    def _wait(self) -> None:
        """Sleep until a signal, a death, a birth, or the next look at memory."""
        is_starting = Role.DATABASE in self._wanted and not any(
            seated.child.role is Role.DATABASE and seated.child.is_ready for seated in self._seated.values()
        )
        for key, _ in self._selector.select(_IMPATIENT_POLL_S if is_starting else self._options.poll_s):
            if key.data == "signal":
                self._heed(os.read(key.fd, 64))
            elif key.fileobj is key.data.ready:
                self._note_ready(key.data)
            elif key.data.child.pid in self._seated:
                self._reap(key.data)

    def _heed(self, numbers: bytes) -> None:
        stops = [signal.Signals(number).name for number in numbers if number in _STOP_SIGNALS]
        if not stops:
            return
        event(_log, "stopping", signal=stops[0])
        if not self._wanted:
            # Asked twice: patience ends now.
            self._limits = replace(self._limits, drain_timeout_s=0.0)
            for seated in self._seated.values():
                if seated.child.kill_at is not None:
                    seated.child = replace(seated.child, kill_at=0.0)
        self._wanted = {}

    def _note_ready(self, seated: _Seated) -> None:
        assert seated.ready is not None
        self._selector.unregister(seated.ready)
        try:
            seated.ready.recv_bytes()
            seated.child = replace(seated.child, is_ready=True)
        except (EOFError, OSError):
            pass  # it died first, which its pidfd tells
        seated.ready.close()
        seated.ready = None

    def _reap(self, seated: _Seated) -> None:
        now = time.monotonic()
        facts = seated.child
        exit_code = _exit_code_of(seated.process)
        if seated.pidfd >= 0:
            self._selector.unregister(seated.pidfd)
            os.close(seated.pidfd)
        if seated.ready is not None:
            self._note_ready(seated)
        del self._seated[facts.pid]
        death = Death(
            role=facts.role,
            seat=facts.seat,
            at=now,
            lived_s=now - facts.started_at,
            was_ready=seated.child.is_ready,
            exit_code=exit_code,
            was_planned=facts.kill_at is not None,
        )
        self._deaths.append(death)
        is_well = death.was_planned or exit_code == ExitCode.OK
        event(
            _log,
            "child_ended",
            logging.INFO if is_well else logging.WARNING,
            child=facts.role,
            seat=facts.seat,
            pid=facts.pid,
            exit_code=exit_code,
            lived_s=round(death.lived_s, 3),
        )
        self._publish()

    def _look_at_children(self) -> None:
        """Ask what no event tells: is the database ready, how much memory does a worker hold."""
        now = time.monotonic()
        is_time = now >= self._next_look_at
        if is_time:
            self._next_look_at = now + self._options.poll_s
        for seated in self._seated.values():
            facts = seated.child
            if facts.role is Role.DATABASE and not facts.is_ready and self._postgres is not None:
                seated.child = replace(facts, is_ready=self._postgres.is_ready())
            elif facts.role is Role.WORKER and is_time:
                seated.child = replace(facts, private_mib=private_mib(facts.pid))

    def _publish(self) -> None:
        workers, processes = {}, {}
        for seated in self._seated.values():
            if seated.child.role is Role.WORKER:
                workers[f"{seated.child.seat}.{seated.incarnation}"] = seated.child.pid
            else:
                processes[str(seated.child.role)] = seated.child.pid
        board = rendezvous.Board(workers=workers, processes=processes, restarts=dict(self._restarts))
        rendezvous.publish(board, rendezvous.board_path(self._data_dir))

    def _kill_all(self) -> None:
        for seated in list(self._seated.values()):
            self._kill(seated, "the Supervisor ends")
            self._reap(seated)


def private_mib(pid: int) -> float:
    """Return the memory that `pid` alone holds: mapped files and shared pages do not count."""
    try:
        _, resident, shared, *_ = Path(f"/proc/{pid}/statm").read_bytes().split()
    except (OSError, ValueError):
        return 0.0
    return (int(resident) - int(shared)) * os.sysconf("SC_PAGESIZE") / 2**20


def _listen(path: Path, stack: contextlib.ExitStack) -> socket.socket:
    path.unlink(missing_ok=True)
    listener = stack.enter_context(socket.socket(socket.AF_UNIX))
    listener.bind(str(path))
    path.chmod(0o600)
    listener.listen(512)
    stack.callback(path.unlink, missing_ok=True)
    return listener


@contextlib.contextmanager
def _sigint_blocked() -> Iterator[None]:
    """Children inherit the mask, so that Ctrl-C cannot end one before it ignores it."""
    earlier = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, earlier)


def _signal(seated: _Seated, number: signal.Signals) -> None:
    try:
        signal.pidfd_send_signal(seated.pidfd, number)
    except ProcessLookupError:
        return


def _exit_code_of(process: multiprocessing.process.BaseProcess | subprocess.Popen[bytes]) -> int:
    """Wait for a process that is dead or dying; minus the number of the signal that killed it."""
    if isinstance(process, subprocess.Popen):
        return process.wait()
    process.join()
    exit_code = process.exitcode
    assert exit_code is not None
    process.close()
    return exit_code
