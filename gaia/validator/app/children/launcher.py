"""Starts the process of a role and a seat, with its arguments."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gaia.validator.app.children import spawning
from gaia.validator.app.children.standby import Standby
from gaia.validator.app.meeting import lease_book, rendezvous
from gaia.validator.app.supervision import Role
from gaia.validator.app.supervisor_options import Options, WorkerOrders
from gaia.validator.utils.identities import worker_id

if TYPE_CHECKING:
    from gaia.validator.app.children.spawning import Process


class Launcher:
    """Starts the Python children of one Supervisor, and owns the two sockets through which they connect.

    Parameters
    ----------
    options
        Options of the Supervisor; call `discard_standby` after a change.
    targets
        Role -> "module:function" that it runs.
    """

    def __init__(self, options: Options, targets: Mapping[Role, str]) -> None:
        self.options = options
        self.incarnations = 0
        """Number of children started so far, which is the number of the latest."""
        self.is_waiting_to_fork = False
        """Whether a worker had to wait because the fork server was not ready."""
        self._targets = targets
        self._data_dir = Path(options.data_dir).resolve()
        self._standby = Standby(self._start_standby)
        self._pool_socket: socket.socket | None = None
        self._signer_socket: socket.socket | None = None
        self.endpoint: socket.socket | None = None
        """Listening socket for metrics and probes, which every IO-Engine is handed; None: neither is served."""

    def open_sockets(self, stack: contextlib.ExitStack) -> None:
        """Prepare the folder of the sockets, and open them for all children until `stack` ends."""
        rendezvous.make_private(rendezvous.run_directory(self._data_dir))
        stacks = rendezvous.stacks_directory(self._data_dir)
        rendezvous.make_private(stacks)
        for left in stacks.iterdir():
            left.unlink()
        # No worker of an earlier Supervisor is left, so no lease is valid.
        lease_book.discard(rendezvous.lease_book_path(self._data_dir))
        stack.callback(self._standby.discard)
        pool, signer = (
            rendezvous.pool_socket_path(self._data_dir),
            rendezvous.signer_socket_path(self._data_dir),
        )
        self._pool_socket = stack.enter_context(rendezvous.listening(pool))
        self._signer_socket = stack.enter_context(rendezvous.listening(signer))

    def start(self, role: Role, seat: int) -> tuple[Process, Connection] | None:
        """Start a child; return None if the fork server is not ready yet.

        Raises
        ------
        EOFError, OSError
            If the fork server died during the request.
        """
        if role is Role.ENGINE and (standby := self._standby.take()) is not None:
            self.incarnations += 1
            return standby
        is_worker = role is Role.WORKER
        is_forked = is_worker and self.options.start_method == "forkserver"
        if is_forked and not spawning.can_fork(self._data_dir):
            self.is_waiting_to_fork = True
            return None
        self.incarnations += 1
        return spawning.start(
            f"{role}-{seat}",
            self._targets[role],
            self._settings_of(role),
            self._arguments(role, seat),
            is_worker=is_worker,
            is_forked=is_forked,
        )

    @property
    def standby_pid(self) -> int | None:
        """Pid of the standby engine; None if there is none."""
        return self._standby.pid

    def prepare_standby(self, now: float) -> None:
        """Start a standby engine if there is none."""
        self._standby.prepare(now)

    def discard_standby(self) -> None:
        """End the standby engine, because none is needed or its settings have changed."""
        self._standby.discard()

    def _start_standby(self, go: Connection) -> tuple[Process, Connection]:
        with spawning.sigint_blocked():
            return spawning.start(
                "standby",
                self._targets[Role.ENGINE],
                self.options.settings,
                self._arguments(Role.ENGINE, 0),
                is_worker=False,
                is_forked=False,
                go=go,
            )

    def _settings_of(self, role: Role) -> bytes:
        """Return the pickled settings that a role needs; a worker needs none."""
        if role is Role.ENGINE:
            return self.options.settings
        return self.options.signer_settings if role is Role.SIGNER else b""

    def _arguments(self, role: Role, seat: int) -> tuple[Any, ...]:
        if role is Role.ENGINE:
            return (
                self._pool_socket,
                str(rendezvous.signer_socket_path(self._data_dir)),
                str(rendezvous.board_path(self._data_dir)),
                *([self.endpoint] if self.endpoint is not None else []),
            )
        if role is Role.SIGNER:
            return (self._signer_socket,)
        return (self._orders(seat),)

    def _orders(self, seat: int) -> WorkerOrders:
        return WorkerOrders(
            seat=seat,
            incarnation=self.incarnations,
            socket_path=str(rendezvous.pool_socket_path(self._data_dir)),
            max_jobs=self.options.worker_max_jobs,
            memory_mib=self.options.worker_hard_limit_mib,
            handlers=self.options.handlers,
            log_level=self.options.log_level,
            log_format=self.options.log_format,
            log_files=self.options.log_files,
            sandbox=self.options.sandbox,
            data_dir=str(self._data_dir),
            idle_s=self.options.worker_idle_s,
            stack_path=str(rendezvous.stack_path(self._data_dir, worker_id(seat, self.incarnations))),
        )
