"""Commits sealed vectors, and follows each until the chain has revealed or lost it."""

from __future__ import annotations

import hashlib
import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

import structlog

from gaia.validator.core.chain.timelock import is_published
from gaia.validator.core.weights.doubts import as_stored
from gaia.validator.db import journal
from gaia.validator.db.states import VectorState
from gaia.validator.utils.errors import SigningRefused, TransientError
from gaia.validator.utils.signer_messages import CommitAsked, JournalledVector
from gaia.validator.utils.tallies import Totals

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from gaia.validator.db.connection import Connection, Database
    from gaia.validator.db.journal import Epoch, JournalEntry
    from gaia.validator.utils.signer_messages import (
        CommitRead,
        CommitsRead,
        SealedWeights,
        WeightsCommitted,
    )

COMMITS: Final = Totals(["revealed", "lost"])
"""Outcome -> number of sealed vectors in this process."""

log = structlog.get_logger(__name__)


class CommitSigner(Protocol):
    """Access to the chain signer for sealed weights."""

    async def seal_weights(self, vector: JournalledVector) -> SealedWeights: ...

    async def commit_weights(self, vector: JournalledVector, sealed: SealedWeights) -> WeightsCommitted: ...

    async def read_commits(self, commits: Sequence[CommitAsked]) -> CommitsRead: ...


@dataclass(frozen=True, slots=True)
class Queued:
    """The commit is in the chain's queue since `block`."""

    block: int


@dataclass(frozen=True, slots=True)
class Revealed:
    """The chain has revealed the vector; it stands since `block`."""

    block: int


@dataclass(frozen=True, slots=True)
class Vanished:
    """The commit is no longer on chain, but its epoch is not over."""

    reason: str


@dataclass(frozen=True, slots=True)
class NotRevealed:
    """The vector is not on chain and will not be, or newer weights hide what became of it."""

    reason: str
    is_certain: bool = True


Outcome = Queued | Revealed | Vanished | NotRevealed


