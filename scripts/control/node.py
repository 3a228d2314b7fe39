"""Reads one subnet from a node by plain JSON-RPC; keys and values are made and read by hand."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from websockets.exceptions import WebSocketException
from websockets.sync.client import connect

_PALLET = "658faa385070e074c85bf6b568cf0555"
_ITEMS = {
    "Weights": "a1e7036061f484bc3048a64b64e35ec4",
    "LastUpdate": "696e262a16e52255a69d8acd79354146",
    "ValidatorPermit": "56af5b07ace59da2c9d7f0d48bc93143",
    "Keys": "9f99a2ce711f3a31b2fc05604c93f179",
    "SubnetOwnerHotkey": "68b7553499633fe05caf4d8a51aefe5c",
    "SubnetworkN": "a1048e9d244171852dfe8db314dc68ca",
    "BlockAtRegistration": "5306000b65aa58c97bf98ad9f8619049",
    "Axons": "b4e0c7b1d5f74994fcd58c28ab601fec",
}
"""Item of SubtensorModule -> twox128 of its name; its storage keys begin with the pallet's and this."""
_ACTIVE_BLOCKS = 500
"""A validator that set weights within so many blocks earns nothing as a miner."""
_BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"


class Unreadable(Exception):
    """A file or a node cannot be read; the text says why."""


class Node:
    """One node of the chain."""

    def __init__(self, url: str) -> None:
        local = urlsplit(url).hostname in ("127.0.0.1", "localhost", "::1")
        try:
            self._socket = connect(url, open_timeout=20, max_size=2**26, proxy=None if local else True)
        except (OSError, WebSocketException) as error:
            raise Unreadable(f"the node does not answer: {error}") from error

    def _ask(self, method: str, *parameters: Any) -> Any:
        try:
            self._socket.send(json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": parameters}))
            answer = json.loads(self._socket.recv(timeout=60))
        except (OSError, WebSocketException, ValueError) as error:
            raise Unreadable(f"the node does not answer: {error}") from error
        if "error" in answer:
            raise Unreadable(f"{method}: {answer['error'].get('message')}; an archive node may know it")
        return answer["result"]

    def _read(self, block: int, wanted: Sequence[tuple[str, str]]) -> list[bytes]:
        """Return the value of each (item, rest of its key in hex) in `block`; b"" if there is none."""
        keys = [f"0x{_PALLET}{_ITEMS[item]}{rest}" for item, rest in wanted]
        block_hash = self._ask("chain_getBlockHash", block)
        if block_hash is None:
            raise Unreadable(f"the node has no block {block}")
        values = dict(map(tuple, self._ask("state_queryStorageAt", keys, block_hash)[0]["changes"]))
        return [bytes.fromhex((values.get(key) or "0x")[2:]) for key in keys]

    def subnet(self, netuid: int, block: int) -> tuple[list[list[Any]], str]:
        """Return [[uid, hotkey, whether it may earn], ...] and the owner's hotkey in `block`."""
        names = ("SubnetworkN", "SubnetOwnerHotkey", "LastUpdate", "ValidatorPermit")
        size, owner, updates, permits = self._read(block, [(name, _u16(netuid)) for name in names])
        uids = range(int.from_bytes(size, "little"))
        keys = self._read(block, [("Keys", _u16(netuid) + _u16(uid)) for uid in uids])
        hashed = [(hashlib.blake2b(key, digest_size=16).digest() + key).hex() for key in keys]
        axons = self._read(block, [("Axons", _u16(netuid) + key) for key in hashed])
        last = [_number(each) for each in _elements(updates, 8)]
        permit = [each == b"\x01" for each in _elements(permits, 1)]
        active = [permit[uid] and block - last[uid] < _ACTIVE_BLOCKS for uid in uids]
        neurons = [[uid, ss58(keys[uid]), _serves(axons[uid]) and not active[uid]] for uid in uids]
        # A subnet without an owner's hotkey has a key of zeros, or none.
        return neurons, ss58(owner) if any(owner) else ""

    def registrations(self, netuid: int, block: int, count: int) -> list[int]:
        """Return the block of registration of each of the first `count` uids in `block`."""
        wanted = [("BlockAtRegistration", _u16(netuid) + _u16(uid)) for uid in range(count)]
        return [_number(each) for each in self._read(block, wanted)]

    def weights(self, netuid: int, uid: int, block: int) -> list[list[int]]:
        """Return the [uid, u16] pairs that a validator's weights were in `block`."""
        (raw,) = self._read(block, [("Weights", _u16(netuid) + _u16(uid))])
        return [[_number(each[:2]), _number(each[2:])] for each in _elements(raw, 4)]


def ss58(key: bytes) -> str:
    """Return the address of a public key."""
    checked = b"\x2a" + key
    checked += hashlib.blake2b(b"SS58PRE" + checked).digest()[:2]
    number, text = int.from_bytes(checked, "big"), ""
    while number:
        number, digit = divmod(number, 58)
        text = _BASE58[digit] + text
    return text


def _serves(axon: bytes) -> bool:
    """Return whether an axon names an IPv4 address: block u64, version u32, ip u128, port u16, ip_type u8."""
    return 0 < _number(axon[12:28]) < 2**32 and _number(axon[28:30]) > 0 and _number(axon[30:31]) == 4


def _u16(value: int) -> str:
    return value.to_bytes(2, "little").hex()


def _number(raw: bytes) -> int:
    return int.from_bytes(raw, "little")


def _elements(raw: bytes, size: int) -> list[bytes]:
    """Return the elements, of `size` bytes each, of a vector, which begins with its compact length."""
    begin = (1, 2, 4)[raw[0] & 3] if raw else 0
    return [raw[at : at + size] for at in range(begin, len(raw), size)]
