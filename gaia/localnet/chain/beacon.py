"""The pulses of the drand beacon, as the chain stores them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from gaia.localnet.chain.storage import ChainStorage

KNOWN_ROUND: Final = 1000
"""The one round whose signature this chain knows. Commits are sealed for it, whatever round they name."""
KNOWN_SIGNATURE: Final = (
    "b44679b9a59af2ec876b1a6b1ad52ea9b1615fc3982b19576350f93447cb1125e342b73a8dd2bacbe47e4b6b63ed5e39"
)
"""Signature that drand's quicknet published for round 1000."""
KEPT_ROUNDS: Final = 256
_GENESIS_MS = 1_692_803_367_000
_PERIOD_MS = 3000
_PALLET = "Drand"


def latest_round(now_ms: int) -> int:
    """Return the newest round that is published at a Unix time in milliseconds."""
    return max(0, (now_ms - _GENESIS_MS) // _PERIOD_MS + 1)


class Beacon:
    """Stores each round once its time has come, with the signature of `KNOWN_ROUND`."""

    def __init__(self, storage: ChainStorage) -> None:
        self._storage = storage
        self._lost: set[int] = set()
        self.is_silent = False
        """Whether no pulse arrives any more."""

    def lose(self, number: int) -> None:
        """Forget the pulse of a round, or never get it."""
        self._lost.add(number)
        self._storage.remove("Pulses", number, pallet=_PALLET)

    def publish(self, number: int) -> None:
        """Count a round as the newest that the chain knows."""
        self._storage.write("LastStoredRound", value=number, pallet=_PALLET)

    def store(self, now_ms: int) -> None:
        """Store the rounds that were published since the last call; remove old ones."""
        if self.is_silent:
            return
        latest, last = latest_round(now_ms), self._read("LastStoredRound")
        first = max(last, latest - KEPT_ROUNDS) + 1 if last else latest
        for number in range(first, latest + 1):
            if number not in self._lost:
                pulse = {"round": number, "randomness": "0x" + "00" * 32, "signature": "0x" + KNOWN_SIGNATURE}
                self._storage.write("Pulses", number, value=pulse, pallet=_PALLET)
        if latest > last:
            self._storage.write("LastStoredRound", value=latest, pallet=_PALLET)
        oldest = self._read("OldestStoredRound") or first
        for number in range(oldest, latest - KEPT_ROUNDS + 1):
            self._storage.remove("Pulses", number, pallet=_PALLET)
        oldest = max(oldest, latest - KEPT_ROUNDS + 1)
        self._storage.write("OldestStoredRound", value=oldest, pallet=_PALLET)

    def has(self, number: int) -> bool:
        """Return whether the pulse of a round is stored."""
        return self._storage.read("Pulses", number, pallet=_PALLET) is not None

    def _read(self, item: str) -> int:
        return int(self._storage.read(item, pallet=_PALLET))
