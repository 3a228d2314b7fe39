"""Answers the IO-Engine's requests about sealed weights; part of the chain signer."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from gaia.validator.core.chain.commits import Commits
from gaia.validator.utils.identities import Hotkey
from gaia.validator.utils.machine.hosts import is_loopback
from gaia.validator.utils.signer_messages import (
    CommitAsked,
    CommitRead,
    CommitsRead,
    CommitWeights,
    ReadCommits,
    SealWeights,
    WeightsCommitted,
    WeightsSealed,
)

if TYPE_CHECKING:
    from bittensor import Wallet

    from gaia.validator.core.chain.client import ChainClient
    from gaia.validator.core.chain.epochs import EpochSchedule
    from gaia.validator.utils.settings.chain import ChainSettings

_MOST_BLOCKS = 64
"""Most blocks of an epoch in which a reveal is looked for."""


class CommitAnswers:
    """Seals, commits and follows sealed weights over one connection to the chain."""

    def __init__(self, chain: ChainClient, settings: ChainSettings, wallet: Wallet) -> None:
        self._chain = chain
        self._settings = settings
        self._wallet = wallet
        self._hotkey = Hotkey(wallet.hotkey.ss58_address)
        self._commits = Commits(chain, settings.netuid, self._hotkey)
        # A round that is published makes weights readable at once.
        is_rehearsal = is_loopback(urlsplit(settings.chain_endpoint).hostname or "")
        self._beacon_round = settings.beacon_round if is_rehearsal else None

    async def answer(self, request: SealWeights | ReadCommits) -> WeightsSealed | CommitsRead:
        """Answer a request for which nothing is signed."""
        return await (self._seal(request) if isinstance(request, SealWeights) else self._read(request))

    async def commit(self, request: CommitWeights) -> WeightsCommitted:
        """Sign and submit a sealed vector."""
        landed = await self._commits.submit(self._wallet, request.sealed)
        return WeightsCommitted(
            request_id=request.request_id,
            block=landed.block,
            block_hash=landed.block_hash,
            extrinsic=landed.extrinsic,
        )

    async def _seal(self, request: SealWeights) -> WeightsSealed:
        key = bytes(self._wallet.hotkey.public_key)
        sealed = await self._commits.seal(
            key, request.uids, request.weights, request.version_key, self._beacon_round
        )
        return WeightsSealed(request_id=request.request_id, sealed=sealed)

    async def _read(self, request: ReadCommits) -> CommitsRead:
        netuid = self._settings.netuid
        block = await self._chain.head()
        schedule = await self._chain.schedule(netuid, block)
        own_uid = await self._chain.own_uid_of(netuid, self._hotkey, block)
        return CommitsRead(
            request_id=request.request_id,
            block=block,
            epoch=schedule.index,
            pairs=await self._chain.pairs(netuid, own_uid, block),
            commits=[await self._looked_up(asked, schedule) for asked in request.commits],
        )

    async def _looked_up(self, asked: CommitAsked, schedule: EpochSchedule) -> CommitRead:
        queued = await self._commits.queued(asked.epoch, schedule.block)
        revealed_in, is_known = None, False
        if schedule.index == asked.reveal_epoch and not queued:
            revealed_in, is_known = await self._revealed_in(schedule)
        return CommitRead(
            epoch=asked.epoch,
            queued={commit.sha256: commit.block for commit in queued},
            revealed_in=revealed_in,
            is_known=is_known,
        )

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
