"""The pool of a node: extrinsics that wait for a block, and those whose number is to come."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from gaia.localnet.chain.calls import DispatchError
from gaia.localnet.chain.extrinsics import (
    AlreadyImportedError,
    Extrinsic,
    InvalidTransactionError,
    PriorityTooLowError,
)

_BAD_REQUEST: Final = 255
_CODES: Final[Mapping[str, int]] = {
    "NotEnoughStakeToSetWeights": 1,
    "SettingWeightsTooFast": 6,
    "CommittingWeightsTooFast": 6,
    "InvalidRevealRound": 15,
}
"""Name of an error of the pallet -> number by which a pool tells it (`CustomTransactionError` of subtensor)."""


class Pool:
    """Extrinsics by account and number, in the order of their arrival.

    Parameters
    ----------
    nonce_of
        Account -> number of its next extrinsic in a block.
    validate
        Raises `DispatchError` for a call that the runtime refuses before any block.
    """

    def __init__(self, nonce_of: Callable[[str], int], validate: Callable[[Extrinsic], None]) -> None:
        self._nonce_of = nonce_of
        self._validate = validate
        self._waiting: dict[tuple[str, int], Extrinsic] = {}

    def waiting(self) -> list[Extrinsic]:
        """Return all that wait, oldest first."""
        return list(self._waiting.values())

    def add(self, extrinsic: Extrinsic) -> None:
        """Take one more, which waits until the numbers before its own have come.

        Raises
        ------
        InvalidTransactionError
            If its number is used, the pool has one with this number, or the runtime refuses it.
        """
        self.require_unknown(extrinsic.raw)
        if extrinsic.nonce < self._nonce_of(extrinsic.signer):
            raise InvalidTransactionError("Transaction is outdated")
        if (extrinsic.signer, extrinsic.nonce) in self._waiting:
            raise PriorityTooLowError(
                "The transaction has too low priority to replace another transaction already in the pool."
            )
        self.require_valid(extrinsic)
        self._waiting[extrinsic.signer, extrinsic.nonce] = extrinsic

    def require_unknown(self, raw: bytes) -> None:
        """Raise `AlreadyImportedError` if these bytes wait already."""
        for waiting in self._waiting.values():
            if waiting.raw == raw:
                raise AlreadyImportedError(waiting.hash)

    def require_valid(self, extrinsic: Extrinsic) -> None:
        """Raise `InvalidTransactionError` if the runtime refuses the call as it stands now."""
        try:
            self._validate(extrinsic)
        except DispatchError as refusal:
            code = _CODES.get(refusal.name, _BAD_REQUEST)
            raise InvalidTransactionError(f"Custom error: {code}") from refusal

    def next_nonce(self, signer: str) -> int:
        """Return the number of the account's next extrinsic, counting those that are ready."""
        nonce = self._nonce_of(signer)
        while (signer, nonce) in self._waiting:
            nonce += 1
        return nonce

    def is_ready(self, extrinsic: Extrinsic) -> bool:
        """Return whether a block may include it, because no number before its own is missing."""
        return extrinsic.nonce < self.next_nonce(extrinsic.signer)

    def pop(self) -> Extrinsic | None:
        """Take out the oldest one whose number is its account's next; None: there is none."""
        for extrinsic in self.waiting():
            if extrinsic.nonce == self._nonce_of(extrinsic.signer):
                return self._waiting.pop((extrinsic.signer, extrinsic.nonce))
        return None

    def remove_aged(self, block: int) -> list[Extrinsic]:
        """Take out those that `block` may no longer include, and return them."""
        aged = [each for each in self.waiting() if each.last_block is not None and each.last_block < block]
        for extrinsic in aged:
            del self._waiting[extrinsic.signer, extrinsic.nonce]
        return aged

    def remove_all(self) -> list[Extrinsic]:
        """Take out all that wait, and return them."""
        waiting = self.waiting()
        self._waiting.clear()
        return waiting

    def put_back(self, extrinsic: Extrinsic) -> None:
        """Take one again whose block is no longer part of the chain."""
        self._waiting.setdefault((extrinsic.signer, extrinsic.nonce), extrinsic)
