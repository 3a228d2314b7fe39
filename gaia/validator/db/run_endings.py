"""Reads how the forecasts and leads of one run ended, in numbers."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from gaia.validator.db.statements import SQL
from gaia.validator.db.states import ForecastState

if TYPE_CHECKING:
    from gaia.validator.db.connection import Connection
    from gaia.validator.utils.identities import RunId


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """Number of forecasts that ended in one state for one reason."""

    state: ForecastState
    reason: str
    """Reason; "" if there is none."""
    forecasts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LeadEnding:
    """What became of one lead of a run, over all forecasts."""

    kind: str
    lead_hours: int
    scored: int
    lost: int
    """Number of forecasts that have no measured score at it."""
    first_scored_at: datetime | None
    cpu_s: float


async def endings(connection: Connection, run_id: RunId) -> list[Ending]:
    """Return the states and reasons of the run's forecasts, most frequent first."""
    rows = await connection.fetch(SQL["run_endings"], run_id)
    return [Ending(**{**row, "state": ForecastState(row["state"])}) for row in rows]


async def lead_endings(connection: Connection, run_id: RunId, rule_set: str) -> list[LeadEnding]:
    """Return the leads of the run under one rule set."""
    return [LeadEnding(**row) for row in await connection.fetch(SQL["lead_endings"], run_id, rule_set)]
