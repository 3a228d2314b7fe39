"""Table `component_scores`: measures of one forecast in one field at one lead; rows never change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Final, Protocol

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
"""Measures of a component, in the order of the parameters of `record_component`."""


class Measured(Protocol):
    """Measures of one field at one lead; undefined or unrequested ones are None."""

    @property
    def field(self) -> str: ...

    @property
    def lead_hours(self) -> int: ...


async def record_components(
    connection: Connection,
    forecast: Forecast,
    rule_set: str,
    kind: str,
    components: Sequence[Measured],
    *,
    truth_digests: Mapping[str, str],
    forecast_digests: Mapping[str, str],
    now: datetime,
) -> None:
    """Store the components that a scoring unit returned, each once."""
    await connection.executemany(
        SQL["record_component"],
        [
            (
                forecast.run_id,
                forecast.hotkey,
                rule_set,
                kind,
                component.field,
                component.lead_hours,
                forecast_digests[component.field],
                truth_digests[component.field],
                now,
                *(getattr(component, measure) for measure in MEASURES),
            )
            for component in components
        ],
    )
