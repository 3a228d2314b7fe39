"""The only connection to the chain: reads storage and the metagraph, and submits calls."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

import bittensor as bt
import structlog

from gaia.validator.core.chain.answers import MISREAD, metagraph_of
from gaia.validator.core.chain.deadline import started, within
from gaia.validator.core.chain.epochs import EpochSchedule
from gaia.validator.utils.borders import Party, border
from gaia.validator.utils.errors import DeadlineExceeded, GaiaError, SubnetMissing, TransientError
from gaia.validator.utils.identities import Hotkey
from gaia.validator.utils.secrecy import without_secrets

if TYPE_CHECKING:
    from gaia.validator.utils.signer_messages import Metagraph

_SETTLING_BLOCKS = 3
_LONGEST_CONNECT_S = 15.0
_CLOSE_S = 1.0
_SCHEDULE = {
    "SubnetEpochIndex": "index",
    "LastEpochBlock": "last_epoch_block",
    "PendingEpochAt": "pending_epoch_at",
    "Tempo": "tempo",
    "BlocksSinceLastStep": "blocks_since_last_step",
}
"""Storage item -> field of `EpochSchedule`."""
_METAGRAPH = ("SubnetInfoRuntimeApi", "get_metagraph")
_PALLET = "SubtensorModule"
_Answer = TypeVar("_Answer")
log = structlog.get_logger(__name__)


class ChainClient:
    """One long-lived connection; each call has the same time limit.

    A call raises `TransientError` if the chain cannot be reached, refuses, or sends an invalid
    answer. It raises the subclass `DeadlineExceeded` if no answer came in time. No call raises
    `ConfigurationError`, because one answer of one node is no reason to end. After a failed call
    `is_broken` is true: close the client and connect again.
    """

    def __init__(self, client: bt.Client, timeout_s: float) -> None:
        self._client = client
        self._timeout_s = timeout_s
        self._made_at = time.monotonic()
        self.is_broken = False

    @classmethod
    async def connect(cls, endpoint: str, timeout_s: float) -> ChainClient:
        """Open a connection to the node at `endpoint`, a websocket URL."""
        chain = cls(bt.Client(endpoint), timeout_s)
        try:
            await chain.call(f"connecting to {endpoint}", chain._client.connect(), _LONGEST_CONNECT_S)
        except BaseException:
            # The SDK goes on to connect by itself.
            await chain.close()
            raise
        return chain

    @property
    def age_s(self) -> float:
        """Seconds since the connection was made."""
        return time.monotonic() - self._made_at

    async def close(self) -> None:
        """Close the connection, without waiting for a peer that does not answer."""
        try:
            await started(_CLOSE_S, self._client.close())
        except Exception as error:  # noqa: BLE001 - the SDK raises here the error that broke the connection
            log.debug("connection_close_failed", error=f"{type(error).__name__}: {error}")
            self.is_broken = True

    async def metagraph(self, netuid: int, own_hotkey: str) -> Metagraph:
        """Return the whole subnet at one block.

        Raises
        ------
        SubnetMissing
            If the chain says that the subnet does not exist.
        """
        graph = await self.call("reading the metagraph", self._client.runtime(_METAGRAPH, [netuid]))
        if graph is None:
            raise SubnetMissing(f"the chain says that subnet {netuid} does not exist")
        with understanding("the metagraph"):
            block = int(graph["block"])
        schedule = await self.schedule(netuid, block)
        with understanding("the metagraph"):
            return metagraph_of(graph, schedule, netuid, own_hotkey)

    async def schedule(self, netuid: int, block: int) -> EpochSchedule:
        """Return the subnet's epochs after `block`."""
        read = [self.query(item, netuid, block=block) for item in _SCHEDULE]
        values = await asyncio.gather(*read)
        with understanding("the epochs"):
            numbers = {field: int(value) for field, value in zip(_SCHEDULE.values(), values, strict=True)}
            return EpochSchedule(block=block, **numbers)

    async def head(self) -> int:
        """Return the number of the newest block."""
        head = await self.call("reading the newest block's number", self._client.block())
        with understanding("the newest block's number"):
            return int(head)

    async def time_of(self, block: int) -> datetime:
        """Return the time that a block tells."""
        return await self.call(f"reading the time of block {block}", self._client.timestamp(block))

    async def submit(self, call: Any, wallet: bt.Wallet, era_blocks: int) -> bt.ExtrinsicResult:
        """Sign one call with the hotkey and submit it; it can be included in the next `era_blocks` blocks only."""
        submission = self._client.submit_call(call, wallet, signer="hotkey", period=era_blocks)
        return await self.call("submitting the weights", submission)

    async def own_uid_of(self, netuid: int, hotkey: Hotkey, block: int | None = None) -> int:
        uid = await self.query("Uids", netuid, hotkey, block=block)
        if uid is None:
            raise TransientError(f"the chain says that hotkey {hotkey} is not registered on subnet {netuid}")
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

    async def events(self, block: int) -> Any:
        """Return the events of `block`, as the SDK tells them."""
        query = self._client.query(("System", "Events"), [], block=block)
        return await self.call(f"reading the events of block {block}", query)

    async def wait_some_blocks(self) -> None:
        """Wait until a submission of unknown outcome must have shown on chain."""
        await self.call("waiting for the outcome of the submission", self._some_blocks())

    async def _some_blocks(self) -> None:
        target = await self._client.block() + _SETTLING_BLOCKS
        await self._client.wait_for_block(target)

    async def query(self, item: str, *parameters: Any, block: int | None = None) -> Any:
        query = self._client.query((_PALLET, item), list(parameters), block=block)
        return await self.call(f"reading {item}", query)

    async def block_hash_of(self, block: int) -> str:
        info = await self.call(f"reading block {block}", self._client.block_info(block))
        return (info.hash if info is not None else None) or ""

    async def call(
        self, doing: str, call: Coroutine[Any, Any, _Answer], at_most_s: float = math.inf
    ) -> _Answer:
        """Return the answer to one call of the SDK; limit its time, and translate its errors to ours."""
        timeout_s = min(self._timeout_s, at_most_s)
        done = False
        try:
            with border(Party.CHAIN, doing):
                try:
                    answer = await within(timeout_s, call, doing)
                except TimeoutError as error:
                    problem = f"no answer of the chain in {timeout_s:g} s while {doing}"
                    raise DeadlineExceeded(problem) from error
                except (bt.BittensorError, OSError, *MISREAD) as error:
                    raise TransientError(f"the chain failed while {doing}: {_text_of(error)}") from error
            done = True
            return answer
        finally:
            self.is_broken |= not done


@contextmanager
def understanding(what: str) -> Iterator[None]:
    """Translate errors about the shape of an answer to `TransientError`, because the next may be valid."""
    with border(Party.CHAIN, f"reading {what}"):
        try:
            yield
        except GaiaError:
            raise
        except MISREAD as error:
            raise TransientError(f"the chain's answer about {what} is invalid: {_text_of(error)}") from error


def _text_of(error: BaseException) -> str:
    # The address of a node may hold a key.
    return without_secrets(f"{type(error).__name__}: {error}")[:300]


def refusal_of(result: bt.ExtrinsicResult) -> TransientError:
    """Return the error that tells a refusal by its name."""
    code = result.error.code if result.error is not None else bt.ErrorCode.UNKNOWN
    name = (result.error.name if result.error is not None else None) or code.value
    return TransientError(f"the chain refused the weights: {name}: {result.message}")
