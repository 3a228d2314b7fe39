"""Fills a database with what a validator of a month holds: runs, scores field by field, weights and its own history."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from benchmarks import database as filled

if TYPE_CHECKING:
    from gaia.validator.db.connection import Connection, Database
    from gaia.validator.utils.config import Settings

OPEN_RUNS = 4
NOW = filled.INIT + timedelta(days=OPEN_RUNS, hours=12)
"""Moment at which nothing is due."""
_RULE_SET = "gaia-2.9"
_VECTORS = 30

_RUN = """
INSERT INTO runs (run_id, init_time, rule_set, state, opened_at, completed_at)
VALUES ($1, $2::timestamptz, $3, 'completed', $2 + interval '18 hours', $2 + interval '16 days')
"""
_FORECASTS = """
INSERT INTO forecasts (run_id, hotkey, uid, registered_at, state, opened_at, next_at, changed_at, committed_at,
                       manifest, manifest_sha256, signature)
SELECT $1, '5' || lpad(number::text, 47, '0'), number, number, 'scored', $2::timestamptz, $2, $2, $2, '{}', 'x', '\\x00'
  FROM generate_series(0, $3::int - 1) AS number
"""
_LEADS = """
INSERT INTO lead_scores (run_id, hotkey, rule_set, kind, lead_hours, score, scored_at)
SELECT run_id, hotkey, $2::text, $3::text, lead, random(), now()
  FROM forecasts, unnest($4::int[]) AS lead
 WHERE run_id = $1
"""
_SCORES = """
INSERT INTO score_table (run_id, hotkey, rule_set, day1, leads, overall, counted, updated_at)
SELECT run_id, hotkey, $2::text, random(), '{}', random(), true, now()
  FROM forecasts
 WHERE run_id = $1
"""
_FIELDS = """
INSERT INTO component_scores (run_id, hotkey, rule_set, kind, field, lead_hours, rmse, mse, mae, bias, acc,
                              skill_climatology, skill_gfs, forecast_digest, truth_digest, scored_at)
SELECT run_id, hotkey, $2::text, $3::text, field, lead, random(), random(), random(), random(), random(), random(), random(),
       'x', 'x', now()
  FROM forecasts, unnest($4::int[]) AS lead, unnest($5::text[]) AS field
 WHERE run_id = $1
"""
_WEIGHTS = """
INSERT INTO weight_journal (netuid, mechid, epoch, rule_set, vector, vector_sha256, weights, run_ids, completed_ids,
                            state, intended_at, settled_at, block)
SELECT $1::int, 0, epoch, $2::text, '[]', 'x', $3::text::jsonb, '[]', '[]', 'set', now(), now(), 1000
  FROM generate_series(1, $4::int) AS epoch
"""
_HISTORY = """
INSERT INTO database_snapshots
SELECT at, 1, 3, 0, 0.01, 0.02, 0.003, 500000000, 1000, 1, 100000, 1000, 0
  FROM generate_series(now() - interval '7 days', now() - interval '1 minute', interval '1 minute') AS at
"""
_MEMORY = """
INSERT INTO memory_snapshots
SELECT at, role, 1, 200000000, 100000000
  FROM generate_series(now() - interval '7 days', now() - interval '5 minutes', interval '5 minutes') AS at,
       unnest(ARRAY['io_engine', 'chain_signer', 'compute_worker', 'postgres']) AS role
"""


class StillClock:
    """A calendar that stands still where nothing is due."""

    def now(self) -> datetime:
        """Return `NOW`."""
        return NOW

    async def idle_until(self, moment: datetime | None) -> None:
        """Return at once."""


async def fill(database: Database, settings: Settings, miners: int, runs: int) -> None:
    """Store open runs with frozen manifests, completed ones with all their scores, and a week of snapshots."""
    await filled.fill(database, filled.Plan(runs=OPEN_RUNS, miners=miners, rounds=1))
    async with database.transaction() as connection:
        for days in range(runs - OPEN_RUNS, 0, -1):
            await _completed_run(connection, settings, days, miners)
        weights = json.dumps({f"5{number:047d}": 1 / miners for number in range(miners)})
        await connection.execute(_WEIGHTS, settings.netuid, _RULE_SET, weights, _VECTORS)
        await connection.execute(_HISTORY)
        await connection.execute(_MEMORY)
    async with database.transaction() as connection:
        await connection.execute("ANALYZE")


async def _completed_run(connection: Connection, settings: Settings, days: int, miners: int) -> None:
    """Store the run of so many days before the first open one; field by field only for the newest."""
    from gaia.tasks.defined_tasks.weather.schedule import run_id_of

    init_time = filled.INIT - timedelta(days=days)
    run_id = run_id_of(init_time)
    await connection.execute(_RUN, run_id, init_time, _RULE_SET)
    await connection.execute(_FORECASTS, run_id, init_time, miners)
    kinds = {
        "day1": (settings.day1_lead_hours, settings.day1_fields),
        "final": (settings.final_lead_hours, settings.final_fields),
    }
    for kind, (leads, fields) in kinds.items():
        await connection.execute(_LEADS, run_id, _RULE_SET, kind, leads)
        if days == 1:
            await connection.execute(_FIELDS, run_id, _RULE_SET, kind, leads, fields)
    await connection.execute(_SCORES, run_id, _RULE_SET)
