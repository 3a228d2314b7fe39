"""One run of two miners, scored and completed: enough for a weight vector."""

from __future__ import annotations

from datetime import datetime, timedelta

from gaia.validator.db.connection import Database
from tests.support.subnet import MINERS


async def record_scored_run(database: Database, now: datetime) -> None:
    """Store a run of yesterday in which the first miner did better than the second."""
    async with database.transaction() as connection:
        await connection.execute(
            "INSERT INTO runs (run_id, init_time, rule_set, opened_at, state, completed_at)"
            " VALUES ('r', $1, 'gaia-2.9', $1, 'completed', $1)",
            now - timedelta(days=1),
        )
        for uid, (overall, hotkey) in enumerate(zip((0.6, 0.4), MINERS[:2], strict=True), start=1):
            await connection.execute(
                "INSERT INTO forecasts (run_id, hotkey, uid, registered_at, opened_at, next_at, changed_at, state,"
                " manifest) VALUES ('r', $1, $3, 0, $2, $2, $2, 'scored', '')",
                hotkey,
                now,
                uid,
            )
            await connection.execute(
                "INSERT INTO score_table (run_id, hotkey, rule_set, leads, overall, counted, updated_at)"
                " VALUES ('r', $1, 'gaia-2.9', '{}', $2, true, $3)",
                hotkey,
                overall,
                now,
            )
