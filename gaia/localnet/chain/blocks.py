"""Checks extrinsics, applies them and seals them into blocks, as a real node does."""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import bittensor_core

from gaia.localnet.chain.calls import DispatchError, Event
from gaia.localnet.chain.pallet import ChainNeuron, SubnetRules, SubtensorPallet
from gaia.localnet.chain.storage import ChainStorage

if TYPE_CHECKING:
    from gaia.localnet.chain.runtime import ChainRuntime

KEPT_HASHES = 4096
KEPT_BLOCKS = 128
_NO_PARENT = "0x" + "00" * 32
_INFO = {"weight": {"ref_time": 10**8, "proof_size": 0}, "class": "Normal", "pays_fee": "No"}
_FUNDED = {"free": 10**15, "reserved": 0, "frozen": 0, "flags": 1 << 127}


class InvalidTransactionError(Exception):
    """The pool refuses the extrinsic; the message is the real node's."""


class AlreadyImportedError(InvalidTransactionError):
    """The pool has the same extrinsic already."""


class StateDiscardedError(Exception):
    """The block is older than the kept ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Extrinsic:
    """A signed extrinsic with a valid signature, nonce and era."""

    raw: bytes
    signer: str
    nonce: int
    pallet: str
    function: str
    arguments: Mapping[str, Any]

    @property
    def hash(self) -> str:
        return _digest(self.raw)


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A sealed block with the state after it."""

    number: int
    hash: str
    header: Mapping[str, Any]
    extrinsics: tuple[str, ...]
    state: Mapping[bytes, bytes]


