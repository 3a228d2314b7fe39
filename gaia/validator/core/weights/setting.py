"""Sets one weight vector per epoch: computes it, journals it, and lets the signer sign and read it back."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Final, Protocol, TypeVar

import structlog

from gaia.validator.core.chain.epochs import LEAST_BLOCKS
from gaia.validator.core.incidents import Incident
from gaia.validator.core.weights.committing import Committer, journalled
from gaia.validator.core.weights.computing import VectorComputer
from gaia.validator.core.weights.gates import Gate
from gaia.validator.core.weights.preflight import (
    obstacle_to_size,
    obstacle_to_us,
    version_key_of,
)
from gaia.validator.core.weights.reconciling import SETTLED_BLOCKS, Reader, Reconciler, doubt_of, is_settable
from gaia.validator.db import journal
from gaia.validator.db.journal import Epoch, Intent, JournalEntry
from gaia.validator.utils.chain.refusals import Cause, refusal_named
from gaia.validator.utils.errors import (
    GaiaError,
    OwnFailure,
    SigningRefused,
    TransientError,
    WeightsImpossible,
    WeightsRefused,
)
from gaia.validator.utils.tallies import Totals

if TYPE_CHECKING:
    from gaia.tasks.defined_tasks.base import CopyFinder, MetagraphView
    from gaia.validator.core.weights.computing import Computed
    from gaia.validator.db.connection import Connection, Database
    from gaia.validator.utils.chain.metagraph import Metagraph, Neuron
    from gaia.validator.utils.settings.chain import ChainSettings
    from gaia.validator.utils.settings.weights import WeightsSettings
    from gaia.validator.utils.signer_messages import JournalledVector, WeightsSet

T = TypeVar("T")
log = structlog.get_logger(__name__)

# The only mechanism this subnet has.
MECHANISM = 0

_JUDGING_BLOCKS: Final = 4
"""Blocks that the judgement of a vector may take; near the end of an epoch there is none."""
SUBMISSIONS: Final = Totals(["set", "committed", "failed", "refused", "held", "unknown"])
"""Outcome -> number of attempts to set weights in this process.

