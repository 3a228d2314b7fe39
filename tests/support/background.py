"""Background tasks in the hands of a test: beats on demand, and a world in which every outside party is away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

from gaia.validator.core.background.backups import BackupKeeper
from gaia.validator.core.background.book import JobStatus, TaskBook
from gaia.validator.core.background.notifier import Notifier
from gaia.validator.core.background.registry import Surroundings, background_tasks
from gaia.validator.core.background.retention import Retention
from gaia.validator.core.background.runner import TaskRunner
from gaia.validator.core.background.task import BackgroundTask
from gaia.validator.core.chain.metagraph import MetagraphKeeper
from gaia.validator.core.chain.signer_client import SignerClient
from gaia.validator.core.clock import RealClock
from gaia.validator.db.backup.making import Destination
from gaia.validator.db.connection import Database
from gaia.validator.utils.errors import OwnFailure
from gaia.validator.utils.identities import Hotkey
from gaia.validator.utils.idle_connections import Connections
from gaia.validator.utils.ipc_types import ResultUnit, WorkUnit
from gaia.validator.utils.messenger import Messenger
from gaia.validator.utils.settings.background import BackgroundSettings
from gaia.validator.utils.settings.backup import BackupSettings
from gaia.validator.utils.settings.files import FilesSettings
from gaia.validator.utils.settings.notify import NotifySettings
from gaia.validator.utils.settings.weights import WeightsSettings
from tests.support.patience import patience

NAMES = (
    "database_monitor",
    "memory_snapshot_taker",
    "plot_database_metrics_periodically",
    "check_for_updates",
    "handle_miner_deregistration_loop",
    "manage_earthdata_token",
    "monitor_client_health",
    "periodic_substrate_cleanup",
    "aggressive_memory_cleanup",
    "notifier",
    "remove_old_data",
    "daily_backup",
)
"""The plan's background tasks but those that the orchestrator has itself: main_scoring and status_logger."""


class DatabaseAway(Database):
    """A database that answers nobody."""

    def __init__(self) -> None:
        return

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Any]:
        raise OwnFailure("database: connection refused")
        yield

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[Any]:
        async with self.transaction() as connection:
            yield connection

    async def run(self, body: Any) -> Any:
        async with self.transaction() as connection:
            return await body(connection)


class ClientAway:
    """An HTTP client whose connections cannot be closed."""

    async def close_idle(self) -> Connections:
        raise OwnFailure("no descriptors")


class NoMiners:
    def forget(self, hotkeys: Collection[Hotkey]) -> int:
        return 0


class NoPool:
    async def dispatch_and_wait(self, unit: WorkUnit) -> ResultUnit:
        raise OwnFailure("the pool is closed")


class KeeperAway(MetagraphKeeper):
    """A keeper that has lost its metagraph."""

    def __init__(self) -> None:
        return

    def latest(self) -> Any:
        raise RuntimeError("a bug")


async def _no_facts() -> Any:
    raise OwnFailure("the board cannot be read")


def _no_processes() -> Mapping[str, Sequence[int]]:
    raise OwnFailure("the board cannot be read")


class WorkersAway:
    def idle_workers(self) -> Any:
        raise OwnFailure("the board cannot be read")

    def retire(self, worker: str) -> None:
        return


def tasks_without_a_world(data_dir: Path, closed_port: int) -> dict[str, BackgroundTask]:
    """Return name -> background task; whatever each task asks for is away or broken."""
    address = f"http://127.0.0.1:{closed_port}"
    around = Surroundings(
        settings=BackgroundSettings.model_validate(
            {
                "update_url": address,
                "earthdata_url": address,
                "earthdata_username": "user",
                "earthdata_password": "hush",
            }
        ),
        data_dir=data_dir,
        database=DatabaseAway(),
        units=NoPool(),
        metagraph=KeeperAway(),
        miners=NoMiners(),
        clients={"miners": ClientAway()},
        signer=SignerClient(data_dir / "no.sock"),
        processes=_no_processes,
        workers=cast("Any", WorkersAway()),
        notifier=Notifier(
            NotifySettings.model_validate({"notify_alive_url": address}),
            data_dir,
            _no_facts,
            Messenger([], "GAIA_NOTIFY_URLS"),
            "life",
        ),
        retention=Retention(FilesSettings(data_dir=data_dir), WeightsSettings(), DatabaseAway(), RealClock()),
        backups=BackupKeeper(
            BackupSettings(),
            Destination(data_dir / "backups", 0),
            cast("Any", DatabaseAway()),
            "postgresql://nowhere",
        ),
        show_update=lambda _: None,
    )
    return {task.name: task for task in background_tasks(around)}


class Beats:
    """A runner that a test beats by hand."""

    def __init__(self, *tasks: BackgroundTask, grace_s: float = 0.01) -> None:
        self.book = TaskBook()
        self.errors: list[tuple[str, BaseException]] = []
        self.runner = TaskRunner(
            self.book, lambda job, error: self.errors.append((job, error)), grace_s=grace_s
        )
        for task in tasks:
            self.book.expect(task.name, task.overdue_after_s)

    def status(self, job: str) -> JobStatus:
        return next(status for status in self.book.statuses() if status.job == job)

    async def run(self, task: BackgroundTask) -> None:
        """Beat once, and wait for the end of the run."""
        self.runner.beat(task)
        await self.until(lambda: task.name not in self.runner.left_behind())

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(patience(10.0)):
            while not holds():
                await asyncio.sleep(0)
