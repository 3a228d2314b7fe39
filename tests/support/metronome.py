"""An orchestrator that beats as fast as it may, and stand-ins for everything around it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, cast

from gaia.validator.core.background.book import JobStatus, TaskBook
from gaia.validator.core.background.task import BackgroundTask
from gaia.validator.core.chain.metagraph import MetagraphKeeper
from gaia.validator.core.incidents import Incident
from gaia.validator.core.task_orchestrator import TaskOrchestrator
from gaia.validator.utils.chain.metagraph import Metagraph
from gaia.validator.utils.errors import (
    ConfigurationError,
    ExitCode,
    SubnetMissing,
    TransientError,
)
from tests.support.fakes import FakeClock, a_metagraph
from tests.support.patience import patience

WELL = a_metagraph(["5Miner"])
WITHOUT_US = a_metagraph(["5Miner"], own_uid=None)
MISSING = SubnetMissing("the chain says that subnet 57 does not exist")
AWAY = TransientError("no answer")
NOT_REGISTERED = ConfigurationError(
    "GAIA_WALLET_HOTKEY", "unknown", "register", ExitCode.HOTKEY_NOT_REGISTERED
)
DISK = ConfigurationError("GAIA_DATA_DIR", "is full", "free some", ExitCode.DATA_DIR_FULL)
Reading = Metagraph | Exception


class FakeSource:
    """Answers with `readings` in turn, the last again and again."""

    def __init__(self, *readings: Reading) -> None:
        self.readings = list(readings)
        self.asked = 0

    async def read_metagraph(self) -> Metagraph:
        self.asked += 1
        reading = self.readings.pop(0) if len(self.readings) > 1 else self.readings[0]
        if isinstance(reading, Exception):
            raise reading
        return reading


class FakeIncident:
    """Keeps what it was told: the words, or None for well."""

    def __init__(self) -> None:
        self.told: list[str | None] = []

    async def failing(self, evidence: str, now: object) -> None:
        self.told.append(evidence)

    async def recovered(self, now: object) -> None:
        self.told.append(None)


async def nothing(*_: object) -> None:
    return


class FakeTask:
    def __init__(
        self, work: Callable[..., Awaitable[None]] = nothing, close: Callable[[], Any] = nothing
    ) -> None:
        self._work = work
        self.close = close

    async def advance(self, now: object) -> None:
        await self._work()


class FakeSetter:
    """Sets weights as a test says."""

    def __init__(self, work: Callable[..., Awaitable[None]] = nothing) -> None:
        self._work = work
        self.looks = 0
        self.look_in_s: float | None = None

    async def set_if_due(self, now: object) -> None:
        self.looks += 1
        await self._work()


class Metronome:
    """An orchestrator that beats as fast as it may, and everything around it."""

    def __init__(
        self,
        *readings: Reading,
        task: FakeTask | None = None,
        setter: FakeSetter | None = None,
        drain_timeout_s: float = 60.0,
        let_go: Callable[[], Awaitable[None]] | None = None,
        background: Sequence[BackgroundTask] = (),
        status: Any = None,
        metagraph_interval_s: float = 0.01,
        retry_s: float = 24.0,
    ) -> None:
        self.book = TaskBook()
        self.keeper = MetagraphKeeper(FakeSource(*readings or [WELL]))
        self.incident = FakeIncident()
        self.errors: list[str] = []
        self.stop = asyncio.Event()
        tasks: Any = [task or FakeTask()]
        weights: Any = setter or FakeSetter()
        self.orchestrator = TaskOrchestrator(
            FakeClock(),
            tasks,
            self.keeper,
            weights,
            cast("Incident", self.incident),
            self.errors.append,
            let_go=let_go,
            background=background,
            status=status,
            book=self.book,
            tick_interval_s=0.01,
            metagraph_interval_s=metagraph_interval_s,
            drain_timeout_s=drain_timeout_s,
            retry_s=retry_s,
        )
        self.running = asyncio.create_task(self.orchestrator.run(self.stop))

    def status(self, job: str) -> JobStatus:
        return next(status for status in self.book.statuses() if status.job == job)

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(patience(10)):
            while not holds():
                await asyncio.sleep(0.001)

    async def end(self) -> None:
        self.stop.set()
        await asyncio.wait_for(self.running, patience(10))
