"""Reads the settings again in a process of its own, for the Supervisor may not load what that takes."""

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


class Rereading:
    """One reading of the settings at a time; what fails is logged, and the settings stay as they are.

    Parameters
    ----------
    program
        Command that is given the pickled settings and prints `Reloaded`.
    """

    def __init__(self, program: Sequence[str]) -> None:
        self._program = program
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """Pid of the program; None while none runs."""
        return self._process.pid if self._process is not None else None

    @property
    def pipe(self) -> IO[bytes]:
        """Where the program answers, while one runs."""
        assert self._process is not None
        assert self._process.stdout is not None
        return self._process.stdout

    def begin(self, settings: bytes) -> IO[bytes] | None:
        """Start the program; return where its answer comes. None: one runs already, or it cannot be started."""
        if self._process is not None:
            return None
        event(_log, "reload_started")
        try:
            with os.fdopen(os.memfd_create("settings", 0), "w+b") as file:
                file.write(settings)
                file.seek(0)
                self._process = subprocess.Popen(self._program, stdin=file, stdout=subprocess.PIPE)
        except OSError as error:
            # We run on with the settings that we have; the operator may send the signal again.
            event(_log, "reload_failed", logging.ERROR, reason=repr(error))
            return None
        return self.pipe

    def outcome(self) -> Reloaded | None:
        """Wait for the end of the program; return what it printed, or None if it failed."""
        pipe, process = self.pipe, self._process
        assert process is not None
        self._process = None
        with process:
            printed = pipe.read()
        if process.returncode != 0:
            event(_log, "reload_failed", logging.ERROR, exit_code=process.returncode)
            return None
        reloaded = msgspec.msgpack.decode(printed, type=Reloaded)
        event(_log, "settings_reloaded", changed=reloaded.changed, need_restart=reloaded.refused)
        return reloaded

    def abandon(self) -> None:
        """Kill the program, if one runs."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.communicate()
