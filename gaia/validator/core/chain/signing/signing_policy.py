"""What the hotkey signs, whoever asks: one vector an epoch, and headers of requests to miners."""

from __future__ import annotations

import asyncio
import hashlib
import re
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from gaia.validator.core.chain.signing.signed_epochs import another_vector, foreign_words
from gaia.validator.core.chain.signing.term import Term
from gaia.validator.utils.errors import OwnFailure, SigningRefused, TransientError
from gaia.validator.utils.signer_messages import digest_of

if TYPE_CHECKING:
    from gaia.validator.core.chain.signing.signed_epochs import SignedEpochs
    from gaia.validator.utils.signer_messages import JournalledVector, SealedWeights, SignAuth

AUTH_PER_S: Final = 200.0
"""Signatures for requests to miners in a second, in the long run."""
AUTH_BURST: Final = 4096
"""Signatures that are granted at once after a quiet time: 16 requests to each of 256 miners."""
_MOST_WAITING = 4096
_SIGHTINGS: Final = 3
"""Blocks that must tell of a second instance before the validator ends."""
_U16_MAX, _U64_MAX = 65535, 2**64 - 1
_MOST_UIDS = 4096
"""Largest number of uids of a subnet."""
_MOST_RESOLUTIONS = 64
_HOTKEY = re.compile(r"[1-9A-HJ-NP-Za-km-z]{1,64}", re.ASCII)
_KEY_ID = re.compile(r"[0-9A-Za-z-]{1,64}", re.ASCII)


