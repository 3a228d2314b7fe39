"""Starts Python children, observes them, and reads how they ended."""

from __future__ import annotations

import contextlib
import errno
import logging
import multiprocessing
import os
import signal
import subprocess
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from itertools import count
from multiprocessing import forkserver, resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import msgspec

from gaia.validator.app import child
from gaia.validator.app.children import preload
from gaia.validator.app.logging_config import event
from gaia.validator.app.meeting import rendezvous
from gaia.validator.app.supervision import FORK_SERVER_DIED, Child, Role
from gaia.validator.app.worker_guard import Note
from gaia.validator.utils.entry_points import FORK_SERVER
from gaia.validator.utils.identities import WorkerId, worker_id
from gaia.validator.utils.machine.process_state import is_stopped

if TYPE_CHECKING:
    from gaia.validator.utils.logs.files import LogFiles

_log = logging.getLogger("application")
_SPAWN = multiprocessing.get_context("spawn")
_FORKSERVER = multiprocessing.get_context("forkserver")
_PACKAGE_ROOT = Path(__file__).resolve().parents[4]
_FORK_PATIENCE_S = 0.5
_MOST_WAKINGS = 10
_WARM_UP_PATIENCE_S = 600.0
_REAP_PATIENCE_S = 1.0
_LAST_WORDS_S = 0.25
"""Seconds that a worker has to write its stack; on busy cores it waits long for its turn. Writing takes a millisecond."""
_SCARCITY = (errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE)
_LONGEST_NOTES = 16
_LONGEST_SENTENCE = 4096
_withheld: set[str] = set()
_PAGE = os.sysconf("SC_PAGESIZE")

Process = BaseProcess | subprocess.Popen[bytes]


@dataclass(slots=True)
class ChildHandle:
    """A child process with its descriptors; `child` holds the facts for the plan."""

    child: Child
    incarnation: int
    process: Process
    pidfd: int
    notes: Connection | None
    """Connection on which it reports ready and, as a compute worker, why it should be replaced."""
    statm: int = -1
    kill_reason: str = ""
    """Reason for which it was told to stop or killed; empty if it was not."""
    sigkill_at: float | None = None
    """Monotonic seconds at which SIGKILL follows the SIGALRM that makes a worker write its stack."""
    note_bytes: int = 0
    """Number of bytes of notes read so far."""
    has_started: bool = False
    """Whether it has said that it is fully at work."""
    sentence: str = ""
    """Its last words: the sentence for the operator, if it ended with one."""

    @property
    def worker(self) -> WorkerId:
        """Name of a compute worker; "" for other roles."""
        is_worker = self.child.role is Role.WORKER
        return worker_id(self.child.seat, self.incarnation) if is_worker else WorkerId("")

    def look_at_memory(self) -> float:
        """Return its private memory in MiB, without mapped files and shared pages."""
        try:
            if self.statm < 0:
                self.statm = os.open(f"/proc/{self.child.pid}/statm", os.O_RDONLY | os.O_CLOEXEC)
            _, resident, shared, *_ = os.pread(self.statm, 256, 0).split()
        except (OSError, ValueError):
            return self.child.private_mib
        return (int(resident) - int(shared)) * _PAGE / 2**20

    def signal(self, number: signal.Signals) -> None:
        """Send a signal, unless the process has ended."""
        try:
            signal.pidfd_send_signal(self.pidfd, number)
        except ProcessLookupError:
            return

    def kill(self, *, may_speak: bool) -> None:
        """Kill it: a compute worker that may speak a moment later, because it first writes its Python stack."""
        if may_speak and self.child.role is Role.WORKER:
            self.signal(signal.SIGALRM)
            self.sigkill_at = time.monotonic() + _LAST_WORDS_S
        else:
            self.signal(signal.SIGKILL)

    def kill_if_due(self, now: float) -> None:
        """Kill it if its moment for last words is over."""
        if self.sigkill_at is not None and now >= self.sigkill_at:
            self.sigkill_at = None
            self.signal(signal.SIGKILL)

    def hear(self) -> bool:
        """Read its notes into `child`; return False if it closed the connection or sent too much."""
        assert self.notes is not None
        most = _LONGEST_NOTES if self.child.role is Role.WORKER else _LONGEST_SENTENCE
        try:
            words = os.read(self.notes.fileno(), 2 * most)
        except BlockingIOError:
            return True
        except OSError:
            words = b""
        self.note_bytes += len(words)
        if self.child.role is Role.WORKER:
            for word in words:
                self.child = _noted(self.child, bytes((word,)))
        else:
            notes, _, sentence = words.partition(child.LAST_WORDS)
            is_ready = self.child.is_ready or child.READY in notes
            self.child = replace(self.child, is_ready=is_ready)
            self.has_started = self.has_started or child.STARTED in notes
            self.sentence = self.sentence or sentence.decode(errors="replace")
        return bool(words) and self.note_bytes <= most

    def close(self) -> None:
        """Close all descriptors of the child."""
        for descriptor in (self.pidfd, self.statm):
            if descriptor >= 0:
                os.close(descriptor)
        if self.notes is not None:
            self.notes.close()
            self.notes = None


