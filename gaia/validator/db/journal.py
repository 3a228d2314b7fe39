"""What weights are made of, and the journal of those that were signed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from gaia.validator.db.queries import SQL, JournalEntry

if TYPE_CHECKING:
    from gaia.validator.db.connection import Connection
    from gaia.validator.utils.ipc_types import WeightsSet


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowScore:
    """What one miner has in one run of the window."""

    run_id: str
    completed: bool
    hotkey: str
    registered_at: int
    state: str
    """Of the forecast."""
    overall: float | None
    """None: nothing of it is scored yet."""
    leads: Mapping[int, float]
    """Lead hours -> score, of those scored against ERA5 so far."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """A vector we promise to be the only one of its epoch."""

    netuid: int
    mechid: int
    epoch: int
    rule_set: str
    vector: Sequence[Sequence[int]]
    vector_sha256: str
    weights: Mapping[str, float]
    run_ids: Sequence[str]
    completed_ids: Sequence[str]


async def window_scores(connection: Connection, rule_set: str, window: timedelta) -> list[WindowScore]:
    """Scores of the runs whose initial time lies within `window` of the newest scored run's."""
    rows = await connection.fetch(SQL["window_scores"], rule_set, window)
    return [
        WindowScore(
            run_id=row["run_id"],
            completed=row["state"] == "completed",
            hotkey=row["hotkey"],
            registered_at=row["registered_at"],
            state=row["forecast_state"],
            overall=row["overall"],
            leads={int(lead): score for lead, score in (row["leads"] or {}).items()},
        )
        for row in rows
    ]


async def record_intent(connection: Connection, intent: Intent, now: datetime) -> JournalEntry:
    """Write `intent` unless its epoch has one; return the entry that stands."""
    await connection.execute(
        SQL["journal_intent"],
        intent.netuid,
        intent.mechid,
        intent.epoch,
        intent.rule_set,
        intent.vector,
        intent.vector_sha256,
        intent.weights,
        intent.run_ids,
        intent.completed_ids,
        now,
    )
    row = await connection.fetchrow(SQL["journal_entry"], intent.netuid, intent.mechid, intent.epoch)
    assert row is not None
    return JournalEntry(**row)


async def record_set(connection: Connection, intent: Intent, outcome: WeightsSet, now: datetime) -> None:
    await connection.execute(
        SQL["journal_set"],
        intent.netuid,
        intent.mechid,
        intent.epoch,
        outcome.block,
        outcome.block_hash,
        outcome.extrinsic,
        outcome.read_back,
        now,
    )


async def record_failed(connection: Connection, intent: Intent, error: str, now: datetime) -> None:
    await connection.execute(SQL["journal_failed"], intent.netuid, intent.mechid, intent.epoch, error, now)
