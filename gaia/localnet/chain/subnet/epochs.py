"""The epochs of the subnet, counted block by block as the runtime does."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gaia.localnet.chain.storage import ChainStorage

_MAX_TEMPO = 50_400


class Epochs:
    """Counter and schedule of one subnet's epochs, in the chain's storage."""

    def __init__(self, storage: ChainStorage, netuid: int) -> None:
        self._storage = storage
        self._netuid = netuid

    def found(self, block: int) -> None:
        """Begin the first epoch in `block`; a chain that continues an earlier one repeats no index."""
        tempo = self._read("Tempo")
        self._write("LastEpochBlock", block)
        self._write("SubnetEpochIndex", block // tempo if tempo else 0)

    def present(self, block: int) -> int:
        """Return the epoch to which commits and reveals in `block` belong.

        The counter is raised after the commits of a block are revealed; an epoch that is due counts before.
        """
        return self._read("SubnetEpochIndex") + self._is_due(block)

    def step(self, block: int) -> bool:
        """Begin the next epoch if it is due in `block`; return whether it began."""
        self._write("BlocksSinceLastStep", self._read("BlocksSinceLastStep") + 1)
        if not self._is_due(block):
            return False
        self._write("BlocksSinceLastStep", 0)
        self._write("LastEpochBlock", block)
        self._write("PendingEpochAt", 0)
        self._write("SubnetEpochIndex", self._read("SubnetEpochIndex") + 1)
        return True

    def next_start(self) -> int:
        """Return the block in which the next epoch is expected, as the runtime's API tells it."""
        regular = self._read("LastEpochBlock") + self._read("Tempo")
        pending = self._read("PendingEpochAt")
        return min(regular, pending) if pending else regular

    def _is_due(self, block: int) -> bool:
        tempo, pending = self._read("Tempo"), self._read("PendingEpochAt")
        if not tempo:
            return False
        if 0 < pending <= block or self._read("BlocksSinceLastStep") > _MAX_TEMPO:
            return True
        return block - self._read("LastEpochBlock") >= tempo

    def _read(self, item: str) -> int:
        return int(self._storage.read(item, self._netuid))

    def _write(self, item: str, value: int) -> None:
        self._storage.write(item, self._netuid, value=value)
