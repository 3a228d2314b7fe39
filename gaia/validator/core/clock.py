"""Clocks: the real one, and a simulated one in a file that a rehearsal's processes share."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from gaia.validator.utils.files import put_file

_POLL_S = 0.01


class RealClock:
    """The machine's own clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    async def idle_until(self, moment: datetime | None) -> None:
        """Return at once, because the scheduler starts the next tick."""


class SimulatedClock:
    """Clock that stands still until the validator has nothing to do, and then jumps.

    The file holds `now` and `end`; the clock never passes `end`. A process that needs real time
    (such as a miner that computes) holds the clock with `held`.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._holds = path.with_name(path.name + ".holds")

    @classmethod
    def create(cls, path: Path, now: datetime, end: datetime) -> SimulatedClock:
        """Write a new clock file, replacing an existing one."""
        clock = cls(path)
        clock._holds.mkdir(parents=True, exist_ok=True)
        clock._write(now, end)
        return clock

    def now(self) -> datetime:
        return self._read()[0]

    async def idle_until(self, moment: datetime | None) -> None:
        """Wait until no process holds the clock, then jump to `moment`, but never past the end."""
        while self.is_held():
            await asyncio.sleep(_POLL_S)
        now, end = self._read()
        if moment is not None and min(moment, end) > now:
            self._write(min(moment, end), end)

    def extend(self, end: datetime) -> None:
        """Set the moment that the clock never passes."""
        self._write(self.now(), end)

    @contextmanager
    def held(self, name: str) -> Iterator[None]:
        """Prevent jumps of the clock while the body runs; the death of a process releases it."""
        hold = self._holds / f"{os.getpid()}-{name}"
        hold.touch()
        try:
            yield
        finally:
            hold.unlink(missing_ok=True)

    def is_held(self) -> bool:
        """Return whether a process holds the clock."""
        for hold in self._holds.iterdir():
            pid = hold.name.split("-", 1)[0]
            if Path("/proc", pid).exists():
                return True
            hold.unlink(missing_ok=True)
        return False

    def _read(self) -> tuple[datetime, datetime]:
        content = json.loads(self._path.read_text())
        return datetime.fromisoformat(content["now"]), datetime.fromisoformat(content["end"])

    def _write(self, now: datetime, end: datetime) -> None:
        put_file(self._path, json.dumps({"now": now.isoformat(), "end": end.isoformat()}).encode())
