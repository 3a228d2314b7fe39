"""Sets weights that everybody can read, and reads them back."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import bittensor as bt

from gaia.validator.core.chain.client import refusal_of
from gaia.validator.core.chain.epochs import open_epoch
from gaia.validator.core.chain.reader import understanding
from gaia.validator.core.weights.doubts import as_stored
from gaia.validator.utils.errors import TransientError
from gaia.validator.utils.signer_messages import JournalledVector

if TYPE_CHECKING:
    from gaia.validator.core.chain.epochs import EpochSchedule
    from gaia.validator.core.chain.reader import ChainReader
    from gaia.validator.utils.identities import Hotkey


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightsOnChain:
    """Weights that were set and read back."""

    block: int
    block_hash: str
    extrinsic: str
    """"<block>-<index>"; "" if the extrinsic is unknown."""
    read_back: list[list[int]]
    """[uid, u16] pairs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnWeights:
    """Our weights on chain, at one block."""

    block: int
    last_update: int
    """Block of our last weights; 0: never."""
    update_hash: str
    """Hash of that block; "" if there is none, or the node does not know it."""
    pairs: list[list[int]]
    """[uid, u16] pairs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sent:
    """A vector, and what the chain held of us before it was sent."""

    vector: JournalledVector
    own_uid: int
    last_update: int


class PlainWeights:
    """Plain weights of one hotkey on one subnet; errors are those of `ChainReader`."""

    def __init__(self, chain: ChainReader, netuid: int, hotkey: Hotkey) -> None:
        self._chain = chain
        self._netuid = netuid
        self._hotkey = hotkey

    async def held(self) -> OwnWeights:
        """Return our weights on chain, all read at one block."""
        chain, netuid = self._chain, self._netuid
        block = await chain.head()
        own_uid = await chain.own_uid_of(netuid, self._hotkey, block)
        last_update = await chain.last_update(netuid, own_uid, block)
        return OwnWeights(
            block=block,
            last_update=last_update,
            update_hash=await chain.block_hash_of(last_update) if last_update else "",
            pairs=await chain.pairs(netuid, own_uid, block),
        )

    async def set(
        self,
        wallet: bt.Wallet,
        vector: JournalledVector,
        promised_block: int | None,
        promise: Callable[[EpochSchedule], Awaitable[JournalledVector]],
        is_ours: Callable[[list[list[int]]], bool],
    ) -> WeightsOnChain:
        """Sign and submit one vector in its epoch; return our weights that are then on chain.

        It submits the raw call, because the SDK's own intent reads storage that some runtimes lack.
        The extrinsic cannot be included after the vector's epoch. If the outcome is unknown, even
        after a refusal by the pool, it reads the chain before it reports a failure.

        Parameters
        ----------
        promised_block
            Block at which the vector was journalled. Nothing is signed if the chain holds newer
            weights of ours; these are returned if they are the vector's.
        promise
            Called with the chain's epochs just before the signature; returns the vector with the uids of
            now. What it raises prevents the signature.
        is_ours
            Tells whether [uid, u16] pairs on chain are this vector, with the uids of an earlier attempt.

        Raises
        ------
        TransientError
            If the chain refuses, is in another epoch, does not know our hotkey, or holds other weights afterwards.
        """
        own_uid = await self._chain.own_uid_of(self._netuid, self._hotkey)
        before = await self._chain.last_update(self._netuid, own_uid)
        if promised_block is not None and before > promised_block:
            earlier = _Sent(vector=vector, own_uid=own_uid, last_update=promised_block)
            return await self._landed(earlier, "", "", is_ours)
        schedule = await open_epoch(self._chain, self._netuid, vector.epoch)
        vector = await promise(schedule)
        sent = _Sent(vector=vector, own_uid=own_uid, last_update=before)
        # The promise took time, in which the epoch may have ended.
        schedule = await open_epoch(self._chain, self._netuid, vector.epoch)
        call = bt.calls.SubtensorModule.set_mechanism_weights(
            netuid=self._netuid,
            mecid=0,
            dests=vector.uids,
            weights=vector.weights,
            version_key=vector.version_key,
        )
        try:
            result = await self._chain.submit(call, wallet, schedule)
        except TransientError as error:
            return await self._settle(sent, error, is_ours)
        if result.success:
            try:
                return await self._landed(sent, result.block_hash or "", result.extrinsic_id or "", is_ours)
            except TransientError as error:
                return await self._settle(sent, error, is_ours)
        refusal = refusal_of(result)
        if result.block_hash:
            raise refusal
        return await self._settle(sent, refusal, is_ours)

    async def _landed(
        self,
        sent: _Sent,
        block_hash: str,
        extrinsic: str,
        is_ours: Callable[[list[list[int]]], bool],
    ) -> WeightsOnChain:
        """Return our weights after `extrinsic`, or now if it is unknown; raise unless they are those sent."""
        with understanding("our extrinsic"):
            included = int(extrinsic.partition("-")[0]) if extrinsic else None
        last_update = await self._chain.last_update(self._netuid, sent.own_uid, included)
        read_back = await self._chain.pairs(self._netuid, sent.own_uid, included)
        if last_update <= sent.last_update:
            raise TransientError(f"the chain has no weights of ours since block {sent.last_update}")
        wanted = as_stored(zip(sent.vector.uids, sent.vector.weights, strict=True))
        if as_stored(read_back) != wanted and not is_ours(read_back):
            raise TransientError(f"the chain holds other weights than those sent, since block {last_update}")
        return WeightsOnChain(
            block=included or last_update,
            block_hash=block_hash or await self._chain.block_hash_of(last_update),
            extrinsic=extrinsic,
            read_back=read_back,
        )

    async def _settle(
        self, sent: _Sent, error: TransientError, is_ours: Callable[[list[list[int]]], bool]
    ) -> WeightsOnChain:
        """Return our weights if they are on chain, although the submission seems to have failed.

        Raises
        ------
        TransientError
            `error`, if they do not appear within a few blocks, or the chain cannot be read.
        """
        try:
            await self._chain.wait_blocks()
            return await self._landed(sent, "", "", is_ours)
        except TransientError as unsettled:
            raise error from unsettled
