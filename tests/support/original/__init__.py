"""A database of the original validator with scores that a test makes up."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import asyncpg

TABLES = Path(__file__).with_name("tables.sql")
LEADS = range(24, 241, 24)

_RUN = (
    "INSERT INTO weather_forecast_runs (id, run_initiation_time, target_forecast_time_utc, gfs_init_time_utc, status)"
    " VALUES ($1, $2, $3, $3, 'awaiting_results') ON CONFLICT DO NOTHING"
)
_STATS = (
    "INSERT INTO weather_forecast_stats (miner_uid, miner_hotkey, forecast_run_id, run_id, updated_at,"
    " forecast_score_initial, overall_forecast_score, "
    + ", ".join(f"era5_score_{lead}h" for lead in LEADS)
    + ") VALUES ("
    + ", ".join(f"${number}" for number in range(1, 18))
    + ")"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What the original has of one miner in one run."""

    run: int
    init_time: datetime
    uid: int
    hotkey: str
    day1: float | None = 0.5
    leads: Mapping[int, float] = field(default_factory=dict)
    """Lead in hours -> score."""
    overall: float | None = None
    updated_at: datetime | None = None
    """None: a day after the run began."""


async def make_original(dsn: str, rows: Iterable[Row]) -> None:
    """Make the original's tables in an empty database, and store the rows."""
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(TABLES.read_text())
        rows = list(rows)
        opening = timedelta(hours=18)
        await connection.executemany(
            _RUN, [(row.run, row.init_time + opening, row.init_time) for row in rows]
        )
        await connection.executemany(
            _STATS,
            [
                (
                    *(row.uid, row.hotkey, f"weather_{row.init_time:%Y%m%d%H}", row.run),
                    row.updated_at or row.init_time + timedelta(days=1),
                    *(row.day1, row.overall),
                    *(row.leads.get(lead) for lead in LEADS),
                )
                for row in rows
            ],
        )
    finally:
        await connection.close()