class Committer:
    """Commits the journalled vector of an epoch, and settles earlier commits."""

    def __init__(
        self,
        database: Database,
        signer: CommitSigner,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._database = database
        self._signer = signer
        self._clock = clock
        self.waiting: Sequence[int] = ()
        """Epochs in which the chain reveals the commits whose end is not known yet, as `follow` left them."""
        self.is_answered = True
        """Whether the chain told `follow` what it asked."""

    async def commit(self, entry: JournalEntry, epoch: Epoch, version_key: int) -> WeightsCommitted:
        """Seal the vector, unless it is sealed for this epoch, journal it, and commit it.

        After an unknown outcome the same ciphertext is sent again, so that no epoch has two votes.
        It is sealed anew if its round is published, as after a longer tempo: the chain takes it no more.
        So it is if uids have changed hands since, because the sealed ones would pay newcomers. So it is if the
        owner wants a larger version key by now, because the chain would drop what it reveals.

        Raises
        ------
        TransientError
            If the chain is in another epoch, refuses, or did not answer.
        """
        sealed, vector = entry.sealed, journalled(entry, version_key)
        if sealed is None or sealed.epoch != epoch.number or is_published(sealed.reveal_round, self._clock()):
            sealed = await self._seal(vector, epoch)
        try:
            landed = await self._signer.commit_weights(vector, sealed)
        except SigningRefused:
            if sealed is not entry.sealed:
                raise
            # Uids or the version key have changed; or its signer's record is lost, so that it was never signed or
            # is on chain.
            sealed = await self._seal(vector, epoch)
            landed = await self._signer.commit_weights(vector, sealed)
        await self._database.run(
            lambda connection: journal.record_committed(connection, epoch, landed.block, landed.extrinsic)
        )
        log.info(
            "weights_committed",
            epoch=epoch.number,
            block=landed.block,
            reveal_epoch=sealed.reveal_epoch,
            reveal_round=sealed.reveal_round,
            miners=len(entry.vector),
        )
        return landed

    async def _seal(self, vector: JournalledVector, epoch: Epoch) -> SealedWeights:
        """Return the vector sealed anew, and journalled so."""
        sealed = await self._signer.seal_weights(vector)
        await self._database.run(lambda connection: journal.record_sealed(connection, epoch, sealed))
        return sealed

    async def follow(self, netuid: int, mechid: int, now: datetime) -> list[Outcome]:
        """Settle the commits whose end the chain can tell by now; return what is new, oldest first.

        If the chain cannot be read, nothing is lost: they are looked up again.
        """
        entries = await self._database.run(lambda connection: journal.commits(connection, netuid, mechid))
        self.waiting = [_asked(entry).reveal_epoch for entry in entries]
        if not entries:
            return []
        try:
            held = await self._signer.read_commits([_asked(entry) for entry in entries])
        except TransientError as error:
            log.warning("commits_unknown", reason=str(error), once=str(error))
            self.is_answered = False
            return []
        self.is_answered = True
        outcomes = {
            entry.epoch: outcome
            for entry, read in zip(entries, held.commits, strict=True)
            if (outcome := end_of(entry, read, held)) is not None
        }

        async def write(connection: Connection) -> None:
            for number, outcome in outcomes.items():
                epoch = journal.Epoch(netuid, mechid, number)
                if isinstance(outcome, Queued):
                    await journal.record_committed(connection, epoch, outcome.block, "")
                elif isinstance(outcome, Revealed):
                    await journal.record_revealed(connection, epoch, outcome.block, held.pairs, now)
                elif isinstance(outcome, Vanished):
                    await journal.record_uncommitted(connection, epoch, outcome.reason)
                else:
                    await journal.record_not_revealed(connection, epoch, outcome.reason, now)

        await self._database.run(write)
        self.waiting = [
            _asked(entry).reveal_epoch
            for entry in entries
            if not isinstance(outcomes.get(entry.epoch), Revealed | NotRevealed)
        ]
        for number, outcome in outcomes.items():
            _tell(number, outcome)
        return list(outcomes.values())


def journalled(entry: JournalEntry, version_key: int) -> JournalledVector:
    """Return what the signer gets of an entry."""
    return JournalledVector(
        epoch=entry.epoch,
        uids=[uid for uid, _ in entry.vector],
        weights=[weight for _, weight in entry.vector],
        version_key=version_key,
        sha256=entry.vector_sha256,
        hotkeys=list(entry.hotkeys),
        registered=list(entry.registered),
        burner=entry.burner,
    )


def end_of(entry: JournalEntry, read: CommitRead, held: CommitsRead) -> Outcome | None:
    """Return what became of a sealed vector; None: nothing new, or the chain cannot tell yet.

    The chain reveals a commit in its reveal's epoch, and drops in silence one that it cannot
    reveal. So a vector is revealed if the chain says so, or holds it then and its events are unknown.
    """
    sealed = entry.sealed
    assert sealed is not None
    block = read.queued.get(hashlib.sha256(sealed.ciphertext).hexdigest(), read.known_block)
    if block is not None:
        return None if entry.state is VectorState.COMMITTED else Queued(block)
    if held.epoch < sealed.reveal_epoch:
        return _before_its_reveal(entry, sealed, held)
    if read.revealed_in is not None:
        return Revealed(read.revealed_in)
    is_there = read.is_held or as_stored(held.pairs) == as_stored(entry.vector)
    if is_there and not read.is_known:
        return Revealed(held.block)
    if held.pairs and not read.is_known:
        return NotRevealed(
            "other weights stand, so it is not known whether it was revealed", is_certain=False
        )
    return NotRevealed(f"the chain dropped the commit in epoch {sealed.reveal_epoch} without revealing it")


def _before_its_reveal(entry: JournalEntry, sealed: SealedWeights, held: CommitsRead) -> Outcome | None:
    """Return what became of a vector that is not in the queue although its reveal is to come."""
    if held.epoch > sealed.epoch:
        if entry.state is VectorState.COMMITTED:
            return NotRevealed(f"the commit left the chain's queue before epoch {sealed.reveal_epoch}")
        return NotRevealed(f"not committed in epoch {sealed.epoch}")
    if entry.commit_block is not None and held.block > entry.commit_block:
        return Vanished(f"the commit of block {entry.commit_block} is no longer on chain")
    return None


def _asked(entry: JournalEntry) -> CommitAsked:
    assert entry.sealed is not None
    return CommitAsked(epoch=entry.sealed.epoch, reveal_epoch=entry.sealed.reveal_epoch)


def _tell(epoch: int, outcome: Outcome) -> None:
    if isinstance(outcome, Queued):
        log.info("weights_commit_found", epoch=epoch, block=outcome.block)
    elif isinstance(outcome, Revealed):
        COMMITS.add("revealed")
        log.info("weights_revealed", epoch=epoch, block=outcome.block)
    elif isinstance(outcome, Vanished):
        log.warning("weights_commit_vanished", epoch=epoch, reason=outcome.reason)
    else:
        if outcome.is_certain:
            COMMITS.add("lost")
        level = logging.ERROR if outcome.is_certain else logging.WARNING
        log.log(level, "weights_not_revealed", epoch=epoch, reason=outcome.reason)
