"""Snapshots of a real database and of real processes: stored, forgotten when old, and drawn."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg
import pytest
from structlog.testing import capture_logs

from gaia.validator.app.compute_worker import attempt_unit
from gaia.validator.core.background.memory import MemoryKeeper
from gaia.validator.core.database_stats import PLOTS, DatabaseStatsManager
from gaia.validator.db.connection import Database
from gaia.validator.db.server import observations
from gaia.validator.db.server.observations import DatabaseSnapshot, MemoryAt
from gaia.validator.utils.entry_points import HANDLERS
from gaia.validator.utils.errors import OwnFailure
from gaia.validator.utils.identities import JobId
from gaia.validator.utils.ipc_types import Failure, ResultUnit, WorkUnit
from gaia.validator.utils.settings.background import BackgroundSettings
from tests.support.patience import patience

NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)
PNG = b"\x89PNG\r\n\x1a\n"


class Pool:
    """Runs units as a worker does, or answers as a test says."""

    def __init__(self) -> None:
        self.units: list[WorkUnit] = []
        self.answer: ResultUnit | None = None

    async def dispatch_and_wait(self, unit: WorkUnit) -> ResultUnit:
        self.units.append(unit)
        if self.answer is not None:
            return self.answer
        return await asyncio.to_thread(attempt_unit, unit, HANDLERS)


class World:
    """A database, its manager, and the time."""

    def __init__(self, database: Database, folder: Path) -> None:
        self.database = database
        self.pool = Pool()
        self.now = NOW
        settings = BackgroundSettings(history_days=2.0, plots_kept=2)
        self.stats = DatabaseStatsManager(settings, folder, database, self.pool, self.wall_clock)
        self.memory = MemoryKeeper(
            settings,
            database,
            lambda: {"io_engine": [os.getpid()], "compute_worker": [os.getpid(), 2**22]},
            None,
            wall_clock=self.wall_clock,
        )
        self.plots = folder / PLOTS

    def wall_clock(self) -> float:
        return self.now.timestamp()

    async def snapshots(self) -> list[DatabaseSnapshot]:
        async with self.database.transaction() as connection:
            return await observations.database_snapshots(connection, NOW - timedelta(days=99))

    async def memory_snapshots(self) -> list[MemoryAt]:
        async with self.database.transaction() as connection:
            return await observations.memory_snapshots(connection, NOW - timedelta(days=99))

    def pictures(self) -> list[str]:
        return sorted(path.name for path in self.plots.iterdir()) if self.plots.exists() else []


@pytest.fixture
async def world(database: Database, tmp_path: Path) -> World:
    return World(database, tmp_path)


@pytest.fixture
async def other(empty_dsn: str) -> AsyncIterator[tuple[asyncpg.Connection, asyncpg.Connection]]:
    """Two sessions of somebody else."""
    one, two = await asyncpg.connect(empty_dsn), await asyncpg.connect(empty_dsn)
    yield one, two
    one.terminate()
    two.terminate()


async def test_monitor_sees_who_works_who_waits_and_who_leaves_a_transaction_open(
    world: World, other: tuple[asyncpg.Connection, asyncpg.Connection]
) -> None:
    holder, waiter = other
    await holder.execute("BEGIN")
    await holder.execute("LOCK TABLE incidents")
    waiting = asyncio.create_task(waiter.execute("SELECT count(*) FROM incidents"))

    async with asyncio.timeout(patience(30.0)):
        while True:
            with capture_logs() as logs:
                await world.stats.database_monitor()
            latest = (await world.snapshots())[-1]
            if latest.waiting and latest.longest_transaction_s > 0.05:
                break
            world.now += timedelta(seconds=1)
    await holder.execute("ROLLBACK")
    await waiting

    assert (latest.active, latest.waiting) == (1, 1)
    assert latest.idle >= 1
    assert latest.size_bytes > 2**20
    assert latest.commits > 0
    assert latest.answer_s > 0
    (line,) = logs
    assert (line["event"], line["waiting"]) == ("database_activity", 1)


async def test_transaction_that_stays_open_is_warned_of_once(world: World) -> None:
    counters = observations.Counters(1, 1, 0, 1, 0, 0)
    forgotten = observations.Session("idle in transaction", False, 0.0, 90.0)

    with capture_logs() as logs:
        for sessions in ([forgotten], [forgotten], [], [forgotten]):
            world.now += timedelta(minutes=1)
            await world.stats._log_and_store_db_stats(
                world.stats._process_activity_snapshot(sessions, counters, 0.001)
            )

    assert [line["log_level"] for line in logs] == ["warning", "info", "debug", "warning"]
    assert [one.longest_transaction_s for one in await world.snapshots()] == [90.0, 90.0, 0.0, 90.0]


async def test_snapshots_of_a_quarter_of_an_hour_make_one_line_each(world: World) -> None:
    with capture_logs() as logs:
        for _ in range(4):
            await world.stats.database_monitor()
            await world.memory.memory_snapshot_taker()
            world.now += timedelta(minutes=5)

    told = [line["event"] for line in logs if line["log_level"] == "info"]
    assert told == ["database_activity", "memory_snapshot"] * 2


async def test_snapshots_are_kept_for_the_days_of_the_setting(world: World) -> None:
    for days in range(4):
        world.now = NOW + timedelta(days=days)
        await world.stats.database_monitor()
        await world.memory.memory_snapshot_taker()

    kept = [NOW + timedelta(days=days) for days in (1, 2, 3)]
    assert [one.at for one in await world.snapshots()] == kept
    assert sorted({one.at for one in await world.memory_snapshots()}) == kept


async def test_memory_of_each_role_is_stored_and_told(world: World) -> None:
    with capture_logs() as logs:
        await world.memory.memory_snapshot_taker()

    workers, engine = await world.memory_snapshots()
    assert (workers.role, workers.processes, engine.role, engine.processes) == (
        "compute_worker",
        2,
        "io_engine",
        1,
    )
    assert engine.resident_bytes > engine.private_bytes > 2**20
    (line,) = logs
    assert line["event"] == "memory_snapshot"
    assert set(line["private_mib"]) == {"compute_worker", "io_engine"}


async def test_history_is_drawn_and_the_newest_pictures_are_kept(world: World) -> None:
    for _ in range(3):
        world.now += timedelta(minutes=1)
        await world.stats.database_monitor()
        await world.memory.memory_snapshot_taker()
    for _ in range(3):
        world.now += timedelta(minutes=20)
        await world.stats.plot_database_metrics_periodically()

    names = ["database-20261128T124300Z.png", "database-20261128T130300Z.png"]
    assert world.pictures() == names
    assert all((world.plots / name).read_bytes().startswith(PNG) for name in names)
    assert len(world.pool.units[0].payload["samples"]) == 3


async def test_history_without_two_snapshots_is_not_drawn(world: World) -> None:
    await world.stats.database_monitor()

    await world.stats.plot_database_metrics_periodically()

    assert (world.pool.units, world.pictures()) == ([], [])


@pytest.mark.parametrize(
    "answer",
    [
        ResultUnit(job_id=JobId("a"), attempt=1, value={"png": b"GIF89a"}),
        ResultUnit(job_id=JobId("a"), attempt=1, value={"png": PNG + bytes(17 << 20)}),
        ResultUnit(job_id=JobId("a"), attempt=1, value={}),
        ResultUnit(
            job_id=JobId("a"), attempt=1, failure=Failure(error_type="OwnFailure", message="no memory")
        ),
    ],
)
async def test_answer_that_is_no_picture_is_a_failure_and_replaces_none(
    world: World, answer: ResultUnit
) -> None:
    for _ in range(2):
        world.now += timedelta(minutes=1)
        await world.stats.database_monitor()
    world.pool.answer = answer

    with pytest.raises(OwnFailure):
        await world.stats.plot_database_metrics_periodically()

    assert world.pictures() == []


async def test_folder_that_takes_no_file_is_our_failure(world: World) -> None:
    for _ in range(2):
        world.now += timedelta(minutes=1)
        await world.stats.database_monitor()
    world.plots.write_text("no folder")

    with pytest.raises(OwnFailure, match="FileExistsError"):
        await world.stats.plot_database_metrics_periodically()
