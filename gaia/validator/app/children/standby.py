"""Keeps a standby IO-Engine that has loaded everything, because imports take most of a restart."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from multiprocessing.connection import Connection, Pipe
from multiprocessing.process import BaseProcess

from gaia.validator.app.children import spawning
from gaia.validator.app.children.spawning import Process
from gaia.validator.app.logging_config import event
from gaia.validator.utils.machine.process_state import is_stopped

_log = logging.getLogger("application")
_FIRST_PAUSE_S = 1.0
_LONGEST_PAUSE_S = 300.0

Starter = Callable[[Connection], tuple[Process, Connection]]
"""Function that starts a child; it runs once it reads a byte, and ends if the connection is closed."""


class Standby:
    """At most one standby child, which holds no resources and has done nothing yet.

    Parameters
    ----------
    start
        Function that starts the child.
    """

    def __init__(self, start: Starter) -> None:
        self._start = start
        self._process: Process | None = None
        self._notes: Connection | None = None
        self._go: Connection | None = None
        self._started_at = float("-inf")
        self._pause_s = _FIRST_PAUSE_S

    @property
    def pid(self) -> int | None:
        """Pid of the standby; None if there is none."""
        return self._process.pid if self._process is not None else None

    def prepare(self, now: float) -> None:
        """Start a standby if there is none; the delay grows while standbys die."""
        if self._process is not None and not self._is_alive():
            event(_log, "standby_died", logging.WARNING, pid=self.pid, exit_code=self.discard())
            self._lengthen_pause(now)
        if self._process is not None or now - self._started_at < self._pause_s:
            return
        self._started_at = now
        try:
            go, self._go = Pipe(duplex=False)
            with go:
                self._process, self._notes = self._start(go)
        except OSError as error:
            # The next engine is then started on demand.
            event(_log, "standby_not_started", logging.WARNING, error=str(error))
            self.discard()
            self._lengthen_pause(now)

    def take(self) -> tuple[Process, Connection] | None:
        """Let the standby run, and return it as a child that was just started; None if there is none."""
        process, notes, go = self._process, self._notes, self._go
        if process is None or notes is None or go is None:
            return None
        assert process.pid is not None
        if not self._is_alive() or is_stopped(process.pid):
            self.discard()
            return None
        try:
            os.write(go.fileno(), b"g")
        except BrokenPipeError:
            self.discard()  # it has just died
            return None
        go.close()
        self._process = self._notes = self._go = None
        self._started_at = float("-inf")
        self._pause_s = _FIRST_PAUSE_S
        return process, notes

    def discard(self) -> int | None:
        """End the standby; return its exit code, or None if there was none."""
        process, self._process = self._process, None
        for end in (self._notes, self._go):
            if end is not None:
                end.close()
        self._notes = self._go = None
        if process is None:
            return None
        process.kill()
        return spawning.exit_code_of(process)

    def _lengthen_pause(self, now: float) -> None:
        lived_long = now - self._started_at > _LONGEST_PAUSE_S
        self._pause_s = _FIRST_PAUSE_S if lived_long else min(2 * self._pause_s, _LONGEST_PAUSE_S)

    def _is_alive(self) -> bool:
        return isinstance(self._process, BaseProcess) and self._process.is_alive()
