"""A local subnet with two validators on one database that neither of them owns."""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import psutil
from pydantic import SecretStr

from campaigns.state_faults.playing import FaultySubnet, Stuck
from gaia.localnet.children import Child, ChildFailed
from gaia.localnet.options import Options, clock_file, validator_environment
from gaia.localnet.view.watch import Watch
from gaia.validator.app.meeting.rendezvous import board_path, read_board
from gaia.validator.core.clock import SimulatedClock
from gaia.validator.utils.entry_points import VALIDATOR

NAMES: Final = ("one", "two")
"""Names of the validators, of their roles in the database, and of their logs."""
_ENGINE: Final = "io_engine"
_LOOK_S: Final = 0.05
_STOP_S: Final = 30.0


class Member:
    """One of the two validators: its process, its folder and its log."""

    def __init__(self, child: Child, folder: Path) -> None:
        self._child = child
        self._folder = folder
        self._stopped: list[psutil.Process] = []

    @property
    def child(self) -> Child:
        """Its Supervisor."""
        return self._child

    def said(self, event: str) -> int:
        """Return how often it and those before it have logged an event."""
        return self._child.log_path.read_bytes().count(f'"event": "{event}"'.encode())

    def has_workers(self) -> bool:
        """Return whether its compute workers have started, which they do after the rest."""
        return bool(read_board(board_path(self._folder)).workers)

    def family(self) -> list[psutil.Process]:
        """Return its living processes, the Supervisor first."""
        assert self._child.pid is not None
        with suppress(psutil.NoSuchProcess):
            top = psutil.Process(self._child.pid)
            return [top, *top.children(recursive=True)]
        return []

    def cpu_s(self) -> dict[int, float]:
        """Return the processor time of each of its processes."""
        found = {}
        for process in self.family():
            with suppress(psutil.NoSuchProcess):
                times = process.cpu_times()
                found[process.pid] = times.user + times.system
        return found

    def pause(self, *, whole: bool) -> None:
        """Stop all of its processes, or its IO-Engine alone."""
        if not whole:
            engine = psutil.Process(read_board(board_path(self._folder)).processes[_ENGINE])
            self._stopped = [engine]
            engine.suspend()
            return
        # Again, because a process may have made another one before it was stopped.
        while new := [process for process in self.family() if process not in self._stopped]:
            for process in new:
                with suppress(psutil.NoSuchProcess):
                    process.suspend()
            self._stopped += new

    def wake(self) -> None:
        """Let its processes go on."""
        for process in reversed(self._stopped):
            with suppress(psutil.NoSuchProcess):
                process.resume()
        self._stopped = []

    async def kill(self) -> None:
        """Kill all of its processes at once; return when they have ended."""
        family = self.family()
        for process in family:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        while self._child.is_running or any(process.is_running() for process in family):
            await asyncio.sleep(_LOOK_S)

    async def end(self, patience_s: float) -> None:
        """Stop it in order."""
        self.wake()
        await self._child.stop(patience_s, signal.SIGINT)


class Pair(FaultySubnet):
    """A subnet whose validators have one database, a role each, and a data folder each."""

    services_program = "campaigns.standby_faults.services"

    def __init__(
        self, state_dir: Path, options: Options, chosen: Mapping[str, float | str], dsn: str
    ) -> None:
        super().__init__(state_dir, options, chosen)
        self._dsn = dsn
        self._watch = Watch(dsn)
        self._members: dict[str, Member] = {}
        self._folders = dict.fromkeys(NAMES, 0)
        self._hold = ExitStack()

    def start_validator(self) -> None:
        """Start the first validator; the calendar stands still until `release` is called."""
        self._hold.enter_context(SimulatedClock(clock_file(self.state_dir)).held("pair"))
        self.begin(NAMES[0])

    def release(self) -> None:
        """Let the calendar begin."""
        self._hold.close()

    def asked(self) -> int:
        """Return a number that grows with each question that a miner has answered."""
        return sum(path.stat().st_size for path in (self.state_dir / "miners" / "questions").glob("*.jsonl"))

    def begin(self, name: str, *, on_new_folder: bool = False) -> None:
        """Start a validator, on the data folder that it had or on an empty one."""
        assert self.settings is not None
        self._folders[name] += on_new_folder
        folder = self.state_dir / f"{name}-{self._folders[name]}"
        address = urlsplit(self._dsn)
        role = address._replace(netloc=f"{name}@{address.netloc.rpartition('@')[2]}").geturl()
        chosen = {**self._chosen, "data_dir": folder, "database_url": SecretStr(role)}
        values = self.settings.model_copy(update=chosen).model_dump(exclude_unset=True)
        arguments = [sys.executable, "-m", VALIDATOR]
        child = Child(name, self.state_dir, arguments, validator_environment(self.state_dir, values))
        child.start()
        self._members[name] = Member(child, folder)

    def member(self, name: str) -> Member:
        """Return a validator that was begun."""
        return self._members[name]

    def forget(self, name: str) -> None:
        """Let the end of a validator be no failure."""
        del self._members[name]

    def check(self) -> None:
        """Raise `ChildFailed` if a process has ended unexpectedly."""
        super().check()
        for member in self._members.values():
            if not member.child.is_running:
                raise ChildFailed(member.child.obituary())

    async def says(self, name: str, event: str, times: int, patience_s: float) -> None:
        """Wait until a validator has logged an event so many times; look meanwhile how far the work is.

        Raises
        ------
        ChildFailed
            If a process of the subnet ends.
        Stuck
            If it does not.
        """
        ends_at = time.monotonic() + patience_s
        while self.member(name).said(event) < times:
            self.check()
            await self.progress()
            if time.monotonic() > ends_at:
                raise Stuck(f"{name} does not say {event}\n{self.member(name).child.tail()}")
            await asyncio.sleep(_LOOK_S)

    async def stop_validator(self) -> bool:
        """Stop both validators."""
        members, self._members = self._members, {}
        await asyncio.gather(*(member.end(_STOP_S) for member in members.values()))
        return all(member.child.exit_code == 0 for member in members.values())