def _noted(child: Child, word: bytes) -> Child:
    """Return the facts about a compute worker, updated by its note of one byte."""
    if word == Note.CONNECTED.value:
        return replace(child, is_ready=True)
    if word == Note.ADMITTED.value:
        return replace(child, is_admitted=True)
    if any(word == note.value for note in Note):
        return replace(child, due=Note(word).name.lower())
    return child


def prepare(data_dir: Path, *, is_forking: bool, log_files: LogFiles | None = None) -> None:
    """Set the environment for children, and start the fork server early; it logs to `log_files` too."""
    os.environ.update(preload.environment(data_dir))
    paths = [str(_PACKAGE_ROOT), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    os.environ["PYTHONPATH"] = os.pathsep.join(dict.fromkeys(paths))
    if is_forking:
        os.environ[preload.PARENT_VARIABLE] = str(os.getpid())
        os.environ[preload.SIGN_VARIABLE] = str(_sign_path(data_dir))
        if log_files is not None:
            os.environ[preload.LOGS_VARIABLE] = msgspec.json.encode(log_files).decode()
        multiprocessing.set_forkserver_preload([FORK_SERVER])
        _ensure_fork_server()


def withhold(variables: Collection[str]) -> None:
    """Keep these variables of the environment from the fork server and the compute workers."""
    _withheld.update(variables)


@contextlib.contextmanager
def _environment_of_workers(*, is_meant: bool = True) -> Iterator[None]:
    """Take the withheld variables out of the environment while a process starts."""
    taken = {name: value for name in _withheld if is_meant and (value := os.environ.get(name)) is not None}
    for name in taken:
        del os.environ[name]
    try:
        yield
    finally:
        for name, value in taken.items():
            os.environ[name] = value


def can_fork(data_dir: Path) -> bool:
    """Return whether the fork server has loaded everything, so that starting a worker does not block.

    A dead fork server is replaced.
    """
    _ensure_fork_server()
    pid = fork_server_pid()
    try:
        if _sign_path(data_dir).read_text() == str(pid):
            return True
    except FileNotFoundError:
        pass  # the fork server is still loading
    _warm_up.watch(pid, time.monotonic())
    return False


class _WarmUp:
    """Watches a fork server while it loads, because no request would notice that it hangs."""

    def __init__(self) -> None:
        self._pid = 0
        self._began_at = self._looked_at = 0.0

    def watch(self, pid: int, now: float) -> None:
        """Wake the fork server if it is stopped; kill it if it takes too long, so that it is replaced."""
        if pid != self._pid:
            self._pid, self._began_at, self._looked_at = pid, now, now
        is_hopeless = now - self._began_at > _WARM_UP_PATIENCE_S
        if not is_hopeless and now - self._looked_at < _FORK_PATIENCE_S:
            return
        self._looked_at = now
        if is_hopeless or is_stopped(pid):
            event(_log, "fork_server_silent", logging.WARNING, killed=is_hopeless)
            _nudge_fork_server(signal.SIGKILL if is_hopeless else signal.SIGCONT)


_warm_up = _WarmUp()


def start(
    name: str,
    target: str,
    settings: bytes,
    arguments: tuple[Any, ...],
    *,
    is_worker: bool,
    is_forked: bool,
    go: Connection | None = None,
) -> tuple[Process, Connection]:
    """Start `target` in a child; return the process and the connection with its notes.

    A compute worker gets the other end as its last argument; the first note of other roles
    says that they are about to run. With `go` the child waits at its other end for a byte
    after it has loaded everything.

    Raises
    ------
    EOFError, OSError
        If the fork server died during the request; the next call starts another.
    """
    context = _FORKSERVER if is_forked else _SPAWN
    notes, sender = context.Pipe(duplex=False)
    os.set_blocking(notes.fileno(), False)
    with sender, _fork_server_hurried():
        process = context.Process(
            target=child.boot,
            name=name,
            args=(
                target,
                None if is_forked else os.getpid(),
                None if is_worker else sender,
                settings,
                (*arguments, sender) if is_worker else arguments,
                go,
            ),
        )
        try:
            with _environment_of_workers(is_meant=is_worker):
                process.start()
        except (EOFError, OSError):
            notes.close()
            raise
    return process, notes


def exit_code_of(process: Process) -> int:
    """Return the exit code of a dead process, negative for the number of a fatal signal."""
    if isinstance(process, subprocess.Popen):
        return process.wait()
    process.join(_REAP_PATIENCE_S)
    if process.exitcode is None:
        # The fork server has not reported it, which it cannot do while it is stopped.
        _nudge_fork_server(signal.SIGCONT)
        process.join(_REAP_PATIENCE_S)
    exit_code = process.exitcode
    if exit_code is None:
        return FORK_SERVER_DIED
    process.close()
    return exit_code


def may_pass(error: OSError) -> bool:
    """Return whether a failed start may succeed later: the fork server died, or resources ran out."""
    return isinstance(error, ConnectionError) or error.errno in _SCARCITY


def reap_strangers(known: set[int]) -> int:
    """Reap orphans that this process inherited; return their number.

    The first process of a container inherits all orphans in it.
    """
    ours = known | {fork_server_pid(), _tracker_pid()}
    reaped = 0
    while True:
        try:
            ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return reaped
        if ended is None or ended.si_pid in ours:
            return reaped
        os.waitpid(ended.si_pid, 0)
        reaped += 1


@contextlib.contextmanager
def sigint_blocked() -> Iterator[None]:
    """Block SIGINT, so that children inherit the mask and Ctrl-C cannot end one before it ignores it."""
    earlier = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, earlier)