class BlockChain:
    """One chain without forks, whose head is final; it keeps the last `KEPT_BLOCKS` blocks.

    Parameters
    ----------
    first_block
        Number of the first block; above 0 for a chain that continues an earlier one.
    """

    def __init__(
        self,
        runtime: ChainRuntime,
        rules: SubnetRules,
        neurons: Sequence[ChainNeuron],
        first_block: int = 0,
    ) -> None:
        self.runtime = runtime
        self.storage = ChainStorage(runtime)
        self.pallet = SubtensorPallet(self.storage, rules.netuid, lambda: self._number)
        self.rules = rules
        self._first_block = first_block
        self._number = 0
        self._hashes: deque[str] = deque(maxlen=KEPT_HASHES)
        self._blocks: OrderedDict[str, Block] = OrderedDict()
        self._pool: list[Extrinsic] = []
        self.submitted: deque[tuple[int, Extrinsic]] = deque(maxlen=KEPT_HASHES)
        """(Epoch of the next block, extrinsic) of all that the pool took, oldest first."""
        self.pallet.found(rules, neurons, first_block)
        for neuron in neurons:
            for address in (neuron.hotkey, neuron.coldkey):
                self._write_account(address, {"nonce": 0, "providers": 1, "data": _FUNDED})
        self.genesis_hash = self.seal().hash

    @property
    def head(self) -> Block:
        return self._blocks[self._hashes[-1]]

    @property
    def epoch(self) -> int:
        """Epoch to which the calls of the next block belong."""
        return self.pallet.weights.epochs.present(self._number + 1)

    def block(self, block_hash: str | None) -> Block:
        """Return a block by its hash; None means the head.

        Raises
        ------
        StateDiscardedError
            If it is no longer kept.
        """
        if block_hash is None:
            return self.head
        if block_hash not in self._blocks:
            raise StateDiscardedError(block_hash)
        return self._blocks[block_hash]

    def hash_of(self, number: int) -> str | None:
        """Return the hash of block `number`; None if it does not exist yet or is not kept."""
        if number == 0:
            return self.genesis_hash
        back = self.head.number - number
        return self._hashes[-1 - back] if 0 <= back < len(self._hashes) else None

    def next_nonce(self, address: str) -> int:
        """Return the nonce for the next extrinsic, counting those in the pool."""
        waiting = sum(extrinsic.signer == address for extrinsic in self._pool)
        return int(self.storage.read("Account", address, pallet="System")["nonce"]) + waiting

    def submit(self, raw: bytes) -> Extrinsic:
        """Check a signed extrinsic and queue it for the next block.

        Raises
        ------
        InvalidTransactionError
            For a wrong nonce, era or signature; `AlreadyImportedError` for one that waits already.
        """
        if any(waiting.raw == raw for waiting in self._pool):
            raise AlreadyImportedError(_digest(raw))
        extrinsic = self._checked(raw)
        self._pool.append(extrinsic)
        self.submitted.append((self.epoch, extrinsic))
        return extrinsic

    def seal(self) -> Block:
        """Apply the extrinsics of the pool in order of arrival; return the new block."""
        waiting, self._pool = self._pool, []
        parent = self._hashes[-1] if self._hashes else _NO_PARENT
        self._number = self.head.number + 1 if self._hashes else self._first_block
        now_ms = int(time.time() * 1000)
        self.storage.write("Number", value=self._number, pallet="System")
        self.storage.write("Now", value=now_ms, pallet="Timestamp")
        events = [_event(None, event) for event in self.pallet.weights.begin_block()] if self._hashes else []
        self.pallet.weights.beacon.store(now_ms)
        body = [self._inherent(now_ms)]
        mandatory = {"dispatch_info": _INFO | {"class": "Mandatory"}}
        events.append(_event(0, ("System", "ExtrinsicSuccess", mandatory)))
        for index, extrinsic in enumerate(waiting, start=1):
            body.append(extrinsic.raw)
            events += [_event(index, event) for event in self._apply(extrinsic)]
        self.storage.write("Events", value=events, pallet="System")
        block = self._sealed(parent, body)
        self._hashes.append(block.hash)
        self._blocks[block.hash] = block
        while len(self._blocks) > KEPT_BLOCKS:
            self._blocks.popitem(last=False)
        return block

    def _apply(self, extrinsic: Extrinsic) -> list[tuple[str, str, Any]]:
        account = self.storage.read("Account", extrinsic.signer, pallet="System")
        self._write_account(extrinsic.signer, account | {"nonce": account["nonce"] + 1})
        before = self.storage.snapshot()
        try:
            events = self._dispatched(extrinsic)
        except DispatchError as refusal:
            self.storage.restore(before)
            error = self.runtime.module_error(refusal.pallet, refusal.name)
            return [("System", "ExtrinsicFailed", {"dispatch_error": error, "dispatch_info": _INFO})]
        return [*events, ("System", "ExtrinsicSuccess", {"dispatch_info": _INFO})]

    def _dispatched(self, extrinsic: Extrinsic) -> list[Event]:
        if extrinsic.pallet not in ("SubtensorModule", "AdminUtils"):
            raise DispatchError("CallFiltered", "System")
        return self.pallet.dispatch(extrinsic.signer, extrinsic.function, extrinsic.arguments)

    def _checked(self, raw: bytes) -> Extrinsic:
        try:
            decoded = self.runtime.codec.decode_extrinsic(raw, True)
            call = decoded["call"]
            arguments = {argument["name"]: argument["value"] for argument in call["call_args"]}
            encoded = self.runtime.compose_call(call["call_module"], call["call_function"], arguments)
            signer, signature = decoded["address"], bytes.fromhex(decoded["signature"]["Sr25519"][2:])
        except (ValueError, KeyError, TypeError) as error:
            raise InvalidTransactionError("Transaction call is not expected") from error
        if decoded["nonce"] < self.next_nonce(signer):
            raise InvalidTransactionError("Transaction is outdated")
        if decoded["nonce"] > self.next_nonce(signer):
            raise InvalidTransactionError("Transaction will be valid in the future")
        payload = self._signed_payload(encoded, decoded)
        if not bittensor_core.verify(payload, signature, signer, bittensor_core.CRYPTO_SR25519):
            raise InvalidTransactionError("Transaction has a bad signature")
        return Extrinsic(
            raw=raw,
            signer=signer,
            nonce=decoded["nonce"],
            pallet=call["call_module"],
            function=call["call_function"],
            arguments=arguments,
        )

    def _signed_payload(self, call: bytes, decoded: Mapping[str, Any]) -> bytes:
        """Return the bytes that the signer must have signed, including the era's birth block."""
        era: Any = "00"
        era_hash: str | None = self.genesis_hash
        if decoded["era"] != "00":
            period, phase = decoded["era"]
            birth = (max(self.head.number, phase) - phase) // period * period + phase
            era, era_hash = {"period": period, "current": birth}, self.hash_of(birth)
        if era_hash is None:
            raise InvalidTransactionError("Transaction has an ancient birth block")
        return bytes(
            self.runtime.codec.signature_payload(
                call,
                era=era,
                nonce=decoded["nonce"],
                tip=decoded["tip"],
                tip_asset_id=None,
                genesis_hash=bytes.fromhex(self.genesis_hash[2:]),
                era_block_hash=bytes.fromhex(era_hash[2:]),
                metadata_hash=None,
            )
        )

    def _inherent(self, now_ms: int) -> bytes:
        body = b"\x04" + self.runtime.compose_call("Timestamp", "set", {"now": now_ms})
        return self.runtime.encode("Compact", len(body)) + body

    def _sealed(self, parent: str, body: Sequence[bytes]) -> Block:
        """Return the new block; its hash is that of the SCALE header, which some clients recompute."""
        state = self.storage.snapshot()
        state_root = _digest(b"".join(key + state[key] for key in sorted(state)))
        extrinsics_root = _digest(b"".join(body))
        header = {
            "parentHash": parent,
            "number": hex(self._number),
            "stateRoot": state_root,
            "extrinsicsRoot": extrinsics_root,
            "digest": {"logs": []},
        }
        number = self.runtime.encode("Compact", self._number)
        roots = bytes.fromhex(state_root[2:] + extrinsics_root[2:])
        return Block(
            number=self._number,
            hash=_digest(bytes.fromhex(parent[2:]) + number + roots + b"\x00"),
            header=header,
            extrinsics=tuple("0x" + extrinsic.hex() for extrinsic in body),
            state=state,
        )

    def _write_account(self, address: str, account: Mapping[str, Any]) -> None:
        value = {"consumers": 0, "sufficients": 0} | dict(account)
        self.storage.write("Account", address, value=value, pallet="System")


def _event(extrinsic_index: int | None, event: tuple[str, str, Any]) -> dict[str, object]:
    """Return an event of an extrinsic; None: of the beginning of the block."""
    pallet, name, attributes = event
    phase = "Initialization" if extrinsic_index is None else {"ApplyExtrinsic": extrinsic_index}
    return {"phase": phase, "event": {pallet: {name: attributes}}, "topics": []}


def _digest(data: bytes) -> str:
    return "0x" + blake2b(data, digest_size=32).hexdigest()
