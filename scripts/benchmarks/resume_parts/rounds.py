"""Starts, kills and stops a real validator in turn, and measures when it is ready."""

from __future__ import annotations

import asyncio
import os
import select
import signal
import sys
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import ExitStack, asynccontextmanager, suppress
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Final

import psutil
from monitored.faults.scene import ENGINE, POSTGRES, ChosenSubnet, Ground
from monitored.programs import free_port

from benchmarks.resume import UNDISTURBED
from benchmarks.resume_parts.readiness import Readiness
from gaia.localnet.options import Options, data_dir
from gaia.validator.app.children.embedded_postgres import embedded_dsn

if TYPE_CHECKING:
    from benchmarks.resume import Plan

_READY_S: Final = 180.0
_DEATH_S: Final = 30.0
_MAKE_TABLE: Final = "CREATE SCHEMA IF NOT EXISTS bench; CREATE TABLE IF NOT EXISTS bench.written (line text)"
_WRITE: Final = (
    "TRUNCATE bench.written;"
    " INSERT INTO bench.written SELECT repeat(md5(n::text), 16) FROM generate_series(1, 256 * 69) AS n"
)
"""Writes as much as the scores of one lead of 256 miners and 69 fields, which a killed server has to replay."""


class StillAlive(Exception):
    """A process outlived SIGKILL or a stop."""


async def measure(folder: Path, plan: Plan, seed: int, patience: float) -> dict[str, list[float]]:
    """Return way -> seconds until ready, one of each round."""
    async with _trial(folder, patience) as trial:
        ways = {
            UNDISTURBED: trial.start_anew,
            "engine": trial.kill_engine,
            "postgres": trial.kill_postgres,
            "everything": trial.kill_everything,
        }
        samples: dict[str, list[float]] = {name: [] for name in ways}
        chance = Random(seed)
        for number in range(plan.rounds):
            for name, way in ways.items():
                # After a start the standby of the engine is loaded, which takes about half as long.
                least_s = max([plan.rest_s, *(started_s / 2 for started_s in samples[UNDISTURBED][-1:])])
                await trial.rest(least_s + chance.uniform(0.0, plan.spread_s))
                samples[name].append(await way())
                print(f"{number + 1}/{plan.rounds} {name} {samples[name][-1]:.2f} s", file=sys.stderr)
    return samples


@asynccontextmanager
async def _trial(folder: Path, patience: float) -> AsyncIterator[Trial]:
    """Yield a ready validator on a subnet whose calendar stands still before its first run."""
    port = free_port()
    options = Options(miners=2, days=1, seed=5, metrics_port=port)
    async with ChosenSubnet(folder, options, {}) as subnet:
        begun = time.monotonic()
        await subnet.start()
        ground = Ground(subnet=subnet, patience=patience)
        ground.clock.extend(ground.clock.now())
        with ExitStack() as stack:
            readiness = Readiness(port, embedded_dsn(data_dir(subnet.state_dir)))
            stack.callback(readiness.close)
            trial = Trial(ground, readiness)
            await trial.ready_since(begun)
            yield trial


class Trial:
    """One validator, and the ways in which it ends and comes back; each returns the seconds until ready."""

    def __init__(self, ground: Ground, readiness: Readiness) -> None:
        self._ground = ground
        self._readiness = readiness

    async def rest(self, seconds: float) -> None:
        """Let the validator settle, and its server write what a kill makes it replay."""
        until = time.monotonic() + seconds
        await self._readiness.write(_MAKE_TABLE)
        await self._readiness.write(_WRITE)
        await asyncio.sleep(max(0.0, until - time.monotonic()))
        self._ground.subnet.check()
        # A session of a killed server may answer once more; a new one needs the server of now.
        self._readiness.close()

    async def ready_since(self, begun: float) -> float:
        return await self._readiness.reached(begun, _READY_S * self._ground.patience)

    async def start_anew(self) -> float:
        """Stop in order, then start.

        Raises
        ------
        StillAlive
            If it does not end by itself.
        """
        if not await self._ground.subnet.stop_validator():
            raise StillAlive("the validator did not end in order")
        begun = time.monotonic()
        self._ground.subnet.start_validator()
        return await self.ready_since(begun)

    async def kill_engine(self) -> float:
        return await self._kill_one(ENGINE)

    async def kill_postgres(self) -> float:
        return await self._kill_one(POSTGRES)

    async def kill_everything(self) -> float:
        """Kill every process of the validator, and start it at once."""
        validator = self._ground.subnet.validator
        assert validator is not None
        assert validator.pid is not None
        descendants = psutil.Process(validator.pid).children(recursive=True)
        begun = time.monotonic()
        _kill([validator.pid, *(process.pid for process in descendants)], self._ground.patience)
        assert not validator.is_running  # which reaps it
        self._ground.subnet.start_validator()
        return await self.ready_since(begun)

    async def _kill_one(self, role: str) -> float:
        (victim,) = self._ground.pids(role)
        begun = time.monotonic()
        _kill([victim], self._ground.patience)
        return await self.ready_since(begun)


def _kill(pids: Iterable[int], patience: float) -> None:
    """Kill processes, and wait until each has ended.

    Raises
    ------
    StillAlive
        If one does not end.
    """
    with ExitStack() as stack:
        handles = []
        for pid in pids:
            try:
                handle = os.pidfd_open(pid)
            except ProcessLookupError:
                continue
            stack.callback(os.close, handle)
            handles.append((pid, handle))
        for _, handle in handles:
            with suppress(ProcessLookupError):  # it has died with another
                signal.pidfd_send_signal(handle, signal.SIGKILL)
        for pid, handle in handles:
            if not select.select([handle], [], [], _DEATH_S * patience)[0]:
                raise StillAlive(f"process {pid} does not end")
