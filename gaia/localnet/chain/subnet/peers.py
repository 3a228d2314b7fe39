"""Other validators of the subnet, who vote at the beginning of each epoch as ours did, or against it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from gaia.localnet.chain.storage import ChainStorage

_U16_MAX: Final = 65535


class Peers:
    """Votes of other validators, written as their extrinsics would.

    Parameters
    ----------
    uids
        Their uids.
    ours
        Uid of the validator whose weights they know; without weights of it they do not vote.
    turn_after
        Epochs after which they give all weight to the uid that our weights like least; 0: never.
    """

    def __init__(
        self, storage: ChainStorage, netuid: int, uids: Sequence[int], ours: int, turn_after: int = 0
    ) -> None:
        self._storage = storage
        self._netuid = netuid
        self._uids = uids
        self._ours = ours
        self._turn_after = turn_after
        self._votes = 0

    def vote(self, block: int) -> None:
        """Set weights in `block`, in which an epoch begins."""
        pairs = [
            [int(uid), int(weight)]
            for uid, weight in self._storage.read("Weights", self._netuid, self._ours)
            if weight
        ]
        if not pairs:
            return
        self._votes += 1
        if 0 < self._turn_after < self._votes:
            least = min(pairs, key=lambda pair: pair[1])
            pairs = [[least[0], _U16_MAX]]
        updates = [int(each) for each in self._storage.read("LastUpdate", self._netuid)]
        for uid in self._uids:
            self._storage.write("Weights", self._netuid, uid, value=pairs)
            updates[uid] = block
        self._storage.write("LastUpdate", self._netuid, value=updates)
