"""What weights are made of, and the journal of those that were signed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from gaia.validator.db.statements import SQL
from gaia.validator.db.states import ForecastState, RunState, VectorState
from gaia.validator.db.storable import storable_text

if TYPE_CHECKING:
    from asyncpg import Record

    from gaia.validator.db.connection import Connection
    from gaia.validator.utils.ipc_types import WeightsRead, WeightsSet


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowScore:
    """What one miner has in one run of the window."""

    run_id: str
    completed: bool
    hotkey: str
    registered_at: int
    state: ForecastState
    """Of the forecast."""
    overall: float | None
    """None: nothing of it is scored yet."""
    leads: Mapping[int, float]
    """Lead hours -> score, of those scored against ERA5 so far."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalEntry:
    """A weight vector that was, or is about to be, signed."""

    epoch: int
    vector: list[list[int]]
    vector_sha256: str
    state: VectorState
    promised_block: int | None
    """Block as of which it was promised; None: promised before this was kept."""
    tried_block: int | None


class Epoch(NamedTuple):
    """What has one vector and no more."""

    netuid: int
    mechid: int
    number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """A vector we promise to be the only one of its epoch."""

    epoch: Epoch
    rule_set: str
    vector: Sequence[Sequence[int]]
    vector_sha256: str
    weights: Mapping[str, float]
    run_ids: Sequence[str]
    completed_ids: Sequence[str]
    inputs: Mapping[str, Any]
    """Names parts of what it was computed from by their digests."""
    parts: Mapping[str, str]
    """Digest -> content."""
    block: int
    """Where the chain stood."""


async def window_scores(connection: Connection, rule_set: str, window: timedelta) -> list[WindowScore]:
    """Scores of the runs whose initial time lies within `window` of the newest scored run's."""
    rows = await connection.fetch(SQL["window_scores"], rule_set, window)
    return [
        WindowScore(
            run_id=row["run_id"],
            completed=row["state"] == RunState.COMPLETED,
            hotkey=row["hotkey"],
            registered_at=row["registered_at"],
            state=ForecastState(row["forecast_state"]),
            overall=row["overall"],
            leads={int(lead): score for lead, score in (row["leads"] or {}).items()},
        )
        for row in rows
    ]


async def entry_of(connection: Connection, epoch: Epoch) -> JournalEntry | None:
    """The vector that was promised for an epoch, if one was."""
    row = await connection.fetchrow(SQL["journal_entry"], *epoch)
    return _entry(row) if row else None


async def record_intent(connection: Connection, intent: Intent, now: datetime) -> JournalEntry:
    """Write `intent` and what it was computed from, unless its epoch has one; return the entry that stands."""
    written = await connection.fetchval(
        SQL["journal_intent"],
        *intent.epoch,
        intent.rule_set,
        intent.vector,
        intent.vector_sha256,
        intent.weights,
        intent.run_ids,
        intent.completed_ids,
        now,
        intent.inputs,
        intent.block,
    )
    if written is not None:
        await connection.executemany(SQL["record_weight_input"], sorted(intent.parts.items()))
    entry = await entry_of(connection, intent.epoch)
    assert entry is not None
    return entry


async def doubts(connection: Connection, netuid: int, mechid: int) -> list[JournalEntry]:
    """Vectors that were promised and neither set nor lost, oldest first."""
    return [_entry(row) for row in await connection.fetch(SQL["journal_doubts"], netuid, mechid)]


async def known_block(connection: Connection, netuid: int, mechid: int) -> int:
    """Newest block in which a vector is known to have landed; 0: none is known."""
    return int(await connection.fetchval(SQL["journal_known_block"], netuid, mechid))


async def record_try(connection: Connection, epoch: Epoch, block: int) -> None:
    """Note that the vector of `epoch` is handed to the signer while the chain stands at `block`."""
    await connection.execute(SQL["journal_tried"], *epoch, block)


async def record_set(connection: Connection, epoch: Epoch, outcome: WeightsSet, now: datetime) -> None:
    """Note that the vector stands on chain. Written again, it changes nothing; so with all that is recorded here."""
    await connection.execute(
        SQL["journal_set"],
        *epoch,
        outcome.block,
        outcome.block_hash,
        outcome.extrinsic,
        outcome.read_back,
        now,
    )


async def record_found(connection: Connection, epoch: Epoch, held: WeightsRead, now: datetime) -> None:
    """Note that the vector was found on chain; of its extrinsic nothing is known."""
    await connection.execute(
        SQL["journal_set"], *epoch, held.last_update, held.update_hash, "", held.pairs, now
    )


async def record_failed(connection: Connection, epoch: Epoch, error: str, now: datetime) -> None:
    """Note a try that failed as far as is known: it may be repeated, or yet be found on chain."""
    await connection.execute(SQL["journal_unset"], *epoch, VectorState.FAILED, storable_text(error), now)


async def record_lost(connection: Connection, epoch: Epoch, reason: str, now: datetime) -> None:
    """Note that the vector is not on chain and will not be."""
    await connection.execute(SQL["journal_unset"], *epoch, VectorState.LOST, storable_text(reason), now)


async def record_failing(connection: Connection, party: str, evidence: str, now: datetime) -> None:
    """Note that `party` failed; an incident that is open goes on."""
    await connection.execute(SQL["incident_failing"], party, storable_text(evidence), now)


async def record_recovered(connection: Connection, party: str, now: datetime) -> None:
    """End the incident of `party`, if one is open."""
    await connection.execute(SQL["incident_ended"], party, now)


def _entry(row: Record) -> JournalEntry:
    return JournalEntry(**{**row, "state": VectorState(row["state"])})
