"""Runs of the past in a database, and the job that removes what is too old."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg

from gaia.validator.core.background.retention import Retention
from gaia.validator.db.connection import Database
from gaia.validator.utils.identities import RunId
from gaia.validator.utils.settings.files import FilesSettings
from gaia.validator.utils.settings.weights import WeightsSettings
from tests.support.fakes import FakeClock

FIRST = datetime(2026, 1, 15, tzinfo=UTC)
BEGIN = datetime(2026, 4, 10, tzinfo=UTC)
DAYS_TO_COMPLETE = 15


async def put_run(database: Database, init_time: datetime, state: str = "completed") -> RunId:
    """Store a run of two miners, with a manifest and a score of a field each."""
    run_id = RunId(f"{init_time:%Y-%m-%dT%HZ}")
    moment = [run_id, init_time]
    async with database.transaction() as connection:
        await connection.execute(
            "INSERT INTO runs (run_id, init_time, rule_set, opened_at) VALUES ($1, $2, 'gaia-2.9', $2)",
            *moment,
        )
        await connection.execute(
            "INSERT INTO forecasts (run_id, hotkey, uid, registered_at, state, opened_at, next_at, changed_at,"
            " manifest, signature, manifest_sha256) SELECT $1, '5Miner' || uid, uid, 0, 'scored', $2, $2, $2, 'ab', 'cd',"
            " encode(sha256('ab'), 'hex') FROM generate_series(1, 2) AS uid",
            *moment,
        )
        await connection.execute(
            "INSERT INTO component_scores (run_id, hotkey, rule_set, kind, field, lead_hours, rmse, mse, mae, bias,"
            " forecast_digest, truth_digest, scored_at) SELECT $1, '5Miner' || uid, 'gaia-2.9', 'final', '2t', 24, uid, 1,"
            " 1, 0, 'd', 't', $2 FROM generate_series(1, 2) AS uid",
            *moment,
        )
        if state == "completed":
            await connection.execute(
                "UPDATE runs SET state = 'completed', completed_at = $2 WHERE run_id = $1",
                run_id,
                init_time + timedelta(days=DAYS_TO_COMPLETE),
            )
    return run_id


async def fetch(database: Database, query: str) -> list[asyncpg.Record]:
    async with database.reading() as connection:
        return list(await connection.fetch(query))


async def runs_with_scores(database: Database) -> list[str]:
    return [
        row["run_id"]
        for row in await fetch(database, "SELECT DISTINCT run_id FROM component_scores ORDER BY 1")
    ]


async def ends(database: Database) -> list[str | None]:
    """The day or month after each part, the first part's first."""
    rows = await fetch(database, "SELECT part_end FROM component_scores_parts() ORDER BY part_end")
    return [row["part_end"] for row in rows]


async def clean(database: Database, now: datetime) -> None:
    """Do the job at a moment at which a run was opened."""
    async with database.transaction() as connection:
        await connection.execute(
            "INSERT INTO runs (run_id, init_time, rule_set, opened_at, state, completed_at)"
            " VALUES ($1, $2, 'gaia-2.9', $2, 'completed', $2) ON CONFLICT DO NOTHING",
            f"{now:%Y-%m-%dT%HZ}",
            now,
        )
    await retention(database, now).remove_old_data()


def retention(database: Database, now: datetime, data_dir: Path = Path("/nowhere")) -> Retention:
    return Retention(FilesSettings(data_dir=data_dir), WeightsSettings(), database, FakeClock(now))


async def begin_at(database: Database) -> datetime:
    """Do the job for the first time; return the moment at which the first part ends."""
    await retention(database, BEGIN).remove_old_data()
    return BEGIN


async def end_of_first(database: Database) -> datetime:
    """The end of the part that holds the scores of before the parts."""
    (first,) = await fetch(
        database, "SELECT part_end FROM component_scores_parts() WHERE part = 'component_scores_before'"
    )
    return datetime.strptime(first["part_end"], "%Y-%m").replace(tzinfo=UTC)
