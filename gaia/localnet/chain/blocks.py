"""Checks extrinsics, applies them and seals them into blocks, as a real node does."""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from gaia.localnet.chain.calls import DispatchError, Event
from gaia.localnet.chain.extrinsics import Ancestry, Extrinsic, InvalidTransactionError, read_extrinsic
from gaia.localnet.chain.pallet import ChainNeuron, SubnetRules, SubtensorPallet
from gaia.localnet.chain.pool import Pool
from gaia.localnet.chain.storage import ChainStorage

if TYPE_CHECKING:
    from gaia.localnet.chain.runtime import ChainRuntime

KEPT_HASHES = 4096
KEPT_BLOCKS = 128
_NO_PARENT = "0x" + "00" * 32
_REMARKS = frozenset({"remark", "remark_with_event"})
"""Calls of the system's pallet that everybody may make, and that change nothing."""
_INFO = {"weight": {"ref_time": 10**8, "proof_size": 0}, "class": "Normal", "pays_fee": "No"}
_FUNDED = {"free": 10**15, "reserved": 0, "frozen": 0, "flags": 1 << 127}


class StateDiscardedError(Exception):
    """The block is older than the kept ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A sealed block with the state after it."""

    number: int
    hash: str
    header: Mapping[str, Any]
    extrinsics: tuple[str, ...]
    signed: tuple[Extrinsic, ...]
    """Those of them that an account signed."""
    state: Mapping[bytes, bytes]
    spec_version: int
    """Version of the runtime that makes the block after it."""


