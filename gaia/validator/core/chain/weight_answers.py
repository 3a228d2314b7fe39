"""Answers the IO-Engine's requests about weights, as the signing policy permits; part of the chain signer."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from gaia.validator.core.chain.commits import Commits
from gaia.validator.core.chain.epochs import open_epoch
from gaia.validator.core.chain.plain_weights import PlainWeights
from gaia.validator.core.chain.signing.own_updates import OwnUpdates
from gaia.validator.core.weights.preflight import impossible, obstacle_to_form, obstacle_to_us
from gaia.validator.core.weights.resolving import resolve
from gaia.validator.utils.errors import SigningRefused, SubnetMissing
from gaia.validator.utils.identities import Hotkey
from gaia.validator.utils.machine.hosts import is_loopback
from gaia.validator.utils.signer_messages import (
    CheckUpdate,
    CommitAsked,
    CommitRead,
    CommitsRead,
    CommitWeights,
    FromSigner,
    JournalledVector,
    ReadCommits,
    ReadWeights,
    SealWeights,
    SetWeights,
    UpdateChecked,
    WeightsCommitted,
    WeightsRead,
    WeightsSealed,
    WeightsSet,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from bittensor import Wallet

    from gaia.validator.core.chain.commits import OwnCommit
    from gaia.validator.core.chain.epochs import EpochSchedule
    from gaia.validator.core.chain.reader import ChainReader
    from gaia.validator.core.chain.signing.signing_policy import SigningPolicy
    from gaia.validator.utils.settings.chain import ChainSettings

_MOST_BLOCKS = 64
"""Most blocks of an epoch in which a reveal is looked for."""


class WeightAnswers:
    """Sets, seals, commits and follows weights over one connection to the chain."""

    def __init__(
        self, chain: ChainReader, settings: ChainSettings, wallet: Wallet, policy: SigningPolicy
    ) -> None:
        self._chain = chain
        self._settings = settings
        self._wallet = wallet
        self._policy = policy
        self._hotkey = Hotkey(wallet.hotkey.ss58_address)
        self._commits = Commits(chain, settings.netuid, self._hotkey)
        self._plain = PlainWeights(chain, settings.netuid, self._hotkey)
        self._updates = OwnUpdates(chain, self._commits, settings.netuid, self._hotkey, policy)
        # A round that is published makes weights readable at once.
        hosts = [urlsplit(endpoint).hostname or "" for endpoint in settings.endpoints]
        is_rehearsal = all(map(is_loopback, hosts))
        self._beacon_round = settings.beacon_round if is_rehearsal else None

    async def answer(
        self, request: SetWeights | CommitWeights | SealWeights | ReadWeights | ReadCommits | CheckUpdate
    ) -> FromSigner:
        """Answer one request; the caller lets only one at a time set or commit."""
        match request:
            case SetWeights():
                return await self._set(request)
            case CommitWeights():
                return await self._commit(request)
            case SealWeights():
                return await self._seal(request)
            case ReadWeights():
                return await self._read_weights(request)
            case ReadCommits():
                return await self._read_commits(request)
            case CheckUpdate():
                return await self._check_update(request)

    async def _set(self, request: SetWeights) -> WeightsSet:
        vector = request.vector
        self._policy.permit_vector(vector)

        async def promise(schedule: EpochSchedule) -> JournalledVector:
            await self._refuse_unexplained(vector, schedule)
            resolved = await self._resolved(vector, is_sealed=False)
            self._policy.promise(vector, resolved, schedule.block)
            return resolved

        def is_ours(pairs: list[list[int]]) -> bool:
            return vector.epoch in self._policy.signed_for(pairs)

        landed = await self._plain.set(self._wallet, vector, request.promised_block, promise, is_ours)
        return WeightsSet(
            request_id=request.request_id,
            block=landed.block,
            block_hash=landed.block_hash,
            extrinsic=landed.extrinsic,
            read_back=landed.read_back,
        )

    async def _seal(self, request: SealWeights) -> WeightsSealed:
        vector = request.vector
        self._policy.permit_vector(vector)
        schedule = await open_epoch(self._chain, self._settings.netuid, vector.epoch)
        await self._refuse_unexplained(vector, schedule)
        resolved = await self._resolved(vector, is_sealed=True)
        sealed = await self._commits.seal(bytes(self._wallet.hotkey.public_key), resolved, self._beacon_round)
        self._policy.promise_sealed(vector, resolved, sealed)
        return WeightsSealed(request_id=request.request_id, sealed=sealed)

    async def _commit(self, request: CommitWeights) -> WeightsCommitted:
        sealed = request.sealed
        self._policy.permit_vector(request.vector)
        self._policy.permit_commit(sealed)
        self._policy.permit_promise(request.vector, sealed)
        await self._updates.refuse_foreign(await self._chain.head())
        # It may have been sealed anew after a commit whose outcome was unknown.
        if (block := self._known_block(sealed.epoch, await self._commits.queued(sealed.epoch))) is not None:
            return WeightsCommitted(request_id=request.request_id, block=block, block_hash="", extrinsic="")

        async def promise(schedule: EpochSchedule) -> None:
            self._policy.permit_content(sealed, await self._resolved(request.vector, is_sealed=True))
            self._policy.note_commit(sealed, schedule.block)

        landed = await self._commits.submit(self._wallet, sealed, promise)
        return WeightsCommitted(
            request_id=request.request_id,
            block=landed.block,
            block_hash=landed.block_hash,
            extrinsic=landed.extrinsic,
        )

    async def _refuse_unexplained(self, vector: JournalledVector, schedule: EpochSchedule) -> None:
        """Refuse a vector after weights of another program, and the first of an epoch that has ours already.

        Where the record was lost, what was signed in the epoch is no longer known, so that a second vector of
        it might be another one.
        """
        await self._updates.refuse_foreign(schedule.block)
        if self._policy.knows(vector.epoch) or schedule.index != vector.epoch:
            return
        netuid = self._settings.netuid
        own_uid = await self._chain.own_uid_of(netuid, self._hotkey, schedule.block)
        updated = await self._chain.last_update(netuid, own_uid, schedule.block)
        if updated < max(1, schedule.last_epoch_block):
            return
        # A registration dates the neuron, too; so does the reveal of an earlier vector where commits have ended.
        registered = await self._chain.query("BlockAtRegistration", netuid, own_uid, block=schedule.block)
        pairs = await self._chain.pairs(netuid, own_uid, schedule.block)
        if updated > registered and not self._policy.signed_for(pairs):
            raise SigningRefused(
                f"weights of ours that this signer does not know are on chain since block {updated} of epoch"
                f" {schedule.index}; nothing more is signed in this epoch"
            )

    async def _resolved(self, vector: JournalledVector, *, is_sealed: bool) -> JournalledVector:
        """Return the vector with the uids of the newest block, unless the chain would refuse it there.

        See `resolve` and `permit_resolution`.

        Raises
        ------
        WeightsImpossible
            If it would.
        """
        try:
            metagraph = await self._chain.metagraph(self._settings.netuid, self._hotkey)
        except SubnetMissing as error:
            raise impossible("SubnetNotExists", str(error)) from error
        obstacle = obstacle_to_us(metagraph) or obstacle_to_form(
            metagraph, vector.version_key, is_sealed=is_sealed
        )
        if obstacle:
            raise obstacle
        resolved = resolve(vector, metagraph)
        if not vector.hotkeys:
            return resolved
        self._policy.permit_resolution(
            vector, resolved, metagraph.block, is_confirmed=self._chain.is_confirmed
        )
        return resolved

    async def _check_update(self, request: CheckUpdate) -> UpdateChecked:
        head = await self._chain.head()
        await self._updates.refuse_foreign(head)
        return UpdateChecked(request_id=request.request_id, block=head)

    async def _read_weights(self, request: ReadWeights) -> WeightsRead:
        held = await self._plain.held()
        return WeightsRead(
            request_id=request.request_id,
            block=held.block,
            last_update=held.last_update,
            update_hash=held.update_hash,
            pairs=held.pairs,
            epochs=self._policy.signed_for(held.pairs),
        )

    async def _read_commits(self, request: ReadCommits) -> CommitsRead:
        netuid = self._settings.netuid
        block = await self._chain.head()
        schedule = await self._chain.schedule(netuid, block)
        own_uid = await self._chain.own_uid_of(netuid, self._hotkey, block)
        pairs = await self._chain.pairs(netuid, own_uid, block)
        held = self._policy.signed_for(pairs)
        return CommitsRead(
            request_id=request.request_id,
            block=block,
            epoch=schedule.index,
            pairs=pairs,
            commits=[await self._looked_up(asked, schedule, held) for asked in request.commits],
        )

    async def _looked_up(
        self, asked: CommitAsked, schedule: EpochSchedule, held: Collection[int]
    ) -> CommitRead:
        queued = await self._commits.queued(asked.epoch, schedule.block)
        revealed_in, is_known = None, False
        if schedule.index == asked.reveal_epoch and not queued:
            revealed_in, is_known = await self._revealed_in(schedule)
        return CommitRead(
            epoch=asked.epoch,
            queued={commit.sha256: commit.block for commit in queued},
            known_block=self._known_block(asked.epoch, queued),
            revealed_in=revealed_in,
            is_known=is_known,
            is_held=asked.epoch in held,
        )

    def _known_block(self, epoch: int, queued: Sequence[OwnCommit]) -> int | None:
        """Return the block of a commit in the queue that is a sealed form of the vector of `epoch`."""
        known = [commit.block for commit in queued if self._policy.has_sealed_form(epoch, commit.with_round)]
        return known[0] if known else None

    async def _revealed_in(self, schedule: EpochSchedule) -> tuple[int | None, bool]:
        """Return (block of a reveal since the epoch began, whether all its blocks are known); a late pulse delays it."""
        first = schedule.last_epoch_block
        if schedule.block - first > _MOST_BLOCKS:
            return None, False
        # A new tempo moves the block without beginning an epoch.
        before = await self._chain.query("SubnetEpochIndex", self._settings.netuid, block=max(0, first - 1))
        for block in range(first, schedule.block + 1):
            told = await self._commits.was_revealed_in(block)
            if told is None:
                return None, False
            if told:
                return block, True
        return None, before == schedule.index - 1
