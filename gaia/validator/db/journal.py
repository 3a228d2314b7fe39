"""Scores of the window, and the journal of weight vectors."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from gaia.validator.db.statements import SQL
from gaia.validator.db.states import ForecastState, RunState, VectorState
from gaia.validator.db.storable import storable_text
from gaia.validator.utils.identities import Hotkey, RunId
from gaia.validator.utils.signer_messages import SealedWeights

if TYPE_CHECKING:
    from asyncpg import Record

    from gaia.validator.db.connection import Connection
    from gaia.validator.utils.chain.consensus import ConsensusView
    from gaia.validator.utils.signer_messages import WeightsRead, WeightsSet


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowScore:
    """One miner's scores in one run of the window."""

    run_id: RunId
    completed: bool
    hotkey: Hotkey
    uid: int
    registered_at: int
    state: ForecastState
    """State of the forecast."""
    overall: float | None
    """Overall score; None: nothing is scored yet."""
    leads: Mapping[int, float]
    """Lead in hours -> score, of the leads scored against ERA5 so far."""
    updated_at: datetime | None
    """Time of the newest of these scores; None: nothing is scored yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalEntry:
    """A journalled weight vector."""

    epoch: int
    vector: list[list[int]]
    vector_sha256: str
    state: VectorState
    promised_block: int | None
    """Block at which it was journalled; None in entries of older releases."""
    tried_block: int | None
    sealed: SealedWeights | None = None
    """The sealed vector; None: it is set plainly, or not sealed yet."""
    commit_block: int | None = None
    """Block of the commit; None: it is not known to be on chain."""
    block: int | None = None
    """Block in which it was set or revealed; None: it was not."""
    hotkeys: Sequence[str] = ()
    """Hotkey of each uid of the vector when it was computed; empty: not read, or of an older release."""
    registered: Sequence[int] = ()
    """Block in which each of these hotkeys was registered; empty: not read, or of an older release."""
    burner: str = ""
    """Hotkey of the burn; "" if nothing is burnt."""


class Epoch(NamedTuple):
    """Key of an entry: an epoch has at most one vector."""

    netuid: int
    mechid: int
    number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """A vector to journal as the only one of its epoch."""

    epoch: Epoch
    rule_set: str
    vector: Sequence[Sequence[int]]
    vector_sha256: str
    weights: Mapping[str, float]
    run_ids: Sequence[str]
    completed_ids: Sequence[str]
    inputs: Mapping[str, Any]
    """Names of the parts of its inputs, by digest."""
    parts: Mapping[str, str]
    """Digest -> content of the parts."""
    block: int
    """Block of the metagraph."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LastEntry:
    """A vector that stands or stood on chain, or will be revealed."""

    epoch: int
    weights: Mapping[str, float]
    """Hotkey -> weight before quantisation."""
    run_ids: Sequence[str]
    completed_ids: Sequence[str]
    inputs: Mapping[str, Any] | None
    """Names of the parts of its inputs, by digest; None in entries of older releases."""
    promised_block: int | None
    """Block of the metagraph that it was computed with; None in entries of older releases."""


async def window_scores(connection: Connection, rule_set: str, window: timedelta) -> list[WindowScore]:
    """Return the scores of runs that are at most `window` older than the newest scored run."""
    rows = await connection.fetch(SQL["window_scores"], rule_set, window)
    return [
        WindowScore(
            run_id=row["run_id"],
            completed=row["state"] == RunState.COMPLETED,
            hotkey=row["hotkey"],
            uid=row["uid"],
            registered_at=row["registered_at"],
            state=ForecastState(row["forecast_state"]),
            overall=row["overall"],
            leads={int(lead): score for lead, score in (row["leads"] or {}).items()},
            updated_at=row["updated_at"],
        )
        for row in rows
    ]


async def entry_of(connection: Connection, epoch: Epoch) -> JournalEntry | None:
    """Return the journalled vector of an epoch, with the hotkeys that it pays; None if there is none."""
    row = await connection.fetchrow(SQL["journal_entry"], *epoch)
    if row is None:
        return None
    entry = _entry(row)
    if row["present"] is None or row["terms"] is None:
        return entry
    present, terms = json.loads(row["present"]), json.loads(row["terms"])
    hotkeys = {uid: hotkey for uid, hotkey, _ in present["neurons"]}
    registered = present.get("registered", {})
    owners = [hotkeys[uid] for uid, _ in entry.vector]
    return replace(
        entry,
        hotkeys=owners,
        registered=[registered[hotkey] for hotkey in owners] if registered else [],
        burner=(terms["burn_hotkey"] or present["owner_hotkey"]) if terms["burn_enabled"] else "",
    )


async def last_entries(connection: Connection, netuid: int, mechid: int, block: int) -> list[LastEntry]:
    """Return the newest vectors as of `block` that stand, stood or will be revealed, the newest first."""
    rows = await connection.fetch(SQL["journal_last"], netuid, mechid, block)
    return [LastEntry(**row) for row in rows]


async def record_intent(connection: Connection, intent: Intent, now: datetime) -> JournalEntry:
    """Store `intent` and its inputs, unless its epoch has a vector; return the epoch's entry."""
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
    """Return the vectors in doubt, oldest first."""
    return [_entry(row) for row in await connection.fetch(SQL["journal_doubts"], netuid, mechid)]


async def standing(connection: Connection, netuid: int, mechid: int) -> JournalEntry | None:
    """Return the newest vector that was set plainly, as far as the journal knows; None if there is none."""
    row = await connection.fetchrow(SQL["journal_standing"], netuid, mechid)
    return None if row is None else _entry(row)


