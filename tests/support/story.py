"""A weather task with a population of fakes, a real database, and a clock that jumps to what is due."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gaia.tasks.defined_tasks.weather.copies.copy_book import CopyBook
from gaia.tasks.defined_tasks.weather.task import WeatherTask
from gaia.validator.db.connection import Database
from gaia.validator.utils.config import Settings
from tests.support.fakes import (
    FIELDS,
    LEADS,
    FakeClock,
    FakeMetagraph,
    FakeMiner,
    FakeMiners,
    FakePool,
    a_metagraph,
    archives,
)

INIT = datetime(2026, 3, 25, tzinfo=UTC)


class Story:
    """A task with a population of fakes, and a clock that jumps to what is due."""

    def __init__(self, database: Database, tmp_path: Path, count: int = 3, **changes: Any) -> None:
        self.clock = FakeClock()
        self.miners = [FakeMiner(f"//Miner/{n}") for n in range(count)]
        self.metagraph = FakeMetagraph(a_metagraph([miner.hotkey for miner in self.miners]))
        self.pool = FakePool(self.miners)
        self.archives = archives(self.clock)
        self.database = database
        self.seconds = 0.0
        """Of the real clock, which failures of ours are waited out by."""
        self.pace_s = 60.0
        """How far the real clock goes on with each tick."""
        self.miners_client = FakeMiners(self.miners)
        dull: dict[str, Any] = {
            "data_dir": tmp_path,
            "run_jitter_minutes": 0,
            "last_run": INIT,
            "day1_fields": FIELDS,
            "final_fields": FIELDS,
            "final_lead_hours": LEADS,
        }
        self.settings = Settings(**dull | changes)
        self.task = self.new_task()

    def new_task(self) -> WeatherTask:
        return WeatherTask(
            self.settings.weather,
            self.database,
            miners=self.miners_client,
            archives=self.archives,
            pool=self.pool,
            metagraph=self.metagraph,
            clock=self.clock,
            copies=CopyBook(self.settings.weather, self.database, self.pool),
            monotonic=lambda: self.seconds,
        )

    async def until_idle(self, ticks: int = 200) -> int:
        """Tick until nothing is due; return how many ticks it took."""
        for tick in range(ticks):
            self.seconds += self.pace_s
            due = await self.task.advance(self.clock.now())
            if due is None:
                return tick
            await self.clock.idle_until(due)
        raise AssertionError(f"still busy after {ticks} ticks at {self.clock.now()}")

    async def until(self, moment: datetime) -> None:
        while self.clock.now() < moment:
            self.seconds += self.pace_s
            due = await self.task.advance(self.clock.now())
            await self.clock.idle_until(min(due or moment, moment))

    async def rows(self, query: str) -> list[dict[str, Any]]:
        async with self.database.transaction() as connection:
            return [dict(row) for row in await connection.fetch(query)]

    async def outcome(self, miner: FakeMiner) -> dict[str, Any]:
        rows = await self.rows(
            f"SELECT state, reason, evidence, day1, leads, overall, counted FROM forecasts"
            f" LEFT JOIN score_table USING (run_id, hotkey) WHERE hotkey = '{miner.hotkey}'"
        )
        return rows[0]
