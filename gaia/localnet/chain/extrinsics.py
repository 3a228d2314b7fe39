"""Signed extrinsics, read and checked as a runtime does before its pool takes them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, ClassVar

import bittensor_core

if TYPE_CHECKING:
    from gaia.localnet.chain.runtime import ChainRuntime

_IMMORTAL = "00"


class InvalidTransactionError(Exception):
    """A node refuses the extrinsic; the text is the real node's."""

    code: ClassVar[int] = 1010
    title: ClassVar[str] = "Invalid Transaction"


class AlreadyImportedError(InvalidTransactionError):
    """The pool has the same extrinsic already."""

    code = 1013
    title = "Transaction Already Imported"


class PriorityTooLowError(InvalidTransactionError):
    """The pool has another extrinsic of this account with this number."""

    code = 1014
    title = "Priority is too low: (0 vs 0)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Extrinsic:
    """A signed extrinsic with a valid signature and era."""

    raw: bytes
    signer: str
    nonce: int
    pallet: str
    function: str
    arguments: Mapping[str, Any]
    last_block: int | None = None
    """Last block that may include it; None: it does not age."""

    @property
    def hash(self) -> str:
        return "0x" + blake2b(self.raw, digest_size=32).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Ancestry:
    """What a signature is bound to: the chain's blocks."""

    genesis_hash: str
    head: int
    hash_of: Callable[[int], str | None]
    """Number of a block -> its hash; None: it does not exist, or is not kept."""


def read_extrinsic(raw: bytes, runtime: ChainRuntime, ancestry: Ancestry) -> Extrinsic:
    """Return a signed extrinsic whose signature and era are those of this chain.

    Raises
    ------
    InvalidTransactionError
        If it is none.
    """
    try:
        decoded = runtime.codec.decode_extrinsic(raw, True)
        call = decoded["call"]
        arguments = {argument["name"]: argument["value"] for argument in call["call_args"]}
        encoded = runtime.compose_call(call["call_module"], call["call_function"], arguments)
        signer, signature = decoded["address"], bytes.fromhex(decoded["signature"]["Sr25519"][2:])
    except (ValueError, KeyError, TypeError) as error:
        raise InvalidTransactionError("Transaction call is not expected") from error
    birth, period = _era(decoded, ancestry.head)
    payload = _signed_payload(encoded, decoded, runtime, ancestry, birth)
    if not bittensor_core.verify(payload, signature, signer, bittensor_core.CRYPTO_SR25519):
        raise InvalidTransactionError("Transaction has a bad signature")
    return Extrinsic(
        raw=raw,
        signer=signer,
        nonce=decoded["nonce"],
        pallet=call["call_module"],
        function=call["call_function"],
        arguments=arguments,
        last_block=birth + period - 1 if period else None,
    )


def _era(decoded: Mapping[str, Any], head: int) -> tuple[int, int]:
    """Return the first block of the era and its length; (0, 0): it has none."""
    if decoded["era"] == _IMMORTAL:
        return 0, 0
    period, phase = decoded["era"]
    return (max(head, phase) - phase) // period * period + phase, period


def _signed_payload(
    call: bytes, decoded: Mapping[str, Any], runtime: ChainRuntime, ancestry: Ancestry, birth: int
) -> bytes:
    """Return the bytes that the signer must have signed, including the era's first block."""
    is_mortal = decoded["era"] != _IMMORTAL
    era: Any = {"period": decoded["era"][0], "current": birth} if is_mortal else _IMMORTAL
    era_hash = ancestry.hash_of(birth) if is_mortal else ancestry.genesis_hash
    if era_hash is None:
        raise InvalidTransactionError("Transaction has an ancient birth block")
    return bytes(
        runtime.codec.signature_payload(
            call,
            era=era,
            nonce=decoded["nonce"],
            tip=decoded["tip"],
            tip_asset_id=None,
            genesis_hash=bytes.fromhex(ancestry.genesis_hash[2:]),
            era_block_hash=bytes.fromhex(era_hash[2:]),
            metadata_hash=None,
        )
    )