class SigningPolicy:
    """Judges requests of an engine that may have been taken over.

    A refusal raises `SigningRefused`, and nothing is signed. The caller makes sure that a vector's
    epoch is the chain's present one before it promises the vector.

    Parameters
    ----------
    kept
        Returns the record of signed epochs; None: no vector is signed, as in a dry run.
    term
        Until when anything is signed.
    """

    def __init__(
        self,
        kept: Callable[[], SignedEpochs] | None,
        clock: Callable[[], float] = time.monotonic,
        term: Term | None = None,
    ) -> None:
        self._open_record = kept
        self._term = Term() if term is None else term
        self._sightings: set[int] = set()
        """Blocks in which the same hotkey's weights of another program were seen."""
        self._resolutions: dict[tuple[int, str], int] = {}
        """Epoch and digest of uids that differ from the promised ones -> block that showed them first."""
        self._rate = Rate(AUTH_PER_S, AUTH_BURST, clock)

    async def permit_auth(self, request: SignAuth) -> None:
        """Return once the headers of this request may be signed; wait while there are too many."""
        self._term.require()
        if not _is_address(request.miner_hotkey):
            raise SigningRefused("the hotkey of the miner is no ss58 address")
        if not _KEY_ID.fullmatch(request.symmetric_key_uuid):
            raise SigningRefused("the id of the key is no word of 1 to 64 letters, digits and hyphens")
        await self._rate.turn()

    def permit_vector(self, vector: JournalledVector) -> None:
        """Refuse a vector that is not whole, not the one that its digest names, or not the one of its epoch."""
        uids, weights = vector.uids, vector.weights
        if not 1 <= len(uids) <= _MOST_UIDS or len(uids) != len(weights):
            raise SigningRefused(f"a vector has {len(uids)} uids and {len(weights)} weights")
        if any(not 0 <= value <= _U16_MAX for value in (*uids, *weights)):
            raise SigningRefused("a uid or a weight is no u16")
        if len(set(uids)) != len(uids):
            raise SigningRefused("a uid occurs twice")
        if max(weights) != _U16_MAX:
            raise SigningRefused(f"the largest weight is not {_U16_MAX}")
        if not 0 <= vector.version_key <= _U64_MAX:
            raise SigningRefused("the version key is no u64")
        if digest_of(zip(uids, weights, strict=True)) != vector.sha256:
            raise SigningRefused("the vector is not the one that the journal's digest names")
        _require_owners(vector)
        # An earlier release promised the pairs themselves.
        if self._promised(vector.epoch) not in (None, vector.promise, vector.sha256):
            raise SigningRefused(another_vector(vector.epoch))

    @property
    def _kept(self) -> SignedEpochs | None:
        return None if self._open_record is None else self._open_record()

    def _promised(self, epoch: int) -> str | None:
        """Return the digest of the promise for `epoch`; None if there is none."""
        kept = self._kept
        return kept.vector_of(epoch) if kept is not None and kept.knows(epoch) else None

    @property
    def signed(self) -> SignedEpochs:
        """The record of signed epochs; a signer without one raises `SigningRefused`."""
        kept = self._kept
        if kept is None:
            raise SigningRefused("this signer keeps no record of epochs, so it signs no vector")
        return kept

    def knows(self, epoch: int) -> bool:
        """Return whether a vector was promised for `epoch`."""
        return self.signed.knows(epoch)

    def signed_for(self, pairs: Sequence[Sequence[int]]) -> list[int]:
        """Return the epochs of the record whose vector is these weights on chain, [uid, u16] pairs."""
        kept = self._kept
        return kept.epochs_of(pairs) if kept is not None else []

    def permit_resolution(
        self, vector: JournalledVector, resolved: JournalledVector, block: int, *, is_confirmed: bool
    ) -> None:
        """Let other uids than the promised ones pass once a later block has shown the same, and nodes agree.

        What takes weight from a miner, or moves it, is never one reading's word.

        Raises
        ------
        TransientError
            Until then.
        """
        digest = _digest(resolved)
        if digest == vector.sha256:
            self._resolutions.clear()
            return
        if len(self._resolutions) >= _MOST_RESOLUTIONS:
            self._resolutions.clear()
        first = self._resolutions.setdefault((vector.epoch, digest), block)
        if not is_confirmed or block <= first:
            raise TransientError(
                f"miners have left or moved since the vector of epoch {vector.epoch} was computed;"
                " a second reading must agree"
            )

    def has_sealed_form(self, epoch: int, commit: str) -> bool:
        """Return whether `commit` is a sealed form of the vector of `epoch`."""
        kept = self._kept
        return kept is not None and kept.holds_commit(epoch, commit)

    def promise(self, vector: JournalledVector, resolved: JournalledVector, block: int) -> None:
        """Store the vector as the only one of its epoch, with the uids that are signed now. See `SignedEpochs`."""
        self._term.require()
        self.signed.promise(vector.epoch, vector.promise, block=block, pairs=_pairs(resolved))

    def promise_sealed(
        self, vector: JournalledVector, resolved: JournalledVector, sealed: SealedWeights
    ) -> None:
        """Store the vector, and a sealed form of it, as the only one of its epoch; nothing is signed yet."""
        self._term.require()
        commit = digest_of_commit(sealed.ciphertext, sealed.reveal_round)
        self.signed.promise(
            vector.epoch,
            vector.promise,
            commit,
            pairs=_pairs(resolved),
            version_key=resolved.version_key,
        )

    def permit_commit(self, sealed: SealedWeights) -> None:
        """Refuse a commit that this signer did not seal for its epoch."""
        if not self.signed.holds_commit(
            sealed.epoch, digest_of_commit(sealed.ciphertext, sealed.reveal_round)
        ):
            raise SigningRefused(f"the commit was not sealed here for epoch {sealed.epoch}")

    def permit_promise(self, vector: JournalledVector, sealed: SealedWeights) -> None:
        """Refuse a permitted vector that is not the one of the commit, because its uids would say nothing."""
        commit = digest_of_commit(sealed.ciphertext, sealed.reveal_round)
        # An earlier release promised, and sealed, the pairs themselves.
        is_older = self.signed.sealed_of(sealed.epoch, commit) is None
        allowed = {vector.promise, vector.sha256} if is_older else {vector.promise}
        if vector.epoch != sealed.epoch or self._promised(sealed.epoch) not in allowed:
            raise SigningRefused(f"the commit for epoch {sealed.epoch} is of another vector")

    def permit_content(self, sealed: SealedWeights, resolved: JournalledVector) -> None:
        """Refuse a permitted commit with other uids than follow from its promise now, or a smaller version key."""
        commit = digest_of_commit(sealed.ciphertext, sealed.reveal_round)
        contained = self.signed.sealed_of(sealed.epoch, commit) or self._promised(sealed.epoch)
        if contained != _digest(resolved):
            raise SigningRefused(
                f"uids of the commit for epoch {sealed.epoch} have changed hands since it was sealed"
            )
        version_key = self.signed.version_key_of(sealed.epoch, commit)
        if version_key is not None and version_key < resolved.version_key:
            raise SigningRefused(
                f"the commit for epoch {sealed.epoch} has version key {version_key}, and the subnet wants"
                f" {resolved.version_key}"
            )

    def note_commit(self, sealed: SealedWeights, block: int) -> None:
        """Store that a permitted commit is signed now, with the chain at `block`."""
        self._term.require()
        vector = self.signed.vector_of(sealed.epoch)
        self.signed.promise(sealed.epoch, vector, block=block)

    def judge_update(self, foreign: int | None, head: int, *, is_confirmed: bool = True) -> None:
        """Refuse every signature while the chain holds an update of our hotkey that is not ours.

        Parameters
        ----------
        foreign
            Block of that update; None: there is none.
        head
            Block in which the chain was read.
        is_confirmed
            Whether another node would have contradicted it.

        Raises
        ------
        SigningRefused
            At once.
        ConfigurationError
            Once several confirmed blocks say so, because what one node alone says is no reason to end.
        """
        if foreign is None:
            self._sightings.clear()
            return
        if is_confirmed:
            self._sightings.add(head)
        if len(self._sightings) < _SIGHTINGS:
            raise SigningRefused(foreign_words(foreign))
        raise self.signed.call_foreign(foreign)