@contextlib.contextmanager
def _fork_server_hurried() -> Iterator[None]:
    """Wake a fork server that does not answer, because it may be stopped; kill it if that does not help."""
    calls = count(1)

    def hurry(_signum: int, _frame: FrameType | None) -> None:
        is_hopeless = next(calls) > _MOST_WAKINGS
        event(_log, "fork_server_silent", logging.WARNING, killed=is_hopeless)
        _nudge_fork_server(signal.SIGKILL if is_hopeless else signal.SIGCONT)

    earlier = signal.signal(signal.SIGALRM, hurry)
    signal.setitimer(signal.ITIMER_REAL, _FORK_PATIENCE_S, _FORK_PATIENCE_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, earlier)


def _ensure_fork_server() -> None:
    # The resource tracker, once started, leaves SIGINT unblocked for all later children.
    resource_tracker.ensure_running()
    with sigint_blocked(), _environment_of_workers():
        forkserver.ensure_running()


def _sign_path(data_dir: Path) -> Path:
    return rendezvous.run_directory(data_dir) / "fork_server"


def fork_server_pid() -> int:
    """Return the pid of the fork server; 0 if there was none yet."""
    return getattr(forkserver._forkserver, "_forkserver_pid", None) or 0  # noqa: SLF001 - no public name


def _tracker_pid() -> int:
    return getattr(resource_tracker._resource_tracker, "_pid", None) or 0  # noqa: SLF001 - no public name


def _nudge_fork_server(number: signal.Signals) -> None:
    pid = fork_server_pid()
    if pid:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            return
