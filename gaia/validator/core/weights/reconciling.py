"""Brings the journal into agreement with the chain: what is in doubt, committed, or no longer there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

import structlog

from gaia.validator.core.incidents import Incident
from gaia.validator.core.weights.committing import CommitSigner, Committer, NotRevealed, Revealed
from gaia.validator.core.weights.doubts import Doubt, Landed, settle
from gaia.validator.db import journal
from gaia.validator.db.states import VectorState
from gaia.validator.utils.chain.metagraph import BLOCK_S
from gaia.validator.utils.errors import TransientError

if TYPE_CHECKING:
    from datetime import datetime

    from gaia.validator.db.connection import Connection, Database
    from gaia.validator.db.journal import Epoch, JournalEntry
    from gaia.validator.utils.chain.metagraph import Metagraph, Neuron
    from gaia.validator.utils.signer_messages import WeightsRead

log = structlog.get_logger(__name__)

_MOST_DOUBLINGS: Final = 5
"""After more failures in succession the next look is no later: six minutes, or when the metagraph is read."""
_DEEPEST_BLOCKS: Final = 128
"""Blocks that a chain may replace; what stood for longer stands, whoever says otherwise."""
SETTLED_BLOCKS: Final = 3
"""Blocks after which weights that were set must show in the metagraph."""


class Reader(CommitSigner, Protocol):
    """Access to the chain signer for what the chain holds of us."""

    async def read_weights(self) -> WeightsRead:
        """Return our weights on chain."""
        ...


class Reconciler:
    """Settles each journalled vector as soon as the chain can tell what became of it.

    Parameters
    ----------
    incident
        Incident of the weights; it ends when weights of unknown outcome are found on chain.
    """

    def __init__(self, database: Database, signer: Reader, committer: Committer, incident: Incident) -> None:
        self._database = database
        self._signer = signer
        self._committer = committer
        self._incident = incident
        self._reveals = Incident(database, "reveals")
        self._look_in_s: float | None = None
        self._failures = 0
        """Looks in succession at which the chain did not tell what was asked."""
        self._missing: tuple[int, int] | None = None
        """(epoch, block) of weights of an earlier epoch that the last reading lacked."""

    @property
    def look_in_s(self) -> float | None:
        """Seconds after which the chain can tell more of an open vector; None: none is open."""
        return self._look_in_s

    def look_after(self, blocks: int) -> None:
        """Note that the chain can tell more after so many blocks."""
        self._look_in_s = blocks * BLOCK_S

    async def reconcile(self, metagraph: Metagraph, epoch: Epoch, now: datetime) -> None:
        """Settle all that the chain can tell by now; `epoch` is the present one."""
        own = metagraph.own
        if own is not None:
            await self._note_vanished(own, metagraph, epoch)
        has_doubts = await self._settle(metagraph, epoch, now)
        await self._follow(epoch, now)
        # While we are not registered, the chain tells nothing of us.
        self._look_in_s = None if own is None else self._next_look_s(metagraph, has_doubts=has_doubts)

    async def _note_vanished(self, own: Neuron, metagraph: Metagraph, epoch: Epoch) -> None:
        """Put the newest vector in doubt if the chain went on without it; in its own epoch it is set again."""
        entry = await self._database.run(
            lambda connection: journal.standing(connection, epoch.netuid, epoch.mechid)
        )
        before, self._missing = self._missing, None
        if entry is None or entry.block is None or not (reason := _vanished(entry, own, metagraph)):
            return
        if entry.epoch != epoch.number:
            # Nothing is signed for it, so a second reading can be waited for.
            self._missing = (entry.epoch, metagraph.block)
            if before is None or before[0] != entry.epoch or before[1] >= metagraph.block:
                return
        vanished = epoch._replace(number=entry.epoch)
        await self._database.run(
            lambda connection: journal.record_vanished(connection, vanished, reason, metagraph.block)
        )
        log.warning("weights_vanished", epoch=entry.epoch, reason=reason)

    async def _settle(self, metagraph: Metagraph, epoch: Epoch, now: datetime) -> bool:
        """Resolve the vectors in doubt, as far as the chain allows; return whether one stays in doubt.

        If the chain cannot be read, nothing is lost, because the signer checks it before it signs.
        """

        async def read(connection: Connection) -> tuple[list[JournalEntry], int]:
            entries = await journal.doubts(connection, epoch.netuid, epoch.mechid)
            return entries, await journal.known_block(connection, epoch.netuid, epoch.mechid)

        entries, known_block = await self._database.run(read)
        if not entries:
            return False
        try:
            held = await self._signer.read_weights()
        except TransientError as error:
            epochs = [entry.epoch for entry in entries]
            log.warning("weights_in_doubt", epochs=epochs, reason=str(error), once=(str(epochs), str(error)))
            self._failures += 1
            return True
        self._failures = 0
        doubts = [doubt_of(entry, metagraph.tempo) for entry in entries]
        outcomes = settle(doubts, held, known_block, epoch.number)

        async def write(connection: Connection) -> None:
            for number, outcome in outcomes.items():
                settled = epoch._replace(number=number)
                if isinstance(outcome, Landed):
                    await journal.record_found(connection, settled, held, now)
                else:
                    await journal.record_lost(connection, settled, outcome.reason, now)

        await self._database.run(write)
        for number, outcome in outcomes.items():
            log.info("weights_doubt_resolved", epoch=number, outcome=str(outcome))
            if isinstance(outcome, Landed):
                await self._incident.recovered(now)
        return len(outcomes) < len(entries)

    async def _follow(self, epoch: Epoch, now: datetime) -> None:
        """Settle earlier commits; a lost one is an incident until the chain reveals a later one."""
        outcomes = await self._committer.follow(epoch.netuid, epoch.mechid, now)
        if self._committer.waiting:
            self._failures = 0 if self._committer.is_answered else self._failures + 1
        for outcome in outcomes:
            if isinstance(outcome, Revealed):
                await self._reveals.recovered(now)
            elif isinstance(outcome, NotRevealed) and outcome.is_certain:
                await self._reveals.failing(outcome.reason, now)

    def _next_look_s(self, metagraph: Metagraph, *, has_doubts: bool) -> float | None:
        waiting = self._committer.waiting
        if has_doubts or any(reveal_epoch <= metagraph.epoch for reveal_epoch in waiting):
            return float(BLOCK_S * 2 ** min(self._failures, _MOST_DOUBLINGS))
        if not waiting or metagraph.next_epoch_block is None:
            return None
        return BLOCK_S * max(1, metagraph.next_epoch_block - metagraph.block)


def _vanished(entry: JournalEntry, own: Neuron, metagraph: Metagraph) -> str:
    """Return why weights that were set are in doubt again: the chain went on without them; "": they stand."""
    if entry.block is None:
        return ""
    if own.last_update >= entry.block or metagraph.block < entry.block + SETTLED_BLOCKS:
        return ""
    if metagraph.block - entry.block > _DEEPEST_BLOCKS and entry.epoch != metagraph.epoch:
        return ""
    if entry.block <= own.registered_at:
        return ""  # another hotkey set them, or this one before it was registered anew
    if not metagraph.is_confirmed:
        log.warning("weights_disputed", block=entry.block, once=("disputed", str(entry.block)))
        return ""
    return f"the weights of block {entry.block} are no longer on chain in block {metagraph.block}"


def doubt_of(entry: JournalEntry, tempo: int) -> Doubt:
    """Return the doubt of an entry; an entry without blocks gets those of its epoch."""
    first, last = entry.epoch * (tempo + 1), (entry.epoch + 1) * (tempo + 1)
    return Doubt(
        epoch=entry.epoch,
        vector=entry.vector,
        promised_block=first if entry.promised_block is None else entry.promised_block,
        tried_block=last if entry.tried_block is None else entry.tried_block,
    )


def is_settable(entry: JournalEntry) -> bool:
    """Return whether a vector of the present epoch is still to be set."""
    return entry.state in (VectorState.INTENDED, VectorState.FAILED)
