"""Commits sealed weights to the chain, and finds out what became of them (commit-reveal, version 4)."""

from __future__ import annotations

import asyncio
import hashlib
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import bittensor as bt

from gaia.validator.core.chain.client import refusal_of
from gaia.validator.core.chain.epochs import EpochSchedule, open_epoch
from gaia.validator.core.chain.reader import understanding
from gaia.validator.core.chain.signing.signing_policy import digest_of_commit
from gaia.validator.core.chain.timelock import (
    COMMIT_VERSION,
    MOST_COMMIT_BYTES,
    payload,
    reveal_round,
    seal,
)
from gaia.validator.core.weights.preflight import impossible
from gaia.validator.utils.errors import TransientError
from gaia.validator.utils.signer_messages import JournalledVector, SealedWeights

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from gaia.validator.core.chain.reader import ChainReader
    from gaia.validator.utils.identities import Hotkey

_CLOCK_TOLERANCE_S = 30.0
_HEAD_AGE_S = 60.0
"""Age that the newest block of a good node may have, while blocks are missed."""
_LONGEST_BLOCK_S = 13.2
"""Mean seconds between blocks, at most; a chain that stood still would make the round too late."""
_MEASURED_BLOCKS = 100
_REVEALED = "TimelockedWeightsRevealed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Committed:
    """A commit of ours that stands on chain."""

    block: int
    block_hash: str
    extrinsic: str
    """"<block>-<index>"; "" if the extrinsic is unknown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnCommit:
    """A commit of ours in the chain's queue."""

    epoch: int
    block: int
    sha256: str
    """Digest of the ciphertext, in hex."""
    with_round: str
    """Digest of the ciphertext and its round, as the record of signed epochs has it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Terms:
    """What the chain asks of a commit, read at one block."""

    schedule: EpochSchedule
    reveal_period: int
    block_time_s: float
    now_s: float


class Commits:
    """Commits of one hotkey on one subnet; errors are those of `ChainReader`."""

    def __init__(self, chain: ChainReader, netuid: int, hotkey: Hotkey) -> None:
        self._chain = chain
        self._netuid = netuid
        self._hotkey = hotkey

    async def seal(self, public_key: bytes, vector: JournalledVector, at: int | None = None) -> SealedWeights:
        """Seal a vector until the chain reveals the commits of its epoch, the present one.

        Parameters
        ----------
        at
            Round for which the vector is sealed; None: that of the reveal. Only the local chain needs another.

        Raises
        ------
        TransientError
            If the subnet does not want commits, wants another version, is in another epoch, or its clock
            differs from ours.
        """
        terms = await self._terms()
        epoch = terms.schedule.epoch_of_commit()
        if epoch != vector.epoch:
            raise TransientError(f"the chain is in epoch {epoch}, not in epoch {vector.epoch} of the weights")
        with understanding("the epochs"):
            number = reveal_round(terms.schedule, terms.reveal_period, terms.block_time_s, terms.now_s)
            content = payload(public_key, vector.uids, vector.weights, vector.version_key)
            ciphertext = await asyncio.to_thread(seal, content, number if at is None else at)
        if len(ciphertext) > MOST_COMMIT_BYTES:
            raise impossible(
                "CommitPayloadTooLarge", f"{len(ciphertext)} bytes of at most {MOST_COMMIT_BYTES}"
            )
        return SealedWeights(
            ciphertext=ciphertext,
            reveal_round=number,
            epoch=epoch,
            reveal_epoch=epoch + terms.reveal_period,
        )

    async def submit(
        self, wallet: bt.Wallet, sealed: SealedWeights, promise: Callable[[EpochSchedule], Awaitable[None]]
    ) -> Committed:
        """Commit a sealed vector, unless it is on chain already; return where it stands.

        The extrinsic cannot be included after the epoch for which it is sealed. If its outcome is
        unknown, the chain's queue tells it.

        Parameters
        ----------
        promise
            Called with the chain's epochs just before the signature; what it raises prevents it.

        Raises
        ------
        TransientError
            If the chain refuses, the epoch is over or nearly so, or another commit of ours is in its queue.
        """
        held = await self.queued(sealed.epoch)
        digest = hashlib.sha256(sealed.ciphertext).hexdigest()
        if found := _found(held, digest):
            return found
        if held:
            raise TransientError(f"another commit of ours is on chain since block {held[-1].block}")
        schedule = await open_epoch(self._chain, self._netuid, sealed.epoch)
        await self._refuse_late(sealed, schedule.block)
        await promise(schedule)
        call = bt.calls.SubtensorModule.commit_timelocked_mechanism_weights(
            netuid=self._netuid,
            mecid=0,
            commit="0x" + sealed.ciphertext.hex(),
            reveal_round=sealed.reveal_round,
            commit_reveal_version=COMMIT_VERSION,
        )
        try:
            result = await self._chain.submit(call, wallet, schedule)
        except TransientError as error:
            return await self._settled(sealed.epoch, digest, error)
        if not result.success:
            refusal = refusal_of(result)
            if result.block_hash:
                raise refusal
            return await self._settled(sealed.epoch, digest, refusal)
        landed = _found(await self.queued(sealed.epoch), digest)
        if landed is None:
            missing = TransientError("the chain reported a commit that is not in its queue")
            return await self._settled(sealed.epoch, digest, missing)
        return Committed(
            block=landed.block, block_hash=result.block_hash or "", extrinsic=result.extrinsic_id or ""
        )

    async def _refuse_late(self, sealed: SealedWeights, block: int) -> None:
        """Refuse a commit that the chain's beacon could open already, or of another version than the chain wants."""
        published, version = await asyncio.gather(
            self._chain.query("LastStoredRound", block=block, pallet="Drand"),
            self._chain.query("CommitRevealWeightsVersion", block=block),
        )
        with understanding("the beacon"):
            is_late = sealed.reveal_round < int(published)
        if is_late:
            words = (
                f"round {sealed.reveal_round} opens the commit, and the chain knows round {published} already"
            )
            raise impossible("InvalidRevealRound", words)
        _require_version(version)

    async def queued(self, epoch: int, block: int | None = None) -> list[OwnCommit]:
        """Return our commits of one epoch that the chain has not revealed, oldest first."""
        rows = await self._chain.query("TimelockedWeightCommits", self._netuid, epoch, block=block)
        with understanding("the commits"):
            return [
                OwnCommit(
                    epoch=epoch,
                    block=int(at),
                    sha256=hashlib.sha256(_bytes(sealed)).hexdigest(),
                    with_round=digest_of_commit(_bytes(sealed), int(number)),
                )
                for hotkey, at, sealed, number in rows
                if str(hotkey) == self._hotkey
            ]

    async def was_revealed_in(self, block: int) -> bool | None:
        """Return whether the chain says that it revealed a commit of ours in `block`; None: it no longer knows."""
        try:
            events = await self._chain.events(block)
        except TransientError:
            return None
        with understanding("the events"):
            return any(
                event["event_id"] == _REVEALED
                and [str(each) for each in event["attributes"]] == [str(self._netuid), self._hotkey]
                for event in events
            )

    async def _settled(self, epoch: int, digest: str, error: TransientError) -> Committed:
        """Return where the commit stands, although its submission seems to have failed; else raise `error`."""
        try:
            await self._chain.wait_blocks()
            found = _found(await self.queued(epoch), digest)
        except TransientError as unsettled:
            raise error from unsettled
        if found is None:
            raise error
        return found

    async def _terms(self) -> _Terms:
        head, ours_s = await self._chain.head(), time.time()
        before = max(1, head - _MEASURED_BLOCKS)
        wanted, version, period = await asyncio.gather(
            self._chain.query("CommitRevealWeightsEnabled", self._netuid, block=head),
            self._chain.query("CommitRevealWeightsVersion", block=head),
            self._chain.query("RevealPeriodEpochs", self._netuid, block=head),
        )
        if not wanted:
            raise impossible("CommitRevealDisabled")
        _require_version(version)
        schedule, now, earlier = await asyncio.gather(
            self._chain.schedule(self._netuid, head),
            self._chain.time_of(head),
            self._chain.time_of(before),
        )
        now_s = now.timestamp()
        if not -_CLOCK_TOLERANCE_S <= ours_s - now_s <= _CLOCK_TOLERANCE_S + _HEAD_AGE_S:
            raise TransientError(f"the chain's clock and ours differ by {ours_s - now_s:+.0f} s")
        with understanding("the time of its blocks"):
            return _Terms(
                schedule=schedule,
                reveal_period=int(period),
                block_time_s=min((now_s - earlier.timestamp()) / max(1, head - before), _LONGEST_BLOCK_S),
                now_s=now_s,
            )


def _require_version(version: Any) -> None:
    if version != COMMIT_VERSION:
        words = f"the chain wants commits of version {version}, and this release knows {COMMIT_VERSION}"
        raise impossible("IncorrectCommitRevealVersion", words)


def _found(held: Sequence[OwnCommit], digest: str) -> Committed | None:
    found = next((commit for commit in held if commit.sha256 == digest), None)
    return None if found is None else Committed(block=found.block, block_hash="", extrinsic="")


def _bytes(value: Any) -> bytes:
    """Return bytes that the SDK tells as hex, or as text where they happen to be text."""
    if isinstance(value, bytes | bytearray):
        return bytes(value)
    text = str(value)
    return bytes.fromhex(text[2:]) if text.startswith("0x") else text.encode()
