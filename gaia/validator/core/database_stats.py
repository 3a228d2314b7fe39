"""Observes the database: stores and logs snapshots of its activity, and has their history drawn."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import structlog

from gaia.validator.core.background.seldom import Seldom
from gaia.validator.db.server import observations
from gaia.validator.db.server.observations import Counters, DatabaseSnapshot, MemoryAt, Session
from gaia.validator.utils import database_history
from gaia.validator.utils.borders import Party, border
from gaia.validator.utils.database_history import DatabaseSample, DrawDatabaseHistory, MemorySample
from gaia.validator.utils.errors import OwnFailure
from gaia.validator.utils.files import put_file
from gaia.validator.utils.identities import JobId
from gaia.validator.utils.ipc_types import Priority, WorkUnit

if TYPE_CHECKING:
    from gaia.tasks.defined_tasks.base import UnitRunner
    from gaia.validator.db.connection import Connection, Database
    from gaia.validator.utils.settings.background import BackgroundSettings

log = structlog.get_logger("performance")

PLOTS = "plots"
"""Folder of the pictures, below the data folder."""

_DRAWN = timedelta(hours=24)
_FEWEST_SAMPLES = 2
_DRAWING_S = 60.0
_MOST_BYTES = 16 << 20
_PNG = b"\x89PNG\r\n\x1a\n"
_SLOW_TRANSACTION_S = 60.0
_TOLD_EVERY_S = 900.0


class DatabaseStatsManager:
    """Takes snapshots of the database, and keeps their history and its pictures.

    Parameters
    ----------
    units
        Runs the unit that draws, because the IO-Engine loads no drawing library.
    """

    def __init__(
        self,
        settings: BackgroundSettings,
        data_dir: Path,
        database: Database,
        units: UnitRunner,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._kept = timedelta(days=settings.history_days)
        self._plots_kept = settings.plots_kept
        self._folder = data_dir / PLOTS
        self._cache_dir = data_dir / database_history.CACHE
        self._database = database
        self._units = units
        self._wall_clock = wall_clock
        self._is_slow = False
        self._seldom = Seldom(_TOLD_EVERY_S, wall_clock)

    async def database_monitor(self) -> None:
        """Take a snapshot of the database, store it, and log it.

        Raises
        ------
        DatabaseFailure
            If the database failed.
        """
        began = time.perf_counter()
        async with self._database.reading() as connection:
            sessions = await observations.sessions(connection)
            counters = await observations.counters(connection)
        answer_s = time.perf_counter() - began
        await self._log_and_store_db_stats(self._process_activity_snapshot(sessions, counters, answer_s))

    async def plot_database_metrics_periodically(self) -> None:
        """Draw the history of the last day to a new PNG; keep the newest few.

        Raises
        ------
        OwnFailure
            If the database, the pool or the disk failed.
        """
        since = self._now() - _DRAWN
        async with self._database.reading() as connection:
            snapshots = await observations.database_snapshots(connection, since)
            memory = await observations.memory_snapshots(connection, since)
        if len(snapshots) < _FEWEST_SAMPLES:
            return  # no line can be drawn yet
        path = await self._generate_and_save_plot_sync(snapshots, memory)
        log.info("database_history_drawn", file=path.name, snapshots=len(snapshots))

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._wall_clock(), UTC)

    def _process_activity_snapshot(
        self, sessions: Sequence[Session], counters: Counters, answer_s: float
    ) -> DatabaseSnapshot:
        """Return the snapshot that these sessions and counters make; our own session is not in it."""
        active = [session for session in sessions if session.state == "active"]
        return DatabaseSnapshot(
            at=self._now(),
            active=len(active),
            idle=len(sessions) - len(active),
            waiting=sum(session.is_waiting for session in sessions),
            longest_statement_s=max((session.statement_s for session in active), default=0.0),
            longest_transaction_s=max((session.transaction_s for session in sessions), default=0.0),
            answer_s=answer_s,
            **counters._asdict(),
        )

    async def _log_and_store_db_stats(self, snapshot: DatabaseSnapshot) -> None:
        """Store a snapshot, and log one each quarter of an hour; warn when a transaction is open for too long."""

        async def store(connection: Connection) -> None:
            await observations.record_database_snapshot(connection, snapshot, snapshot.at - self._kept)

        await self._database.run(store)
        was_slow, self._is_slow = self._is_slow, snapshot.longest_transaction_s > _SLOW_TRANSACTION_S
        is_news = self._is_slow and not was_slow
        level = logging.WARNING if is_news else logging.INFO if self._seldom.is_due() else logging.DEBUG
        log.log(
            level,
            "database_activity",
            active=snapshot.active,
            idle=snapshot.idle,
            waiting=snapshot.waiting,
            longest_transaction_s=round(snapshot.longest_transaction_s, 1),
            answer_ms=round(snapshot.answer_s * 1000, 1),
            size_mib=round(snapshot.size_bytes / 2**20, 1),
            deadlocks=snapshot.deadlocks,
        )

    async def _generate_and_save_plot_sync(
        self, snapshots: Sequence[DatabaseSnapshot], memory: Sequence[MemoryAt]
    ) -> Path:
        """Let a compute worker draw the history, in one synchronous unit; save the PNG, and return its path."""
        at = self._now()
        unit = DrawDatabaseHistory(
            cache_dir=str(self._cache_dir.resolve()),
            samples=[_sample(snapshot) for snapshot in snapshots],
            memory=_by_role(memory),
        )
        result = await self._units.dispatch_and_wait(
            WorkUnit(
                job_id=JobId(f"database-history-{at:%Y%m%dT%H%M%S}"),
                handler=database_history.HANDLER,
                payload=msgspec.to_builtins(unit),
                deadline_at=self._wall_clock() + _DRAWING_S,
                priority=Priority.USUAL,
            )
        )
        png = result.unwrap().get("png")
        if not isinstance(png, bytes) or not png.startswith(_PNG) or len(png) > _MOST_BYTES:
            raise OwnFailure("the worker's answer is no picture")
        return await asyncio.to_thread(self._save, at, png)

    def _save(self, at: datetime, png: bytes) -> Path:
        path = self._folder / f"database-{at:%Y%m%dT%H%M%SZ}.png"
        with border(Party.DISK, f"storing {path.name}"):
            self._folder.mkdir(parents=True, exist_ok=True)
            put_file(path, png)
            for old in sorted(self._folder.glob("database-*.png"))[: -self._plots_kept]:
                old.unlink(missing_ok=True)
        return path


def _sample(snapshot: DatabaseSnapshot) -> DatabaseSample:
    return DatabaseSample(
        at=snapshot.at.timestamp(),
        active=snapshot.active,
        idle=snapshot.idle,
        waiting=snapshot.waiting,
        answer_s=snapshot.answer_s,
        longest_transaction_s=snapshot.longest_transaction_s,
        size_bytes=snapshot.size_bytes,
        transactions=snapshot.commits + snapshot.rollbacks,
        blocks_hit=snapshot.blocks_hit,
        blocks_read=snapshot.blocks_read,
    )


def _by_role(memory: Sequence[MemoryAt]) -> dict[str, list[MemorySample]]:
    roles: dict[str, list[MemorySample]] = defaultdict(list)
    for taken in memory:
        roles[taken.role].append(MemorySample(at=taken.at.timestamp(), private_bytes=taken.private_bytes))
    return dict(roles)
