"""What weights are made of, and the journal of those that were signed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from gaia.validator.db import queries
from gaia.validator.db.storable import storable_text

if TYPE_CHECKING:
    from gaia.validator.db.connection import Connection
    from gaia.validator.utils.ipc_types import WeightsRead, WeightsSet


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
class JournalEntry:
    """A weight vector that was, or is about to be, signed."""

    epoch: int
    vector: list[list[int]]
    vector_sha256: str
    state: str
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


SQL: Final[Mapping[str, str]] = {
    # Promise one vector for an epoch, before it is signed.
    "journal_intent": "INSERT INTO weight_journal (netuid, mechid, epoch, rule_set, vector, vector_sha256, weights,"
    " run_ids, completed_ids, intended_at, inputs, promised_block, tried_block)"
    " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $12)"
    " ON CONFLICT DO NOTHING RETURNING epoch",
    # A part of what vectors are computed from, once.
    "weight_input": "INSERT INTO weight_inputs (sha256, content) VALUES ($1, $2) ON CONFLICT DO NOTHING",
    # What was promised for an epoch.
    "journal_entry": "SELECT epoch, vector, vector_sha256, state, promised_block, tried_block FROM weight_journal"
    " WHERE netuid = $1 AND mechid = $2 AND epoch = $3",
    # Vectors of which nobody knows yet whether they landed, oldest first.
    "journal_doubts": "SELECT epoch, vector, vector_sha256, state, promised_block, tried_block FROM weight_journal"
    " WHERE netuid = $1 AND mechid = $2 AND state IN ('intended', 'failed') ORDER BY epoch",
    # The newest block in which a vector of ours is known to have landed.
    "journal_known_block": "SELECT coalesce(max(block), 0) FROM weight_journal"
    " WHERE netuid = $1 AND mechid = $2 AND state = 'set'",
    # A promise that is handed to the signer again.
    "journal_tried": "UPDATE weight_journal SET tried_block = $4"
    " WHERE netuid = $1 AND mechid = $2 AND epoch = $3 AND state IN ('intended', 'failed')",
    # What became of a promise; a vector that was set or lost stays so.
    "journal_set": "UPDATE weight_journal SET state = 'set', block = $4, block_hash = $5, extrinsic = $6,"
    " read_back = $7, settled_at = $8, error = NULL"
    " WHERE netuid = $1 AND mechid = $2 AND epoch = $3 AND state IN ('intended', 'failed')",
    "journal_unset": "UPDATE weight_journal SET state = $4, error = $5, settled_at = $6"
    " WHERE netuid = $1 AND mechid = $2 AND epoch = $3 AND state IN ('intended', 'failed')",
    # That a party failed again, or for the first time.
    "incident_failing": "INSERT INTO incidents (party, began_at, last_at, evidence) VALUES ($1, $3, $3, $2)"
    " ON CONFLICT (party) WHERE ended_at IS NULL DO UPDATE SET last_at = excluded.last_at, evidence = excluded.evidence",
    # That it serves again; nothing where it was not known to fail.
    "incident_ended": "UPDATE incidents SET ended_at = $2 WHERE party = $1 AND ended_at IS NULL",
}


async def window_scores(connection: Connection, rule_set: str, window: timedelta) -> list[WindowScore]:
    """Scores of the runs whose initial time lies within `window` of the newest scored run's."""
    rows = await connection.fetch(queries.SQL["window_scores"], rule_set, window)
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


async def entry_of(connection: Connection, epoch: Epoch) -> JournalEntry | None:
    """The vector that was promised for an epoch, if one was."""
    row = await connection.fetchrow(SQL["journal_entry"], *epoch)
    return JournalEntry(**row) if row else None


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
        await connection.executemany(SQL["weight_input"], sorted(intent.parts.items()))
    entry = await entry_of(connection, intent.epoch)
    assert entry is not None
    return entry


async def doubts(connection: Connection, netuid: int, mechid: int) -> list[JournalEntry]:
    """Vectors that were promised and neither set nor lost, oldest first."""
    return [JournalEntry(**row) for row in await connection.fetch(SQL["journal_doubts"], netuid, mechid)]


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
    await connection.execute(SQL["journal_unset"], *epoch, "failed", storable_text(error), now)


async def record_lost(connection: Connection, epoch: Epoch, reason: str, now: datetime) -> None:
    """Note that the vector is not on chain and will not be."""
    await connection.execute(SQL["journal_unset"], *epoch, "lost", storable_text(reason), now)


async def record_failing(connection: Connection, party: str, evidence: str, now: datetime) -> None:
    """Note that `party` failed; an incident that is open goes on."""
    await connection.execute(SQL["incident_failing"], party, storable_text(evidence), now)


async def record_recovered(connection: Connection, party: str, now: datetime) -> None:
    """End the incident of `party`, if one is open."""
    await connection.execute(SQL["incident_ended"], party, now)