"refused": our signer's policy forbids them; "held": they were due, but none can be computed yet. What the chain
would refuse is no submission, and counts as a refusal alone.
"""
REFUSALS: Final = Totals(Cause)
"""Cause -> number of attempts that the chain refused, or would have refused."""


class Signer(Reader, Protocol):
    """Access to the chain signer for weights."""

    async def set_weights(self, vector: JournalledVector, promised_block: int | None) -> WeightsSet:
        """Sign, submit and read back a vector, unless weights newer than `promised_block` are on chain."""
        ...

    async def check_update(self) -> int:
        """Return the block as of which our last weights or commit are ours; raise `SigningRefused` if they are not."""
        ...


class JudgesVectors(Protocol):
    """Tells what a vector earns among those of the other validators."""

    async def judge(self, vector: Sequence[Sequence[int]], now: datetime) -> None:
        """Warn about a vector that is about to be set; a failure raises nothing."""
        ...


class WeightSetter:
    """Sets weights when the chain allows it and scores exist."""

    def __init__(
        self,
        chain: ChainSettings,
        settings: WeightsSettings,
        database: Database,
        signer: Signer,
        metagraph: MetagraphView,
        copies: CopyFinder,
        *,
        consensus: JudgesVectors,
    ) -> None:
        self._chain = chain
        self._settings = settings
        self._database = database
        self._signer = signer
        self._metagraph = metagraph
        self._computer = VectorComputer(settings, database, copies)
        self._consensus = consensus
        self._incident = Incident(database, "weights")
        self._gates = Incident(database, "gates")
        self._committer = Committer(database, signer)
        self._reconciler = Reconciler(database, signer, self._committer, self._incident)
        self._is_barred = False
        """Whether the open incident tells of an obstacle to all weights of ours."""
        self._checked_update = 0
        """Block of our last update on chain that the signer has called its own; 0: none yet."""

    @property
    def look_in_s(self) -> float | None:
        """Seconds after which the chain can tell more of an open vector; None: none is open."""
        return self._reconciler.look_in_s

    async def set_if_due(self, now: datetime) -> WeightsSet | None:
        """Resolve doubts, then set or commit weights if they are due; return the weights that were set, or None.

        Raises
        ------
        TransientError
            If the chain or the database did not answer, or overlaps could not be computed. The
            journal keeps the vector of an epoch, so the next attempt signs the same one.
        """
        try:
            return await self._settle_and_set(now)
        except TransientError as error:
            # The words of a refusal may have figures that change with each block.
            subject = error.name if isinstance(error, WeightsRefused) else None
            await self._incident.failing(str(error), now, subject or None)
            raise

    async def _settle_and_set(self, now: datetime) -> WeightsSet | None:
        metagraph = self._metagraph.latest()
        if metagraph is None:
            return None
        self._computer.note(metagraph)
        epoch = self._epoch(metagraph.epoch)
        own = await self._resolved(metagraph, epoch, now)
        if await self._is_refused(obstacle_to_us(metagraph), now) or own is None:
            self._is_barred = True
            await self._gates.recovered(now)  # other causes keep weights from being set
            return None
        if self._is_barred:
            self._is_barred = False
            await self._incident.recovered(now)
        if _is_ending(metagraph):
            return None
        if not self._is_due(own, metagraph):
            await self._incident.recovered(now)  # earlier failures are over, because our weights are on chain
            return None
        entry = await self._entry(metagraph, epoch, now)
        if entry is None or not is_settable(entry):
            return None
        return await self._submit(entry, metagraph, now)

    async def _submit(self, entry: JournalEntry, metagraph: Metagraph, now: datetime) -> WeightsSet | None:
        """Set or commit a journalled vector, unless the chain would refuse it; return what was set, or None."""
        epoch = self._epoch(entry.epoch)
        if await self._is_refused(obstacle_to_size(entry.vector, metagraph), now):
            return None
        outcome = None
        try:
            if metagraph.commit_reveal:
                await self._committer.commit(entry, epoch, version_key_of(metagraph))
            else:
                outcome = await self._sign(entry, metagraph)
        except GaiaError as error:
            _count(error)
            await self._note_failure(epoch, error, now)
            raise
        if outcome is None:
            SUBMISSIONS.add("committed")
            self._reconciler.look_after(1)
        else:
            await self._note_set(entry, outcome, now)
        await self._incident.recovered(now)
        return outcome

    async def _note_set(self, entry: JournalEntry, outcome: WeightsSet, now: datetime) -> None:
        """Record weights that were set and read back."""
        epoch = self._epoch(entry.epoch)
        SUBMISSIONS.add("set")
        self._reconciler.look_after(SETTLED_BLOCKS + 1)
        await self._do(lambda connection: journal.record_set(connection, epoch, outcome, now))
        log.info(
            "weights_set",
            epoch=epoch.number,
            block=outcome.block,
            extrinsic=outcome.extrinsic,
            miners=len(entry.vector),
            rule_set=self._settings.rule_set,
        )

    async def _resolved(self, metagraph: Metagraph, epoch: Epoch, now: datetime) -> Neuron | None:
        """Settle what earlier attempts left on chain; return our neuron if there is one."""
        if self._chain.dry_run:
            return metagraph.own
        await self._reconciler.reconcile(metagraph, epoch, now)
        own = metagraph.own
        if own is not None and obstacle_to_us(metagraph) is None:
            await self._check_update(own, metagraph.block)
        return own

    async def _check_update(self, own: Neuron, block: int) -> None:
        """Let the signer tell once whether a new update of ours is its own; another program may have our hotkey."""
        if own.last_update == self._checked_update:
            return
        try:
            checked = await self._signer.check_update()
        except SigningRefused:
            SUBMISSIONS.add("refused")
            raise
        # A node that lags behind the metagraph has judged an older update.
        if checked >= block:
            self._checked_update = own.last_update

    def _epoch(self, number: int) -> Epoch:
        return Epoch(self._chain.netuid, MECHANISM, number)

    async def _sign(self, entry: JournalEntry, metagraph: Metagraph) -> WeightsSet:
        if entry.sealed is not None:
            # Commits are no longer wanted; what the chain does not hold by now is set plainly.
            await self._do(lambda connection: journal.record_unsealed(connection, self._epoch(entry.epoch)))
        doubt = doubt_of(entry, metagraph.tempo)
        return await self._signer.set_weights(
            journalled(entry, version_key_of(metagraph)), doubt.promised_block
        )

    async def _note_failure(self, epoch: Epoch, error: GaiaError, now: datetime) -> None:
        """Record a failed attempt; if that fails too, the row stays in doubt and is resolved later."""
        try:
            await self._do(lambda connection: journal.record_failed(connection, epoch, str(error), now))
        except TransientError as another:
            log.warning("failure_not_recorded", epoch=epoch.number, error=str(another))

    async def _entry(self, metagraph: Metagraph, epoch: Epoch, now: datetime) -> JournalEntry | None:
        """Return the journalled vector of this epoch, made now or before; None if there is none to sign."""
        if not self._chain.dry_run:

            async def promised(connection: Connection) -> JournalEntry | None:
                await journal.record_try(connection, epoch, metagraph.block)
                return await journal.entry_of(connection, epoch)

            if (entry := await self._do(promised)) is not None:
                return entry
            if await self._has_unknown_weights(metagraph, epoch):
                return None
        computed = await self._computer.compute(metagraph, epoch, now)
        intent = await self._chosen(computed, metagraph, epoch, now)
        if intent is None:
            return None
        if self._chain.dry_run:
            digest = intent.vector_sha256
            log.info("weights_not_signed", reason="dry run", vector=intent.vector, once=("dry run", digest))
            return None
        if not _is_ending(metagraph, _JUDGING_BLOCKS):
            await self._consensus.judge(intent.vector, now)
        entry = await self._do(lambda connection: journal.record_intent(connection, intent, now))
        if intent is computed.intent:
            self._computer.journalled()
        return entry

    async def _has_unknown_weights(self, metagraph: Metagraph, epoch: Epoch) -> bool:
        """Return whether the chain has weights of this epoch that the journal does not know, and tell so.

        After the restore of an older database, the epoch has its vector, whichever it was.
        """
        own = metagraph.own
        if own is None or not metagraph.has_weights_of_epoch:
            return False
        updated = own.last_update
        # A reveal dates our neuron in the first block of the epoch, where commits have ended.
        is_first = updated == metagraph.epoch_first_block
        if await self._do(
            lambda connection: journal.explains(connection, epoch, updated, may_be_reveal=is_first)
        ):
            return False
        log.warning("weights_not_in_journal", epoch=epoch.number, block=updated, once=str(epoch.number))
        return True

    async def _chosen(
        self, computed: Computed, metagraph: Metagraph, epoch: Epoch, now: datetime
    ) -> Intent | None:
        """Return the new vector; if it cannot be set, the last one in time before the chain would ignore us."""
        hold = computed.hold
        if hold is not None:
            SUBMISSIONS.add("held")
            level = logging.ERROR if hold.gate is Gate.BURN else logging.INFO
            log.log(
                level, "weights_withheld", gate=hold.gate, reason=hold.reason, once=("weights", hold.gate)
            )
            if computed.has_last:
                await self._gates.failing(f"{hold.gate}: {hold.reason}", now, subject=hold.gate)
        else:
            await self._gates.recovered(now)
            if computed.intent is None or not await self._is_impossible(
                computed.intent.vector, metagraph, now
            ):
                return computed.intent
        own = metagraph.own
        if own is None or not self._computer.is_renewal_due(metagraph, own.last_update):
            return None
        intent = await self._computer.renewal(metagraph, epoch)
        if intent is None or await self._is_impossible(intent.vector, metagraph, now):
            return None
        log.warning("weights_renewed", epoch=epoch.number, rule_set=intent.rule_set)
        return intent

    async def _is_impossible(
        self, vector: Sequence[Sequence[int]], metagraph: Metagraph, now: datetime
    ) -> bool:
        """Return whether the chain would refuse the vector, and tell so."""
        return await self._is_refused(obstacle_to_size(vector, metagraph), now)

    async def _is_refused(self, obstacle: WeightsImpossible | None, now: datetime) -> bool:
        """Return whether there is an obstacle, and tell it; in a dry run it costs nothing."""
        if obstacle is None:
            return False
        if self._chain.dry_run:
            log.info(
                "weights_impossible",
                reason=str(obstacle),
                name=obstacle.name,
                cause=refusal_named(obstacle.name).cause,
                once=obstacle.name,
            )
            return True
        _tell_impossible(obstacle)
        await self._incident.failing(str(obstacle), now, subject=obstacle.name)
        return True

    async def _do(self, body: Callable[[Connection], Awaitable[T]]) -> T:
        """Run `body`, which is safe to repeat, in one transaction."""
        return await self._database.run(body)

    def _is_due(self, own: Neuron, metagraph: Metagraph) -> bool:
        interval = max(self._settings.weights_interval_blocks, metagraph.weights_rate_limit)
        return own.last_update == 0 or metagraph.block - own.last_update >= interval


def _is_ending(metagraph: Metagraph, more_blocks: int = 0) -> bool:
    """Return whether the epoch ends too soon for an extrinsic of it, after so many blocks more."""
    ends_at = metagraph.next_epoch_block
    return ends_at is not None and ends_at - metagraph.block < LEAST_BLOCKS + more_blocks


def _count(error: GaiaError) -> None:
    """Count an attempt that failed; what the signer foresaw was not submitted."""
    if isinstance(error, WeightsImpossible):
        _tell_impossible(error)
        return
    if isinstance(error, WeightsRefused):
        REFUSALS.add(refusal_named(error.name).cause)
    SUBMISSIONS.add(_outcome_of(error))


def _tell_impossible(obstacle: WeightsImpossible) -> None:
    """Count and log what the chain would refuse."""
    cause = refusal_named(obstacle.name).cause
    REFUSALS.add(cause)
    log.log(
        logging.WARNING if cause in (Cause.NETWORK, Cause.RACE) else logging.ERROR,
        "weights_impossible",
        reason=str(obstacle),
        name=obstacle.name,
        cause=cause,
        once=("impossible", obstacle.name),
    )


def _outcome_of(error: GaiaError) -> str:
    """Return the outcome of a submission that failed; a signer that is away or silent may have made it."""
    if isinstance(error, SigningRefused):
        return "refused"
    return "unknown" if isinstance(error, OwnFailure) else "failed"
