"""The Supervisor: starts, watches, stops and reaps all processes; synchronous, with few imports."""

from __future__ import annotations

import contextlib
import logging
import os
import selectors
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import IO

import msgspec

from gaia.validator.app.children import spawning
from gaia.validator.app.children.deaths import Deaths
from gaia.validator.app.children.embedded_postgres import EmbeddedPostgres
from gaia.validator.app.children.launcher import Launcher
from gaia.validator.app.children.signals import signals_noted
from gaia.validator.app.children.silence import Silence
from gaia.validator.app.children.spawning import ChildHandle, Process
from gaia.validator.app.logging_config import change_logging, event, one_line
from gaia.validator.app.meeting import rendezvous
from gaia.validator.app.meeting.stack_dumps import forget_stacks, offer_stacks
from gaia.validator.app.observation.family import FORK_SERVER, STANDBY, SUPERVISOR, Family
from gaia.validator.app.observation.public_state import PublicState
from gaia.validator.app.observation.serving import Reception
from gaia.validator.app.startup.endpoint import open_endpoint
from gaia.validator.app.startup.folder_faults import our_files, trouble_with_named_file
from gaia.validator.app.startup.rereading import Rereading
from gaia.validator.app.supervision import (
    Child,
    Command,
    Halt,
    Kill,
    Role,
    Start,
    Stop,
    look_again_s,
    plan,
    wants_standby,
)
from gaia.validator.app.supervisor_options import Options, Reloaded
from gaia.validator.utils import entry_points
from gaia.validator.utils.entry_points import COMPUTE_WORKER, IO_ENGINE, SIGNER
from gaia.validator.utils.errors import ConfigurationError, ExitCode

__all__ = ["RELOAD", "TARGETS", "Options", "Supervisor"]

TARGETS: Mapping[Role, str] = {
    Role.ENGINE: IO_ENGINE,
    Role.SIGNER: SIGNER,
    Role.WORKER: COMPUTE_WORKER,
}
"""Role -> "module:function" that its child runs; only the child imports it."""

RELOAD = (sys.executable, "-m", entry_points.RELOAD)
"""Program that reads the settings again, because the Supervisor must not load its libraries."""

_log = logging.getLogger("application")
_IMPATIENT_POLL_S = 0.02
_LONGEST_WAIT_S = 1.0
"""Seconds after which clients and the service manager are attended to, however seldom children are looked at."""
_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_NOTED_SIGNALS = (*_STOP_SIGNALS, signal.SIGHUP)