class Rate:
    """Grants turns at a bounded rate.

    Parameters
    ----------
    per_s
        Turns in a second, in the long run.
    burst
        Turns that are granted at once after a quiet time.
    """

    def __init__(self, per_s: float, burst: int, clock: Callable[[], float]) -> None:
        self._per_s = per_s
        self._burst = burst
        self._clock = clock
        self._tokens = float(burst)
        """Turns that may be granted at once; below 0: turns that are promised to those who wait."""
        self._filled_at = clock()

    async def turn(self) -> None:
        """Wait for a turn, in the order of the calls.

        Raises
        ------
        OwnFailure
            If too many wait already.
        """
        now = self._clock()
        self._tokens = min(self._burst, self._tokens + (now - self._filled_at) * self._per_s)
        self._filled_at = now
        if self._tokens <= -_MOST_WAITING:
            raise OwnFailure(f"{_MOST_WAITING} requests wait for a signature already")
        self._tokens -= 1.0
        if self._tokens < 0.0:
            await asyncio.sleep(-self._tokens / self._per_s)


def _require_owners(vector: JournalledVector) -> None:
    """Refuse a vector whose hotkeys and registrations cannot be those of its uids."""
    uids, hotkeys, registered = vector.uids, vector.hotkeys, vector.registered
    if hotkeys and len(hotkeys) != len(uids):
        raise SigningRefused(f"a vector has {len(uids)} uids and {len(hotkeys)} hotkeys")
    if len(set(hotkeys)) != len(hotkeys):
        raise SigningRefused("a hotkey occurs twice")
    if registered and len(registered) != len(hotkeys):
        raise SigningRefused(f"a vector has {len(hotkeys)} hotkeys and {len(registered)} registrations")
    if not all(_HOTKEY.fullmatch(hotkey) for hotkey in (*hotkeys, vector.burner or "5")):
        raise SigningRefused("a hotkey is no ss58 address")
    if any(not 0 <= block <= _U64_MAX for block in registered):
        raise SigningRefused("the block of a registration is no u64")


def _pairs(vector: JournalledVector) -> list[list[int]]:
    return [[uid, weight] for uid, weight in zip(vector.uids, vector.weights, strict=True)]


def _digest(vector: JournalledVector) -> str:
    """Return the digest of a vector's [uid, u16] pairs."""
    return digest_of(_pairs(vector))


def _is_address(text: str) -> bool:
    import bittensor_core

    try:
        bittensor_core.ss58_decode(text)
    except ValueError:
        return False
    return True


def digest_of_commit(ciphertext: bytes, reveal_round: int) -> str:
    """Return the digest of what a commit submits: the ciphertext and the round that opens it."""
    return hashlib.sha256(b"%d:" % reveal_round + ciphertext).hexdigest()
