"""Reads the state of the local chain by RPC, and decodes it with the runtime's metadata."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from websockets.asyncio.client import ClientConnection, connect

from gaia.localnet.chain.runtime import ChainRuntime

_PALLET = "SubtensorModule"
_TIMEOUT_S = 20.0
_Key = tuple[str, tuple[Any, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainReading:
    """State of one subnet at one block."""

    block: int
    neurons: tuple[Mapping[str, Any], ...]
    """Rows by uid: uid, hotkey, ip ("" without an axon), port, validator_permit, last_update, registered_at."""
    owner_hotkey: str
    weights: Mapping[int, tuple[tuple[int, int], ...]]
    """Uid -> the (uid, u16) pairs that this neuron has set."""

    def uid_of(self, hotkey: str) -> int | None:
        """Return the slot of `hotkey`; None if it is not registered."""
        return next((neuron["uid"] for neuron in self.neurons if neuron["hotkey"] == hotkey), None)


async def read_chain(url: str, netuid: int) -> ChainReading:
    """Return the state of subnet `netuid`, read from the node at `url`.

    Raises
    ------
    OSError
        If the node cannot be reached.
    ValueError
        If the node answers with an error.
    """
    runtime = ChainRuntime.load()
    # The node is on this machine, which a proxy of the environment cannot reach.
    async with connect(
        url, open_timeout=_TIMEOUT_S, max_size=2**26, compression=None, proxy=None
    ) as connection:
        head = (await _ask(connection, [("chain_getHead", [])]))[0]
        header = (await _ask(connection, [("chain_getHeader", [head])]))[0]
        reader = _Storage(connection, runtime, head)
        size = (await reader.read([("SubnetworkN", (netuid,))]))[0]
        owner, permits, updates = await reader.read(
            [(name, (netuid,)) for name in ("SubnetOwnerHotkey", "ValidatorPermit", "LastUpdate")]
        )
        hotkeys = await reader.read([("Keys", (netuid, uid)) for uid in range(size)])
        axons = await reader.read([("Axons", (netuid, hotkey)) for hotkey in hotkeys])
        registered = await reader.read([("BlockAtRegistration", (netuid, uid)) for uid in range(size)])
        weights = await reader.read([("Weights", (netuid, uid)) for uid in range(size)])
    neurons = tuple(
        {"uid": uid, "hotkey": hotkeys[uid], **_axon(axons[uid]), "validator_permit": permits[uid]}
        | {"last_update": updates[uid], "registered_at": registered[uid]}
        for uid in range(size)
    )
    return ChainReading(
        block=int(header["number"], 16),
        neurons=neurons,
        owner_hotkey=owner,
        weights={uid: _pairs(weights[uid]) for uid in range(size) if weights[uid]},
    )


class _Storage:
    """Typed access to the storage of one block."""

    def __init__(self, connection: ClientConnection, runtime: ChainRuntime, block_hash: str) -> None:
        self._connection = connection
        self._runtime = runtime
        self._block_hash = block_hash

    async def read(self, keys: Sequence[_Key]) -> list[Any]:
        """Return the value of each (item, parameters), read in one batch; None if never written."""
        calls = [
            (
                "state_getStorage",
                ["0x" + self._runtime.storage_key(_PALLET, item, parameters).hex(), self._block_hash],
            )
            for item, parameters in keys
        ]
        answers = await _ask(self._connection, calls)
        return [self._decoded(item, raw) for (item, _), raw in zip(keys, answers, strict=True)]

    def _decoded(self, item: str, raw: str | None) -> Any:
        entry = self._runtime.storage_entry(_PALLET, item)
        if raw is not None:
            return self._runtime.decode(entry.value_type, bytes.fromhex(raw[2:]))
        if entry.modifier == "Optional":
            return None
        return self._runtime.decode(entry.value_type, bytes(entry.default_bytes))


async def _ask(connection: ClientConnection, calls: Sequence[tuple[str, list[Any]]]) -> list[Any]:
    """Send one batch of calls; return their results in order."""
    if not calls:
        return []
    batch = [
        {"jsonrpc": "2.0", "id": number, "method": method, "params": parameters}
        for number, (method, parameters) in enumerate(calls)
    ]
    await connection.send(json.dumps(batch))
    answers = {answer["id"]: answer for answer in json.loads(await connection.recv())}
    for number, (method, _) in enumerate(calls):
        if "error" in answers[number]:
            raise ValueError(f"{method}: {answers[number]['error'].get('message')}")
    return [answers[number]["result"] for number in range(len(calls))]


def _axon(axon: Mapping[str, Any] | None) -> dict[str, object]:
    if not axon or not axon["ip"] or not axon["port"]:
        return {"ip": "", "port": 0}
    return {"ip": str(ipaddress.IPv4Address(int(axon["ip"]))), "port": int(axon["port"])}


def _pairs(vector: Sequence[Sequence[int]]) -> tuple[tuple[int, int], ...]:
    return tuple(sorted((int(uid), int(weight)) for uid, weight in vector))
