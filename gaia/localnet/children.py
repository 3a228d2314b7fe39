"""Starts and ends the processes of a local subnet; each has a log and reports when it is ready."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gaia.localnet import tether
from gaia.validator.utils.errors import GaiaError
from gaia.validator.utils.files import put_file

_POLL_S = 0.02
_TAIL_LINES = 15


class ChildFailed(GaiaError):
    """A process of the local subnet ended or did not become ready; the message quotes its log."""


class Child:
    """One child process in a session of its own, so that Ctrl-C does not reach it; it dies with this one."""

    def __init__(
        self, name: str, state_dir: Path, arguments: Sequence[str], environment: Mapping[str, str]
    ) -> None:
        self.name = name
        self.log_path = state_dir / "logs" / f"{name}.log"
        self._ready_path = ready_path(state_dir, name)
        self._state_dir = state_dir
        self._arguments = list(arguments)
        self._environment = dict(environment)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def exit_code(self) -> int | None:
        return self._process.poll() if self._process else None

    def start(self) -> None:
        """Start the process, and append its output to its log."""
        self._ready_path.unlink(missing_ok=True)
        self.log_path.parent.mkdir(parents=True, exist_ok=True)
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                tether.command(*self._arguments),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self._environment,
                cwd=self._state_dir,
                start_new_session=True,
            )

    async def ready(self, timeout_s: float) -> dict[str, Any]:
        """Return what the process writes once it serves.

        Raises
        ------
        ChildFailed
            If it ends first, or does not write in time.
        """
        deadline = time.monotonic() + timeout_s
        while not self._ready_path.exists():
            if not self.is_running:
                raise ChildFailed(self.obituary())
            if time.monotonic() > deadline:
                raise ChildFailed(
                    f"{self.name} was not ready within {timeout_s:g} s\n{self.tail()}\nSee {self.log_path}."
                )
            await asyncio.sleep(_POLL_S)
        content: dict[str, Any] = json.loads(self._ready_path.read_text())
        return content

    async def stop(self, timeout_s: float, how: signal.Signals = signal.SIGTERM) -> bool:
        """Stop the process, and kill it after `timeout_s`; return True if it ended by itself."""
        process = self._process
        if process is None or process.poll() is not None:
            return True
        process.send_signal(how)
        deadline = time.monotonic() + timeout_s
        while process.poll() is None and time.monotonic() < deadline:
            await asyncio.sleep(_POLL_S)
        if process.poll() is not None:
            return True
        process.kill()
        process.wait()
        return False

    def obituary(self) -> str:
        """Return the error for an unexpected end, with the last lines of the log."""
        return (
            f"{self.name} ended unexpectedly, exit code {self.exit_code}\n{self.tail()}\nSee {self.log_path}."
        )

    def tail(self) -> str:
        """Return the last lines of the log."""
        if not self.log_path.exists():
            return ""
        return "\n".join(self.log_path.read_text(errors="replace").splitlines()[-_TAIL_LINES:])


def ready_path(state_dir: Path, name: str) -> Path:
    """Return the file that the process `name` writes once it serves."""
    return state_dir / f"{name}.json"


def say_ready(state_dir: Path, name: str, content: Mapping[str, Any]) -> None:
    """Tell the parent process that `name` serves, and where."""
    put_file(ready_path(state_dir, name), json.dumps(content).encode())
