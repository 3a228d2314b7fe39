"""Tells whether what our hotkey did last on chain is of this signer, or of another program with the same key."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gaia.validator.core.chain.reader import understanding
from gaia.validator.utils.signer_messages import digest_of

if TYPE_CHECKING:
    from gaia.validator.core.chain.commits import Commits
    from gaia.validator.core.chain.reader import ChainReader
    from gaia.validator.core.chain.signing.signed_epochs import SignedEpochs
    from gaia.validator.core.chain.signing.signing_policy import SigningPolicy
    from gaia.validator.utils.identities import Hotkey

_READABLE_BLOCKS: Final = 60
"""Age of a block whose state every node still has; the default of a node is 256 blocks."""
_MOST_EPOCHS: Final = 8
"""Largest number of epochs before the present one whose commits are read."""


class OwnUpdates:
    """Compares `LastUpdate` of our hotkey with the record of signed epochs.

    The chain dates a neuron when it sets weights, commits, or is registered. Once commits are no longer
    wanted, it does so when it reveals an earlier one, too (weights.rs of subtensor, spec 425).
    """

    def __init__(
        self, chain: ChainReader, commits: Commits, netuid: int, hotkey: Hotkey, policy: SigningPolicy
    ) -> None:
        self._chain = chain
        self._commits = commits
        self._netuid = netuid
        self._hotkey = hotkey
        self._policy = policy

    @property
    def _signed(self) -> SignedEpochs:
        return self._policy.signed

    async def refuse_foreign(self, head: int) -> None:
        """Refuse to go on if our last update, as of block `head`, is of another program.

        Raises
        ------
        SigningRefused
            If it is.
        ConfigurationError
            If later blocks have said so too.
        TransientError
            If the chain cannot be read.
        """
        with understanding("our last update"):
            foreign = await self._foreign(head)
        self._policy.judge_update(foreign, head, is_confirmed=self._chain.is_confirmed)

    async def _foreign(self, head: int) -> int | None:
        """Return the block of an update that this signer did not make; None if it made it, or nothing is known."""
        begun = self._signed.begun_at
        if begun is None:
            return None
        own_uid = await self._chain.own_uid_of(self._netuid, self._hotkey, head)
        updated = await self._chain.last_update(self._netuid, own_uid, head)
        registered = await self._chain.query("BlockAtRegistration", self._netuid, own_uid, block=head)
        # Some runtimes give a new neuron the date of the one before it.
        if updated <= max(begun, registered):
            return None
        is_readable = head - updated <= _READABLE_BLOCKS
        is_ours = await (self._is_ours(updated) if is_readable else self._was_ours(updated, own_uid, head))
        return None if is_ours else updated

    async def _is_ours(self, updated: int) -> bool:
        """Return whether the record has the commit or the weights of block `updated`, which the node still knows."""
        for epoch in self._signed.epochs_in(updated):
            if await self._commit_in(epoch, updated, updated):
                return True
        if not (await self._takes_plain(updated) or await self._takes_plain(max(0, updated - 1))):
            # What stands then is an earlier vector, which says nothing about a commit.
            return False
        own_uid = await self._chain.own_uid_of(self._netuid, self._hotkey, updated)
        return await self._is_set(updated, own_uid, updated)

    async def _was_ours(self, updated: int, own_uid: int, head: int) -> bool:
        """Return whether an update can be ours that nobody looked at for long; only its effects are known."""
        index = await self._chain.query("SubnetEpochIndex", self._netuid, block=head)
        period = await self._chain.query("RevealPeriodEpochs", self._netuid, block=head)
        for epoch in range(index, index - min(period, _MOST_EPOCHS) - 1, -1):
            known = await self._commit_in(epoch, updated, head)
            if known is not None:
                return known
        if await self._takes_plain(head):
            return await self._is_set(updated, own_uid, head)
        return bool(self._signed.epochs_in(updated))

    async def _commit_in(self, epoch: int, updated: int, head: int) -> bool | None:
        """Return whether the record has the queue's commit of block `updated`; None if there is no such commit."""
        known = [
            self._signed.holds_commit(epoch, commit.with_round)
            for commit in await self._commits.queued(epoch, head)
            if commit.block == updated
        ]
        return all(known) if known else None

    async def _is_set(self, updated: int, own_uid: int, head: int) -> bool:
        """Return whether the weights as of `head` are a vector of ours that can date from `updated`."""
        pairs = await self._chain.pairs(self._netuid, own_uid, head)
        if self._signed.has_set(updated, digest_of(pairs)):
            return True
        # A trim of the subnet moves what was set before, and drops a part of it.
        if head > updated and set(self._signed.epochs_of(pairs)) & set(self._signed.epochs_in(updated)):
            return True
        # The chain clears the weight of a uid that is registered anew, so that the digest is another.
        is_cleared = any(
            [
                await self._chain.query("BlockAtRegistration", self._netuid, uid, block=head) >= updated
                for uid, weight in pairs
                if not weight
            ]
        )
        # A commit that the chain lost leaves the weights of before it.
        may_be_commit = any(self._signed.has_sealed(epoch) for epoch in self._signed.epochs_in(updated))
        return bool(self._signed.epochs_in(updated)) and (is_cleared or (head > updated and may_be_commit))

    async def _takes_plain(self, block: int) -> bool:
        """Return whether the subnet takes plain weights after `block`."""
        return not await self._chain.query("CommitRevealWeightsEnabled", self._netuid, block=block)
