"""What one forecast scored in one field at one lead: written once, never changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from gaia.validator.db.statements import SQL

if TYPE_CHECKING:
    from gaia.validator.db.connection import Connection
    from gaia.validator.db.queries import Forecast

MEASURES: Final = (
    "rmse",
    "mse",
    "mae",
    "bias",
    "error_sd",
    "acc",
    "acc_uncentred",
    "skill_climatology",
    "skill_gfs",
    "skill_persistence",
    "skill_blend",
    "activity",
    "pattern_correlation",
    "clone_distance",
    "mse_climatology",
    "mse_gfs",
    "mse_persistence",
    "mse_blend",
)
"""The measures of a component, in the order in which `record_component` takes them."""


async def record_components(
    connection: Connection,
    forecast: Forecast,
    rule_set: str,
    kind: str,
    components: Sequence[Mapping[str, Any]],
    truth_digests: Mapping[str, str],
    forecast_digests: Mapping[str, str],
    now: datetime,
) -> None:
    """Store what a scoring unit returned, each component once."""
    await connection.executemany(
        SQL["record_component"],
        [
            (
                forecast.run_id,
                forecast.hotkey,
                rule_set,
                kind,
                row["field"],
                row["lead_hours"],
                forecast_digests[row["field"]],
                truth_digests[row["field"]],
                now,
                *(row.get(measure) for measure in MEASURES),
            )
            for row in components
        ],
    )