class Supervisor:
    """Owns every process of the validator, and the two sockets through which they connect.

    Parameters
    ----------
    options
        Processes to run, and their limits.
    targets
        Role -> function that it runs; a role without a target is not started.
    reload
        Program that gets the pickled settings and prints `Reloaded`.
    """

    def __init__(
        self,
        options: Options,
        targets: Mapping[Role, str] = TARGETS,
        reload: Sequence[str] = RELOAD,
    ) -> None:
        self._options = options
        self._targets = targets
        self._data_dir = Path(options.data_dir).resolve()
        self._limits = options.limits()
        self._wanted = self._wanted_seats()
        self._seated: dict[int, ChildHandle] = {}
        self._deaths = Deaths(self._data_dir)
        self._exit_code: int = ExitCode.OK
        self._sentence = ""
        self._is_over = False
        self._selector = selectors.DefaultSelector()
        self._postgres: EmbeddedPostgres | None = None
        self._rereading = Rereading(reload)
        self._silence = Silence(self._data_dir)
        self._looked_at = self._next_look_at = time.monotonic()
        self._launcher = Launcher(options, targets)
        self._public = PublicState(options.build, self._family, self._selector, self._data_dir)

    def run(self) -> int:
        """Supervise until told to stop, or until a halt; return the exit code."""
        with contextlib.ExitStack() as stack:
            stack.callback(self._selector.close)
            stack.callback(self._silence.close)
            receiver = stack.enter_context(signals_noted(_NOTED_SIGNALS))
            self._selector.register(receiver, selectors.EVENT_READ, "signal")
            try:
                with our_files(self._data_dir):
                    self._open_sockets(stack)
                stack.callback(self._kill_all)
                is_forking = (
                    self._options.start_method == "forkserver" and self._wanted.get(Role.WORKER, 0) > 0
                )
                spawning.withhold(self._options.withheld)
                spawning.prepare(self._data_dir, is_forking=is_forking, log_files=self._options.log_files)
                event(_log, "supervisor_started", pid=os.getpid(), workers=self._options.workers)
                while self._seated or self._wanted:
                    self._carry_out_plan()
                    self._wait()
                    self._look_at_children()
                    self._public.keep_up()
            except ConfigurationError as error:
                self._sentence, self._exit_code = str(error), error.exit_code
            except OSError as error:
                trouble = trouble_with_named_file(error, self._data_dir)
                if trouble is None:
                    raise
                self._sentence, self._exit_code = str(trouble), trouble.exit_code
        event(_log, "supervisor_ended", exit_code=int(self._exit_code))
        if self._sentence:
            # The last line of all is what the operator must do, whichever process found it out.
            sys.stderr.write(f"{one_line(self._sentence)}\n")
            sys.stderr.flush()
        return int(self._exit_code)

    def _wanted_seats(self) -> dict[Role, int]:
        seats = {Role.SIGNER: 1, Role.ENGINE: 1, Role.WORKER: self._options.workers}
        wanted = {role: seats[role] for role in seats if role in self._targets}
        return wanted | ({Role.DATABASE: 1} if self._options.embedded_database else {})

    def _open_sockets(self, stack: contextlib.ExitStack) -> None:
        self._launcher.open_sockets(stack)
        forget_stacks(rendezvous.run_directory(self._data_dir))
        offer_stacks(rendezvous.run_directory(self._data_dir))
        stack.callback(rendezvous.board_path(self._data_dir).unlink, missing_ok=True)
        endpoint = open_endpoint(self._options.metrics_host, self._options.metrics_port)
        if endpoint is not None:
            self._launcher.endpoint = stack.enter_context(endpoint)
            self._public.serve(endpoint, self._options.metrics_names)
            stack.callback(self._public.close)

    def _family(self) -> Family:
        return Family(
            children=[seated.child for seated in self._seated.values()],
            helpers={
                SUPERVISOR: os.getpid(),
                STANDBY: self._launcher.standby_pid or 0,
                FORK_SERVER: spawning.fork_server_pid(),
            },
            wanted=self._wanted,
            restarts=self._deaths.restarts,
            has_started=any(seated.has_started for seated in self._seated.values()),
        )

    def _carry_out_plan(self) -> None:
        self._launcher.is_waiting_to_fork = False
        children = [seated.child for seated in self._seated.values()]
        for command in plan(children, self._deaths.remembered, self._wanted, self._limits, time.monotonic()):
            self._carry_out(command)

    def _carry_out(self, command: Command) -> None:
        match command:
            case Start(role, seat):
                self._start(role, seat)
            case Stop(pid, grace_s, reason):
                self._stop(self._seated[pid], grace_s, reason)
            case Kill(pid, reason):
                self._kill(self._seated[pid], reason)
            case Halt(exit_code, reason, sentence):
                self._sentence = sentence or f"{reason}; read the last log lines and report them."
                event(_log, "halt_ordered", logging.ERROR, exit_code=exit_code, reason=self._sentence)
                self._exit_code = exit_code
                self._wanted = {}
                # The IO-Engine tells the operator this reason when it is told to stop.
                self._deaths.halt = self._sentence
                self._publish()

    def _start(self, role: Role, seat: int) -> None:
        started_at = time.monotonic()
        try:
            with spawning.sigint_blocked():
                born = self._start_postgres() if role is Role.DATABASE else self._launcher.start(role, seat)
        except (EOFError, OSError) as error:
            if isinstance(error, OSError) and not spawning.may_pass(error):
                raise
            self._deaths.note_failed_start(role, seat, started_at, repr(error), self._limits)
            return
        if born is None:
            return  # not yet
        process, notes = born
        pid = process.pid
        assert pid is not None
        try:
            pidfd = os.pidfd_open(pid)
        except ProcessLookupError:
            pidfd = -1  # it is already dead, and the fork server has reaped it
        facts = Child(role=role, seat=seat, pid=pid, started_at=started_at, is_ready=False)
        seated = ChildHandle(facts, self._launcher.incarnations, process, pidfd, notes)
        self._seated[pid] = seated
        if notes is not None:
            self._selector.register(notes, selectors.EVENT_READ, seated)
        self._deaths.note_start(role, seat)
        event(_log, "child_started", child=role, seat=seat, pid=pid)
        if pidfd >= 0:
            self._selector.register(pidfd, selectors.EVENT_READ, seated)
            self._publish()
        else:
            self._reap(seated)

    def _start_postgres(self) -> tuple[Process, None] | None:
        with our_files(self._data_dir):
            if self._postgres is None:
                self._postgres = EmbeddedPostgres(self._data_dir)
            if not self._postgres.is_prepared() or not self._postgres.is_free(time.monotonic()):
                return None
            return self._postgres.start(), None

    def _stop(self, seated: ChildHandle, grace_s: float, reason: str) -> None:
        seated.child = replace(seated.child, kill_at=time.monotonic() + grace_s)
        seated.kill_reason = reason
        event(_log, "child_stop_ordered", child=seated.child.role, pid=seated.child.pid, reason=reason)
        # SIGTERM makes PostgreSQL wait until every client has left.
        is_database = seated.child.role is Role.DATABASE
        seated.signal(signal.SIGINT if is_database else signal.SIGTERM)

    def _kill(self, seated: ChildHandle, reason: str) -> None:
        facts = seated.child
        seated.child = replace(facts, is_killed=True)
        seated.kill_reason = reason
        event(_log, "child_killed", logging.WARNING, child=facts.role, pid=facts.pid, reason=reason)
        seated.kill(may_speak=bool(self._wanted))

    def _wait(self) -> None:
        """Sleep until a signal, a death, a note, or the next check of the children."""
        is_impatient = self._launcher.is_waiting_to_fork or (
            Role.DATABASE in self._wanted
            and not any(
                one.child.role is Role.DATABASE and one.child.is_ready for one in self._seated.values()
            )
        )
        next_at = min(
            [self._next_look_at, *(one.sigkill_at for one in self._seated.values() if one.sigkill_at)]
        )
        rest_s = min(_LONGEST_WAIT_S, max(0.0, next_at - time.monotonic()))
        patience_s = _IMPATIENT_POLL_S if is_impatient else rest_s
        for key, _ in self._selector.select(patience_s):
            if isinstance(key.data, Reception):
                key.data.attend(key.fileobj)
            elif key.data == "signal":
                self._heed(os.read(key.fd, 64))
            elif key.data == "reloaded":
                self._take_over(self._rereading.pipe)
            elif key.fileobj is key.data.notes:
                self._take_notes(key.data)
            elif key.data.child.pid in self._seated:
                self._reap(key.data)

    def _heed(self, numbers: bytes) -> None:
        if signal.SIGHUP in numbers and self._wanted:
            self._begin_reload()
        stops = [signal.Signals(number).name for number in numbers if number in _STOP_SIGNALS]
        if not stops:
            return
        event(_log, "stop_requested", signal=stops[0])
        if not self._wanted:
            # A second signal ends the wait.
            self._limits = replace(self._limits, drain_timeout_s=0.0)
            for seated in self._seated.values():
                if seated.child.kill_at is not None:
                    seated.child = replace(seated.child, kill_at=0.0)
        self._wanted = {}

    def _begin_reload(self) -> None:
        pipe = self._rereading.begin(self._options.settings)
        if pipe is not None:
            self._selector.register(pipe, selectors.EVENT_READ, "reloaded")
            self._public.manager.reloading()

    def _take_over(self, pipe: IO[bytes]) -> None:
        """End a rereading, apply what it found, and begin another if one was asked for meanwhile."""
        self._selector.unregister(pipe)
        reloaded = self._rereading.outcome()
        self._public.manager.reloaded()
        if reloaded is not None:
            self._apply(reloaded)
        if self._rereading.is_asked_again and self._wanted:
            self._begin_reload()

    def _apply(self, reloaded: Reloaded) -> None:
        """Apply the reloadable settings."""
        earlier, new = self._options, msgspec.structs.replace(reloaded.options, lock_fd=self._options.lock_fd)
        self._options, self._limits = new, new.limits()
        self._launcher.options = new
        self._public.build = new.build
        self._launcher.discard_standby()
        change_logging(new.log_level, new.log_files)
        if self._wanted:
            self._wanted = self._wanted_seats()
        for seated in self._seated.values():
            if seated.child.role is Role.WORKER and new.for_workers() != earlier.for_workers():
                seated.child = replace(seated.child, due="new settings")
            elif seated.child.role is Role.ENGINE:
                seated.signal(signal.SIGHUP)

    def _take_notes(self, seated: ChildHandle) -> None:
        """Read a child's notes: that it is ready or, from a compute worker, why it should be replaced."""
        assert seated.notes is not None
        if not seated.hear():
            self._selector.unregister(seated.notes)
            seated.notes.close()
            seated.notes = None

    def _reap(self, seated: ChildHandle) -> None:
        now = time.monotonic()
        self._public.measure()
        exit_code = spawning.exit_code_of(seated.process)
        if seated.notes is not None:
            self._take_notes(seated)
        if seated.notes is not None:
            self._selector.unregister(seated.notes)
        if seated.pidfd >= 0:
            self._selector.unregister(seated.pidfd)
        seated.close()
        del self._seated[seated.child.pid]
        with our_files(self._data_dir):
            self._deaths.note(seated, exit_code, now, self._limits)
        self._publish()

    def _look_at_children(self) -> None:
        """Poll what no event reports: readiness of the database, memory of workers, signs of life."""
        now = time.monotonic()
        for seated in self._seated.values():
            seated.kill_if_due(now)
            facts = seated.child
            if facts.role is Role.DATABASE and not facts.is_ready and self._postgres is not None:
                seated.child = replace(facts, is_ready=self._postgres.is_ready())
        if now < self._next_look_at:
            return
        # Only observed time counts as silence, because a suspended machine stops all processes.
        seen_s = min(now - self._looked_at, 2 * self._options.poll_s)
        for seated in self._seated.values():
            facts = seated.child
            if facts.role is Role.WORKER:
                seated.child = replace(facts, private_mib=seated.look_at_memory())
            else:
                is_quiet = self._silence.is_silent(facts, 2 * self._options.poll_s + 1.0)
                silent_s = facts.silent_s + seen_s if is_quiet else 0.0
                seated.child = replace(facts, silent_s=silent_s)
        children = [seated.child for seated in self._seated.values()]
        is_loading = self._launcher.is_waiting_to_fork
        if not self._wanted:
            self._launcher.discard_standby()
        elif wants_standby(children, self._wanted, is_fork_server_loading=is_loading):
            self._launcher.prepare_standby(now)
        spawning.reap_strangers({*self._seated, *self._helpers()})
        self._looked_at = now
        self._next_look_at = now + look_again_s(children, self._limits, self._options.poll_s)

    def _helpers(self) -> set[int]:
        """Return the pids of children that hold no seat and are reaped elsewhere."""
        pids = (self._rereading.pid, self._launcher.standby_pid)
        helpers = {pid for pid in pids if pid is not None}
        return helpers | (self._postgres.helpers() if self._postgres is not None else set())

    def _publish(self) -> None:
        if self._is_over:
            return  # the board is no longer needed, and may be the reason of the end
        board = self._deaths.board(self._seated.values())
        with our_files(self._data_dir):
            rendezvous.publish(board, rendezvous.board_path(self._data_dir))
        self._public.measure()

    def _kill_all(self) -> None:
        self._launcher.discard_standby()
        self._is_over = True
        for seated in list(self._seated.values()):
            seated.signal(signal.SIGKILL)
            self._reap(seated)
        self._rereading.abandon()
        if self._postgres is not None:
            self._postgres.abandon()
