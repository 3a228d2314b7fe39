"""What is read of the chain and submitted to it, whether one node answers or several do."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import msgspec

from gaia.validator.core.chain.answers import MISREAD, metagraph_of
from gaia.validator.core.chain.epochs import EpochSchedule
from gaia.validator.core.weights.preflight import impossible
from gaia.validator.utils.borders import Party, border
from gaia.validator.utils.chain.metagraph import RAO_PER_TOKEN
from gaia.validator.utils.errors import GaiaError, ItemMissing, SubnetMissing, TransientError
from gaia.validator.utils.identities import Hotkey
from gaia.validator.utils.secrecy import without_secrets

if TYPE_CHECKING:
    import bittensor as bt

    from gaia.validator.utils.chain.metagraph import Metagraph

SUBTENSOR: Final = "SubtensorModule"
"""The pallet of subnets, neurons and weights."""
SETTLING_BLOCKS: Final = 3
"""Blocks after which a submission of unknown outcome must have shown on chain."""
_SCHEDULE = {
    "SubnetEpochIndex": "index",
    "LastEpochBlock": "last_epoch_block",
    "PendingEpochAt": "pending_epoch_at",
    "Tempo": "tempo",
    "BlocksSinceLastStep": "blocks_since_last_step",
}
"""Storage item -> field of `EpochSchedule`."""


class ChainReader(ABC):
    """The chain, as one node or several tell it.

    A call raises `TransientError` if the chain cannot be reached, refuses, or sends an invalid
    answer. No call raises `ConfigurationError`, because one answer is no reason to end.
    """

    @property
    @abstractmethod
    def is_confirmed(self) -> bool:
        """Whether several nodes answer and none contradicts the others, or the operator has named one node only.

        Only then may an answer end the validator, or undo what is known to be on chain.
        """

    @abstractmethod
    async def head(self) -> int:
        """Return the number of the newest block."""

    @abstractmethod
    async def graph(self, netuid: int, block: int | None = None) -> Any:
        """Return the whole subnet as the runtime tells it, after `block` or the newest one; None: there is none."""

    @abstractmethod
    async def query(
        self, item: str, *parameters: Any, block: int | None = None, pallet: str = SUBTENSOR
    ) -> Any:
        """Return a value of storage after `block`, or after the newest one."""

    @abstractmethod
    async def time_of(self, block: int) -> datetime:
        """Return the time that a block tells."""

    @abstractmethod
    async def events(self, block: int) -> Any:
        """Return the events of `block`, as the SDK tells them."""

    @abstractmethod
    async def block_hash_of(self, block: int) -> str:
        """Return the hash of `block`; "" if the node does not know it."""

    @abstractmethod
    async def submit(self, call: Any, wallet: bt.Wallet, schedule: EpochSchedule) -> bt.ExtrinsicResult:
        """Sign one call with the hotkey and submit it; it can be included in the schedule's epoch only."""

    @abstractmethod
    async def wait_blocks(self, count: int = SETTLING_BLOCKS) -> None:
        """Wait for so many further blocks; by default, until a submission of unknown outcome must have shown."""

    async def metagraph(self, netuid: int, own_hotkey: str) -> Metagraph:
        """Return the whole subnet at one block.

        Raises
        ------
        SubnetMissing
            If the chain says that the subnet does not exist.
        """
        graph = await self.graph(netuid)
        if graph is None:
            raise SubnetMissing(f"the chain says that subnet {netuid} does not exist")
        with understanding("the metagraph"):
            block = int(graph["block"])
        schedule, threshold, mechanisms = await asyncio.gather(
            self.schedule(netuid, block),
            self._known("StakeThreshold", 0, block=block),
            self._known("MechanismCountCurrent", 1, netuid, block=block),
        )
        with understanding("the metagraph"):
            return msgspec.structs.replace(
                metagraph_of(graph, schedule, netuid, own_hotkey),
                stake_threshold=int(threshold) / RAO_PER_TOKEN,
                mechanisms=int(mechanisms),
            )

    async def _known(self, item: str, otherwise: Any, *parameters: Any, block: int) -> Any:
        """Return a value of storage; `otherwise` if the runtime does not have the item."""
        try:
            return await self.query(item, *parameters, block=block)
        except ItemMissing:
            return otherwise

    async def schedule(self, netuid: int, block: int) -> EpochSchedule:
        """Return the subnet's epochs after `block`."""
        read = [self.query(item, netuid, block=block) for item in _SCHEDULE]
        values = await asyncio.gather(*read)
        with understanding("the epochs"):
            numbers = {field: int(value) for field, value in zip(_SCHEDULE.values(), values, strict=True)}
            return EpochSchedule(block=block, **numbers)

    async def nonce(self, address: str, block: int | None = None) -> int:
        """Return the number of extrinsics of an account that blocks include.

        Those that wait in a pool do not count: a second signature for the same number excludes the first.
        """
        account = await self.query("Account", address, block=block, pallet="System")
        with understanding("our account"):
            return int(account["nonce"])

    async def own_uid_of(self, netuid: int, hotkey: Hotkey, block: int | None = None) -> int:
        uid = await self.query("Uids", netuid, hotkey, block=block)
        if uid is None:
            words = f"the chain says that hotkey {hotkey} is not registered on subnet {netuid}"
            raise impossible("HotKeyNotRegisteredInSubNet", words)
        with understanding("our uid"):
            return int(uid)

    async def last_update(self, netuid: int, uid: int, block: int | None = None) -> int:
        updates = await self.query("LastUpdate", netuid, block=block)
        with understanding("the blocks of last updates"):
            return int(updates[uid])

    async def pairs(self, netuid: int, uid: int, block: int | None = None) -> list[list[int]]:
        pairs = await self.query("Weights", netuid, uid, block=block)
        with understanding("our weights"):
            return [[int(target), int(weight)] for target, weight in pairs]


@contextmanager
def understanding(what: str) -> Iterator[None]:
    """Translate errors about the shape of an answer to `TransientError`, because the next may be valid."""
    with border(Party.CHAIN, f"reading {what}"):
        try:
            yield
        except GaiaError:
            raise
        except MISREAD as error:
            raise TransientError(f"the chain's answer about {what} is invalid: {text_of(error)}") from error


def text_of(error: BaseException) -> str:
    """Return what an error of the SDK says; the address of a node in it may hold a key."""
    return without_secrets(f"{type(error).__name__}: {error}")[:300]