class BlockChain:
    """One chain, which keeps its last `KEPT_BLOCKS` blocks.

    Parameters
    ----------
    first_block
        Number of the first block; above 0 for a chain that continues an earlier one.
    finality_lag
        Number of newest blocks that are not final yet.
    """

    def __init__(
        self,
        runtime: ChainRuntime,
        rules: SubnetRules,
        neurons: Sequence[ChainNeuron],
        first_block: int = 0,
        finality_lag: int = 0,
    ) -> None:
        self.runtime = runtime
        self.storage = ChainStorage(runtime)
        self.pallet = SubtensorPallet(self.storage, rules.netuid, lambda: self._number)
        self.rules = rules
        self._first_block = first_block
        self._number = 0
        self._hashes: deque[str] = deque(maxlen=KEPT_HASHES)
        self._blocks: OrderedDict[str, Block] = OrderedDict()
        self._finality_lag = finality_lag
        self._final = first_block
        """Number of the newest final block."""
        self._pool = Pool(self._nonce_of, self._validate)
        self.refusals: deque[DispatchError] = deque()
        """What the next calls are refused with in their block, whatever they are."""
        self.dooms: deque[str] = deque()
        """Statuses with which the next extrinsics leave the pool instead of getting into a block."""
        self._next_spec: int | None = None
        """Version of the runtime that the next block brings; None: that of before."""
        self.fates: list[tuple[Extrinsic, str]] = []
        """(Extrinsic, status) of those that became ready, or left the pool without a block, since the last block."""
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
    def finalized(self) -> Block:
        """The newest block that stays for ever."""
        return self._blocks[self.hash_of(self._final) or self.genesis_hash]

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
        """Return the nonce for the next extrinsic, counting those that are ready in the pool."""
        return self._pool.next_nonce(address)

    def is_ready(self, extrinsic: Extrinsic) -> bool:
        """Return whether the next block may include an extrinsic of the pool."""
        return self._pool.is_ready(extrinsic)

    def pending(self) -> list[Extrinsic]:
        """Return the extrinsics that are ready, oldest first."""
        return [extrinsic for extrinsic in self._pool.waiting() if self._pool.is_ready(extrinsic)]

    def submit(self, raw: bytes) -> Extrinsic:
        """Check a signed extrinsic, and keep it for the next block, or until the numbers before its own have come.

        Raises
        ------
        InvalidTransactionError
            For a wrong nonce, era or signature, and for a call that the runtime refuses before any block;
            `AlreadyImportedError` for one that waits already.
        """
        self._pool.require_unknown(raw)
        ancestry = Ancestry(genesis_hash=self.genesis_hash, head=self.head.number, hash_of=self.hash_of)
        extrinsic = read_extrinsic(raw, self.runtime, ancestry)
        before = [other for other in self._pool.waiting() if not self._pool.is_ready(other)]
        self._pool.add(extrinsic)
        self.fates += [(other, "ready") for other in before if self._pool.is_ready(other)]
        self.submitted.append((self.epoch, extrinsic))
        return extrinsic

    def upgrade(self, spec_version: int) -> None:
        """Let the next block bring a runtime of another version, with the same calls and items.

        Signatures name the version, so that those of before are bad from then on.
        """
        self._next_spec = spec_version

    def retract(self, count: int, *, keep: bool = True) -> list[Block]:
        """Take the newest blocks back, as a fork does, and return them, newest first.

        Parameters
        ----------
        keep
            Whether their extrinsics return to the pool; else they are lost.

        Raises
        ------
        ValueError
            If one of them is final.
        """
        if count > self.head.number - self._final:
            raise ValueError(f"of the newest {count} blocks some are final")
        lost = [self._blocks.pop(self._hashes.pop()) for _ in range(count)]
        self.storage.restore(self.head.state)
        self._adopt(self.head.spec_version)
        self._number = self.head.number
        for block in reversed(lost):
            for extrinsic in block.signed:
                if keep:
                    self._pool.put_back(extrinsic)
        return lost

    def seal(self) -> Block:
        """Apply the extrinsics of the pool in order of arrival; return the new block."""
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
        signed: list[Extrinsic] = []
        while (extrinsic := self._next()) is not None:
            signed.append(extrinsic)
            body.append(extrinsic.raw)
            events += [_event(len(signed), event) for event in self._apply(extrinsic)]
        self.storage.write("Events", value=events, pallet="System")
        if self._next_spec is not None:
            self._adopt(self._next_spec)
            self._next_spec = None
        block = self._sealed(parent, body, signed)
        self._hashes.append(block.hash)
        self._blocks[block.hash] = block
        self._final = max(self._final, block.number - self._finality_lag)
        while len(self._blocks) > KEPT_BLOCKS:
            self._blocks.popitem(last=False)
        return block

    def _adopt(self, spec_version: int) -> None:
        """Change to the runtime of a version; nothing that waits is signed for it."""
        if spec_version != self.runtime.spec_version:
            self.runtime = self.runtime.of_version(spec_version)
            self.fates += [(extrinsic, "invalid") for extrinsic in self._pool.remove_all()]

    def _next(self) -> Extrinsic | None:
        """Take the next extrinsic of the pool that this block can include; forget those that none can."""
        self.fates += [(extrinsic, "invalid") for extrinsic in self._pool.remove_aged(self._number)]
        while (extrinsic := self._pool.pop()) is not None:
            if self.dooms:
                self.fates.append((extrinsic, self.dooms.popleft()))
                continue
            try:
                self._pool.require_valid(extrinsic)
            except InvalidTransactionError:
                self.fates.append((extrinsic, "invalid"))
            else:
                return extrinsic
        return None

    def _apply(self, extrinsic: Extrinsic) -> list[tuple[str, str, Any]]:
        account = self.storage.read("Account", extrinsic.signer, pallet="System")
        self._write_account(extrinsic.signer, account | {"nonce": account["nonce"] + 1})
        before = self.storage.snapshot()
        try:
            events = self._dispatched(extrinsic)
        except DispatchError as refusal:
            self.storage.restore(before)
            error = self.runtime.dispatch_error(refusal.pallet, refusal.name)
            return [("System", "ExtrinsicFailed", {"dispatch_error": error, "dispatch_info": _INFO})]
        return [*events, ("System", "ExtrinsicSuccess", {"dispatch_info": _INFO})]

    def _dispatched(self, extrinsic: Extrinsic) -> list[Event]:
        if self.refusals:
            raise self.refusals.popleft()
        if extrinsic.pallet == "System" and extrinsic.function in _REMARKS:
            return []
        if extrinsic.pallet not in ("SubtensorModule", "AdminUtils"):
            raise DispatchError("CallFiltered", "System")
        return self.pallet.dispatch(extrinsic.signer, extrinsic.function, extrinsic.arguments)

    def _nonce_of(self, address: str) -> int:
        return int(self.storage.read("Account", address, pallet="System")["nonce"])

    def _validate(self, extrinsic: Extrinsic) -> None:
        if extrinsic.pallet == "SubtensorModule":
            self.pallet.weights.validate(extrinsic.signer, extrinsic.function, extrinsic.arguments)

    def _inherent(self, now_ms: int) -> bytes:
        body = b"\x04" + self.runtime.compose_call("Timestamp", "set", {"now": now_ms})
        return self.runtime.encode("Compact", len(body)) + body

    def _sealed(self, parent: str, body: Sequence[bytes], signed: Sequence[Extrinsic]) -> Block:
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
            signed=tuple(signed),
            state=state,
            spec_version=self.runtime.spec_version,
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
