"""The next IO-Engine, which has loaded all it needs and waits: importing is most of what a restart takes."""

from __future__ import annotations

import os
from collections.abc import Callable
from multiprocessing.connection import Connection, Pipe
from multiprocessing.process import BaseProcess

from gaia.validator.app import nursery
from gaia.validator.app.nursery import Process

_PREPARE_AGAIN_S = 5.0

Starter = Callable[[Connection], tuple[Process, Connection]]
"""Starts the child that runs once it reads a byte from the connection, and never if that is closed."""


class Standby:
    """At most one child that waits to be needed; it holds nothing and has done nothing.

    Parameters
    ----------
    start
        Starts it.
    """

    def __init__(self, start: Starter) -> None:
        self._start = start
        self._process: Process | None = None
        self._notes: Connection | None = None
        self._go: Connection | None = None
        self._started_at = float("-inf")

    @property
    def pid(self) -> int | None:
        """Its pid; None while there is none."""
        return self._process.pid if self._process is not None else None

    def prepare(self, now: float) -> None:
        """Have one waiting; one that died is replaced, but not all the time."""
        if self._process is not None and not self._is_alive():
            self.discard()
        if self._process is not None or now - self._started_at < _PREPARE_AGAIN_S:
            return
        self._started_at = now
        try:
            go, self._go = Pipe(duplex=False)
            with go:
                self._process, self._notes = self._start(go)
        except OSError:
            self.discard()  # the system has nothing to spare: the next engine is started when it is needed

    def take(self) -> tuple[Process, Connection] | None:
        """Send it to work, as a child that was just started; None if there is none that could go."""
        process, notes, go = self._process, self._notes, self._go
        if process is None or notes is None or go is None:
            return None
        assert process.pid is not None
        if not self._is_alive() or nursery.is_stopped(process.pid):
            self.discard()
            return None
        try:
            os.write(go.fileno(), b"g")
        except BrokenPipeError:
            self.discard()  # it died this moment
            return None
        go.close()
        self._process = self._notes = self._go = None
        self._started_at = float("-inf")
        return process, notes

    def discard(self) -> None:
        """End it, and forget it."""
        process, self._process = self._process, None
        for end in (self._notes, self._go):
            if end is not None:
                end.close()
        self._notes = self._go = None
        if process is not None:
            process.kill()
            nursery.exit_code_of(process)

    def _is_alive(self) -> bool:
        return isinstance(self._process, BaseProcess) and self._process.is_alive()
