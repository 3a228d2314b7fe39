"""Stores scores of fields, as many and as large as those of a run."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from gaia.validator.db.connection import Connection

FIELDS, LEADS = 69, 10
# Numbers that no compression makes smaller, as measured ones are.
_SCORES: Final = """
INSERT INTO component_scores (
    run_id, hotkey, rule_set, kind, field, lead_hours, forecast_digest, truth_digest, scored_at,
    rmse, mse, mae, bias, error_sd, acc, acc_uncentred, skill_climatology, skill_gfs, skill_persistence, skill_blend,
    activity, pattern_correlation, mse_climatology, mse_gfs, mse_persistence, mse_blend)
SELECT $1, hotkey, 'gaia-2.9', 'final', 'field/' || field, 24 * lead, md5(hotkey || field || lead) || md5($1 || field || lead),
       md5($1 || field) || md5(lead::text), $2,
       random(), random(), random(), random(), random(), random(), random(), random(), random(), random(), random(),
       random(), random(), random(), random(), random(), random()
  FROM unnest($3::text[]) AS hotkey, generate_series(1, $4::int) AS field, generate_series(1, $5::int) AS lead
"""


async def put_scores(connection: Connection, run_id: str, moment: datetime, hotkeys: Sequence[str]) -> None:
    """Store the scores of every field at every lead for each miner of a run."""
    await connection.execute(_SCORES, run_id, moment, hotkeys, FIELDS, LEADS)
