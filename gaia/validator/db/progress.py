"""Reads how far a run has come: its forecasts, the leads that are scored, and the reference sets that it needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from gaia.validator.db.statements import SQL
from gaia.validator.db.states import ForecastState
from gaia.validator.utils.identities import Hotkey, RunId

if TYPE_CHECKING:
    from gaia.validator.db.connection import Connection


@dataclass(frozen=True, slots=True, kw_only=True)
class ForecastProgress:
    """Where one forecast stands, as the table `forecasts` has it."""

    hotkey: Hotkey
    uid: int
    state: ForecastState
    reason: str | None
    """Why it ended; None while it has not, and of one that is scored."""
    committed_at: datetime | None
    changed_at: datetime
    """When it came into its state."""
    attempts: int
    """Attempts at the next step that are spent."""
    next_at: datetime
    """Nothing is tried before."""
    opened_at: datetime
    window_ends_at: datetime | None
    """End of the freeze window if our absence moved it; else None."""
    day1: float | None
    overall: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LeadProgress:
    """One lead of one forecast that has a row."""

    hotkey: Hotkey
    kind: str
    lead_hours: int
    is_measured: bool
    """False: nothing could be scored, and the row says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferenceProgress:
    """What is known of one reference set."""

    reference_id: str
    ready: bool
    attempts: int
    retry_at: datetime | None
    last_error: str | None
    given_up_at: datetime | None


async def forecasts_of(connection: Connection, run_id: RunId, rule_set: str) -> list[ForecastProgress]:
    """Return the forecasts of a run in the order of their uids, with their scores under `rule_set`."""
    rows = await connection.fetch(SQL["progress_of_run"], run_id, rule_set)
    return [ForecastProgress(**{**row, "state": ForecastState(row["state"])}) for row in rows]


async def leads_of(connection: Connection, run_id: RunId, rule_set: str) -> list[LeadProgress]:
    """Return the leads of a run that have a row under `rule_set`."""
    return [LeadProgress(**row) for row in await connection.fetch(SQL["leads_of_run"], run_id, rule_set)]


async def references_of(connection: Connection, reference_ids: Sequence[str]) -> dict[str, ReferenceProgress]:
    """Return name -> what is known of it, of those of `reference_ids` that were ever asked for."""
    rows = await connection.fetch(SQL["reference_progress"], list(reference_ids))
    return {row["reference_id"]: ReferenceProgress(**row) for row in rows}
