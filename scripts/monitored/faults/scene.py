"""What a fault has at hand: the running subnet, Prometheus, and the webhook at the end of the chain."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncpg

from gaia.cli.runbooks.branch import Branch
from gaia.localnet.options import Options, clock_file, data_dir
from gaia.localnet.subnet import LocalSubnet
from gaia.localnet.view.watch import NOT_NOW
from gaia.validator.app.children.embedded_postgres import embedded_dsn
from gaia.validator.app.meeting.rendezvous import Board, board_path, read_board
from gaia.validator.core.clock import SimulatedClock
from monitored.alertmanager import Webhook
from monitored.prometheus import Prometheus

if TYPE_CHECKING:
    from gaia.localnet.view.watch import Progress
    from monitored.alertmanager import Arrival

ENGINE, SIGNER, WORKER, POSTGRES = "io_engine", "chain_signer", "compute_worker", "postgres"
LOOK_S = 0.1


class Stuck(Exception):
    """Something that must happen did not happen in time."""


class ChosenSubnet(LocalSubnet):
    """A local subnet whose validator has some settings of its own."""

    def __init__(self, state_dir: Path, options: Options, chosen: Mapping[str, Any]) -> None:
        super().__init__(state_dir, options)
        self._chosen = dict(chosen)

    def start_validator(self) -> None:
        if self.settings is not None:
            self.settings = self.settings.model_copy(update=self._chosen)
        super().start_validator()


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """A running subnet, and what an operator can reach of it."""

    subnet: ChosenSubnet
    patience: float

    @property
    def board(self) -> Board:
        return read_board(board_path(data_dir(self.subnet.state_dir)))

    @property
    def clock(self) -> SimulatedClock:
        return SimulatedClock(clock_file(self.subnet.state_dir))

    def pids(self, role: str) -> list[int]:
        """Return the processes of a role, as the board has them."""
        board = self.board
        if role == WORKER:
            return list(board.workers.values())
        return [pid for name, pid in board.processes.items() if name == role]

    def service(self, name: str) -> int:
        """Return the pid of a service of the subnet."""
        pid = self.subnet.services[name].pid
        if pid is None:
            raise Stuck(f"{name} does not run")
        return pid

    async def until(self, reached: Callable[[], Awaitable[bool]], seconds: float, what: str) -> float:
        """Wait until `reached`; return the seconds that it took.

        Raises
        ------
        Stuck
            If it takes longer than `seconds`, times the patience.
        """
        began = time.monotonic()
        while not await reached():
            if time.monotonic() - began > seconds * self.patience:
                raise Stuck(f"{what} did not happen within {seconds * self.patience:.0f} s")
            await asyncio.sleep(LOOK_S)
        return time.monotonic() - began

    async def progress(self, reached: Callable[[Progress], bool], seconds: float = 240.0) -> None:
        """Wait until the runs have come so far."""

        async def is_reached() -> bool:
            return reached(await self.subnet.progress())

        await self.until(is_reached, seconds, "the progress")

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
        """Connect to the validator's database, as an operator with psql does."""
        dsn = embedded_dsn(data_dir(self.subnet.state_dir))
        connection: asyncpg.Connection[asyncpg.Record] | None = None

        async def connect() -> bool:
            nonlocal connection
            with suppress(*NOT_NOW):
                connection = await asyncpg.connect(dsn, ssl=False)
            return connection is not None

        await self.until(connect, 60.0, "a connection to the database")
        assert connection is not None
        try:
            yield connection
        finally:
            connection.terminate()


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene(Ground):
    """A running subnet under Prometheus and Alertmanager."""

    prometheus: Prometheus
    webhook: Webhook

    def arrived(self, name: str, since: float) -> Arrival | None:
        """Return the first message since then that an alert fires."""
        return next(
            (
                each
                for each in self.webhook.arrivals
                if each.name == name and each.is_firing and each.at >= since
            ),
            None,
        )


Cause = Callable[[Scene], AbstractAsyncContextManager[None]]
"""Injects a fault when it is entered, and ends it when it is left."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """A fault, and the alerts that it must fire."""

    name: str
    alerts: Sequence[str]
    cause: Cause
    branches: Sequence[Branch]
    """Causes of which `gaia runbook` must find one, for each of the alerts."""
    seconds: float = 60.0
    """Time within which the alerts arrive, at patience 1."""
    is_standing: bool = False
    """Whether the fault is there from the start: a setting, or the population."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One subnet, and the faults that it has in turn."""

    name: str
    faults: Sequence[Fault]
    options: Options
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Settings of the validator; {webhook} in a text is the address of the webhook."""
    ready: Callable[[Scene], Awaitable[None]]
    """Waits until the first fault may come."""
    tmpfs_mib: int = 0
    """Size of a disk of its own for the subnet's folder; 0: none."""


@asynccontextmanager
async def standing(_scene: Scene) -> AsyncIterator[None]:
    """Do nothing: the fault is there from the start."""
    yield


@asynccontextmanager
async def repeated(act: Callable[[], None], every_s: float) -> AsyncIterator[None]:
    """Act at once and then at regular intervals while the body runs."""

    async def go_on() -> None:
        while True:
            act()
            await asyncio.sleep(every_s)

    acting = asyncio.create_task(go_on())
    try:
        yield
        if acting.done():
            acting.result()
    finally:
        acting.cancel()
        await asyncio.gather(acting, return_exceptions=True)


def send(pids: Sequence[int], number: signal.Signals) -> None:
    """Send a signal to those that still live."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


@asynccontextmanager
async def suspended(pids: Sequence[int]) -> AsyncIterator[None]:
    """Stop processes with SIGSTOP while the body runs."""
    send(pids, signal.SIGSTOP)
    try:
        yield
    finally:
        send(pids, signal.SIGCONT)
