"""Reads the settings again in a separate process, because the Supervisor must not load the libraries."""

from __future__ import annotations

import logging
import os
import subprocess
from collections.abc import Sequence
from typing import IO

import msgspec

from gaia.validator.app.logging_config import event
from gaia.validator.app.supervisor_options import Reloaded

_log = logging.getLogger("application")
_security = logging.getLogger("security")


class Rereading:
    """Runs at most one rereading at a time; if it fails, it logs the failure and the settings stay.

    Parameters
    ----------
    program
        Command that gets the pickled settings and prints `Reloaded`.
    """

    def __init__(self, program: Sequence[str]) -> None:
        self._program = program
        self._process: subprocess.Popen[bytes] | None = None
        self.is_asked_again = False
        """Whether another rereading was asked for while one ran, which may have missed the newest changes."""

    @property
    def pid(self) -> int | None:
        """Pid of the program; None if it does not run."""
        return self._process.pid if self._process is not None else None

    @property
    def pipe(self) -> IO[bytes]:
        """Pipe with the output of the running program."""
        assert self._process is not None
        assert self._process.stdout is not None
        return self._process.stdout

    def begin(self, settings: bytes) -> IO[bytes] | None:
        """Start the program; return the pipe of its answer, or None if it runs already or cannot start.

        While it runs, the call is remembered in `is_asked_again`.
        """
        self.is_asked_again = self._process is not None
        if self.is_asked_again:
            return None
        event(_log, "reload_started")
        try:
            with os.fdopen(os.memfd_create("settings", 0), "w+b") as file:
                file.write(settings)
                file.seek(0)
                self._process = subprocess.Popen(self._program, stdin=file, stdout=subprocess.PIPE)
        except OSError as error:
            # The present settings stay; the operator may send the signal again.
            event(_log, "reload_failed", logging.ERROR, reason=repr(error))
            return None
        return self.pipe

    def outcome(self) -> Reloaded | None:
        """Wait until the program ends; return its result, or None if it failed."""
        pipe, process = self.pipe, self._process
        assert process is not None
        self._process = None
        with process:
            printed = pipe.read()
        if process.returncode != 0:
            event(_log, "reload_failed", logging.ERROR, exit_code=process.returncode)
            return None
        reloaded = msgspec.msgpack.decode(printed, type=Reloaded)
        event(_security, "settings_reloaded", changed=reloaded.changed, need_restart=reloaded.refused)
        return reloaded

    def abandon(self) -> None:
        """Kill the program if it runs."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.communicate()