async def commits(connection: Connection, netuid: int, mechid: int) -> list[JournalEntry]:
    """Return the sealed vectors of which the end is not known yet, oldest first."""
    return [_entry(row) for row in await connection.fetch(SQL["journal_commits"], netuid, mechid)]


async def record_sealed(connection: Connection, epoch: Epoch, sealed: SealedWeights) -> None:
    """Store the sealed vector that the signer gets."""
    await connection.execute(
        SQL["journal_sealed"],
        *epoch,
        sealed.ciphertext,
        sealed.reveal_round,
        sealed.epoch,
        sealed.reveal_epoch,
    )


async def record_unsealed(connection: Connection, epoch: Epoch) -> None:
    """Forget a sealed vector that is not on chain, because the vector is set plainly."""
    await connection.execute(SQL["journal_unsealed"], *epoch)


async def record_uncommitted(connection: Connection, epoch: Epoch, reason: str) -> None:
    """Store that a commit is no longer on chain, so that it is sent again."""
    await connection.execute(SQL["journal_uncommitted"], *epoch, storable_text(reason))


async def record_committed(connection: Connection, epoch: Epoch, block: int, extrinsic: str) -> None:
    """Store that the sealed vector is in the chain's queue since `block`."""
    await connection.execute(SQL["journal_committed"], *epoch, block, extrinsic)


async def record_revealed(
    connection: Connection, epoch: Epoch, block: int, pairs: list[list[int]], now: datetime
) -> None:
    """Store that the chain has revealed the vector by `block`."""
    await connection.execute(SQL["journal_revealed"], *epoch, block, pairs, now)


async def record_not_revealed(connection: Connection, epoch: Epoch, reason: str, now: datetime) -> None:
    """Store that the chain did not reveal the vector, and will not."""
    await connection.execute(SQL["journal_not_revealed"], *epoch, storable_text(reason), now)


async def known_block(connection: Connection, netuid: int, mechid: int) -> int:
    """Return the newest block in which a vector of ours is known to be set; 0 if there is none."""
    return int(await connection.fetchval(SQL["journal_known_block"], netuid, mechid))


async def explains(connection: Connection, epoch: Epoch, last_update: int, *, may_be_reveal: bool) -> bool:
    """Return whether a vector of ours can have dated our neuron with block `last_update` of `epoch`, the present one.

    Parameters
    ----------
    may_be_reveal
        Whether the chain can have revealed commits in that block.
    """
    return bool(await connection.fetchval(SQL["journal_explains"], *epoch, last_update, may_be_reveal))


async def record_try(connection: Connection, epoch: Epoch, block: int) -> None:
    """Store that the signer gets the vector of `epoch` while the chain is at `block`."""
    await connection.execute(SQL["journal_tried"], *epoch, block)


async def record_set(connection: Connection, epoch: Epoch, outcome: WeightsSet, now: datetime) -> None:
    """Store that the vector is on chain. Like all functions here, a repetition changes nothing."""
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
    """Store that the vector was found on chain, with an unknown extrinsic."""
    await connection.execute(
        SQL["journal_set"], *epoch, held.last_update, held.update_hash, "", held.pairs, now
    )


async def record_failed(connection: Connection, epoch: Epoch, error: str, now: datetime) -> None:
    """Store a failed attempt; it may be repeated, or the vector may still be found on chain."""
    await connection.execute(SQL["journal_unset"], *epoch, VectorState.FAILED, storable_text(error), now)


async def record_vanished(connection: Connection, epoch: Epoch, reason: str, block: int) -> None:
    """Store that weights that were set are no longer on chain at `block`, so that they are set again."""
    await connection.execute(SQL["journal_vanished"], *epoch, storable_text(reason), block)


async def record_lost(connection: Connection, epoch: Epoch, reason: str, now: datetime) -> None:
    """Store that the vector is not on chain and will not be."""
    await connection.execute(SQL["journal_unset"], *epoch, VectorState.LOST, storable_text(reason), now)


async def record_consensus(connection: Connection, netuid: int, view: ConsensusView, now: datetime) -> None:
    """Store what the last epoch gave us."""
    values = (view.validator_trust, view.dividends, view.emission)
    await connection.execute(SQL["consensus_seen"], netuid, view.hotkey, view.epoch, view.block, now, *values)


async def usual_trust(connection: Connection, netuid: int, hotkey: str, epochs: int) -> float | None:
    """Return the median of our trust over the newest `epochs` that are known; None if none is."""
    found: float | None = await connection.fetchval(SQL["consensus_usual_trust"], netuid, hotkey, epochs)
    return found


async def record_failing(connection: Connection, party: str, evidence: str, now: datetime) -> None:
    """Store a failure of `party`; an open incident continues."""
    await connection.execute(SQL["incident_failing"], party, storable_text(evidence), now)


async def record_recovered(connection: Connection, party: str, now: datetime) -> None:
    """End the open incident of `party`, if there is one."""
    await connection.execute(SQL["incident_ended"], party, now)


def _entry(row: Record) -> JournalEntry:
    sealed = SealedWeights(
        ciphertext=row["sealed"],
        reveal_round=row["reveal_round"],
        epoch=row["commit_epoch"],
        reveal_epoch=row["reveal_epoch"],
    )
    return JournalEntry(
        epoch=row["epoch"],
        vector=row["vector"],
        vector_sha256=row["vector_sha256"],
        state=VectorState(row["state"]),
        promised_block=row["promised_block"],
        tried_block=row["tried_block"],
        sealed=None if row["sealed"] is None else sealed,
        commit_block=row["commit_block"],
        block=row["block"],
    )
