"""Weights that are committed as sealed vectors and revealed by the chain (commit-reveal, version 4)."""

from __future__ import annotations

import logging
from collections.abc import Callable
from hashlib import blake2b
from typing import TYPE_CHECKING, NamedTuple

import bittensor_core

from gaia.localnet.chain.beacon import KNOWN_SIGNATURE
from gaia.localnet.chain.calls import Arguments, DispatchError, Event
from gaia.localnet.chain.runtime import SS58_FORMAT
from gaia.validator.core.chain.timelock import opened

if TYPE_CHECKING:
    from gaia.localnet.chain.beacon import Beacon
    from gaia.localnet.chain.storage import ChainStorage
    from gaia.localnet.chain.subnet.epochs import Epochs

MOST_COMMITS = 10
"""Largest number of commits of one hotkey in one epoch."""
_COMMITS = "TimelockedWeightCommits"
_U16, _U64, _HOTKEY = 2, 8, 32
_log = logging.getLogger(__name__)


class _Commit(NamedTuple):
    hotkey: str
    block: int
    ciphertext: bytes
    round: int


class TimelockedCommits:
    """Queues of commits by epoch. A commit that cannot be revealed vanishes without an event, as in the runtime.

    Parameters
    ----------
    set_weights
        Sets revealed weights with the checks of the runtime.
    """

    def __init__(
        self,
        storage: ChainStorage,
        netuid: int,
        epochs: Epochs,
        beacon: Beacon,
        set_weights: Callable[[str, Arguments], list[Event]],
    ) -> None:
        self._storage = storage
        self._netuid = netuid
        self._epochs = epochs
        self._beacon = beacon
        self._set_weights = set_weights

    def add(self, hotkey: str, arguments: Arguments, block: int) -> list[Event]:
        """Append a commit to the queue of its epoch; the caller has checked who may commit."""
        epoch = self._epochs.present(block)
        queue = self._queue(epoch)
        if sum(commit.hotkey == hotkey for commit in queue) >= MOST_COMMITS:
            raise DispatchError("TooManyUnrevealedCommits")
        ciphertext = as_bytes(arguments["commit"])
        self._write(epoch, [*queue, _Commit(hotkey, block, ciphertext, arguments["reveal_round"])])
        digest = "0x" + blake2b(ciphertext, digest_size=32).hexdigest()
        told = [hotkey, self._netuid, digest, arguments["reveal_round"]]
        return [("SubtensorModule", "TimelockedWeightsCommitted", told)]

    def reveal(self, block: int) -> list[Event]:
        """Reveal the commits whose epoch has come, before the epoch's counter is raised; return the events."""
        present = self._epochs.present(block)
        due = present - int(self._storage.read("RevealPeriodEpochs", self._netuid))
        for epoch in range(max(0, due - MOST_COMMITS), due):
            self._storage.remove(_COMMITS, self._netuid, epoch)
        if due < 0:
            return []
        events: list[Event] = []
        waiting = []
        for commit in self._queue(due):
            if not self._beacon.has(commit.round):
                waiting.append(commit)  # tried again in each block of the epoch
                continue
            events += self._revealed(commit)
        self._write(due, waiting)
        return events

    def _revealed(self, commit: _Commit) -> list[Event]:
        before = self._storage.snapshot()
        try:
            vector = read_payload(opened(commit.ciphertext, KNOWN_SIGNATURE), commit.hotkey)
            events = self._set_weights(commit.hotkey, {**vector, "netuid": self._netuid, "mecid": 0})
        except (ValueError, DispatchError) as error:
            self._storage.restore(before)
            _log.info("a commit of %s in block %d vanished: %s", commit.hotkey, commit.block, error)
            return []
        return [*events, ("SubtensorModule", "TimelockedWeightsRevealed", [self._netuid, commit.hotkey])]

    def _queue(self, epoch: int) -> list[_Commit]:
        rows = self._storage.read(_COMMITS, self._netuid, epoch)
        return [_Commit(hotkey, block, as_bytes(sealed), number) for hotkey, block, sealed, number in rows]

    def _write(self, epoch: int, queue: list[_Commit]) -> None:
        if not queue:
            self._storage.remove(_COMMITS, self._netuid, epoch)
            return
        rows = [[each.hotkey, each.block, "0x" + each.ciphertext.hex(), each.round] for each in queue]
        self._storage.write(_COMMITS, self._netuid, epoch, value=rows)


def as_bytes(value: str) -> bytes:
    """Return bytes that the codec tells as hex, or as text where they happen to be text."""
    return bytes.fromhex(value[2:]) if value.startswith("0x") else value.encode()


def read_payload(data: bytes, committer: str) -> Arguments:
    """Return the arguments of a plain call from a payload in SCALE, which must name who committed it."""
    hotkey, rest = _vector(data, 1)
    uids, rest = _vector(rest, _U16)
    weights, rest = _vector(rest, _U16)
    if len(hotkey) != _HOTKEY or len(rest) != _U64:
        raise ValueError("the payload is not that of commit-reveal version 4")
    if bittensor_core.ss58_encode(bytes(hotkey), SS58_FORMAT) != committer:
        raise ValueError("the payload names another hotkey")
    return {"dests": uids, "weights": weights, "version_key": int.from_bytes(rest, "little")}


def _vector(data: bytes, size: int) -> tuple[list[int], bytes]:
    """Return the integers of a SCALE vector, and what follows it."""
    if not data:
        raise ValueError("the payload is too short")
    mode = data[0] & 3
    width = (1, 2, 4)[mode] if mode < 3 else 0
    count = int.from_bytes(data[:width], "little") >> 2
    end = width + count * size
    if not width or len(data) < end:
        raise ValueError("the payload is too short")
    return [int.from_bytes(data[at : at + size], "little") for at in range(width, end, size)], data[end:]
