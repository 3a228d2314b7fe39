"""A connection to one node of the chain: reads storage and the metagraph, and submits calls."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Coroutine
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

import bittensor as bt
import structlog

from gaia.validator.core.chain.answers import MISREAD
from gaia.validator.core.chain.bounded import BoundedSubstrate
from gaia.validator.core.chain.deadline import started, within
from gaia.validator.core.chain.reader import SETTLING_BLOCKS, SUBTENSOR, ChainReader, text_of, understanding
from gaia.validator.utils.borders import Party, border
from gaia.validator.utils.chain.refusals import REFUSALS, name_of, refusal_named
from gaia.validator.utils.errors import (
    BlockUnknown,
    DeadlineExceeded,
    ItemMissing,
    TransientError,
    WeightsRefused,
)

if TYPE_CHECKING:
    from bittensor import UnsignedExtrinsic

    from gaia.validator.core.chain.epochs import EpochSchedule

_LONGEST_CONNECT_S = 15.0
_CLOSE_S = 1.0
_METAGRAPH = ("SubnetInfoRuntimeApi", "get_metagraph")
_NO_ITEM = "StorageFunctionNotFound"
"""Name of the SDK's error, which it keeps in a private module."""
_NO_BLOCK = ("no block at height", "no header for", "Block not found", "already discarded", "State discarded")
"""Words of the SDK for a block that the node does not have, or no longer; the connection is good."""
_HASH = re.compile(r"0x[0-9a-f]{1,64}")
_U32_MAX = 2**32 - 1
_Answer = TypeVar("_Answer")
log = structlog.get_logger(__name__)


class ChainClient(ChainReader):
    """One long-lived connection; each call has the same time limit.

    Beside the errors of `ChainReader`, a call raises `DeadlineExceeded` if no answer came in time.
    After a failed call `is_broken` is true: close the client and connect again.
    """

    def __init__(self, client: bt.Client, substrate: BoundedSubstrate, timeout_s: float) -> None:
        self._client = client
        self._substrate = substrate
        self._timeout_s = timeout_s
        self._made_at = time.monotonic()
        self.is_broken = False

    @classmethod
    async def connect(cls, endpoint: str, timeout_s: float, name: str = "") -> ChainClient:
        """Open a connection to the node at `endpoint`, a websocket URL, and to no other.

        Parameters
        ----------
        name
            What errors call it, because its address may hold a key; "": its address.
        """
        substrate = BoundedSubstrate(endpoint)
        chain = cls(bt.Client(endpoint, substrate=substrate), substrate, timeout_s)
        try:
            await chain.call(f"connecting to {name or endpoint}", chain._client.connect(), _LONGEST_CONNECT_S)
        except BaseException:
            # The SDK goes on to connect by itself.
            await chain.close()
            raise
        return chain

    @property
    def is_confirmed(self) -> bool:
        return True

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

    async def head(self) -> int:
        head = await self.call("reading the newest block's number", self._client.block())
        with understanding("the newest block's number"):
            if not 0 <= int(head) <= _U32_MAX:
                raise ValueError(f"{head} is no number of a block")
            return int(head)

    async def graph(self, netuid: int, block: int | None = None) -> Any:
        reading = self._client.runtime(_METAGRAPH, [netuid], block=block)
        return await self.call("reading the metagraph", reading)

    async def query(
        self, item: str, *parameters: Any, block: int | None = None, pallet: str = SUBTENSOR
    ) -> Any:
        query = self._client.query((pallet, item), list(parameters), block=block)
        return await self.call(f"reading {item}", query)

    async def time_of(self, block: int) -> datetime:
        return await self.call(f"reading the time of block {block}", self._client.timestamp(block))

    async def events(self, block: int) -> Any:
        return await self.query("Events", block=block, pallet="System")

    async def block_hash_of(self, block: int) -> str:
        # Not by the block itself: a node decodes no block whose state it has discarded.
        try:
            found = await self.call(f"reading the hash of block {block}", self._substrate.block_hash(block))
        except BlockUnknown:
            return ""
        if not _HASH.fullmatch(str(found)):
            raise TransientError(f"the chain's answer about the hash of block {block} is invalid")
        return found

    async def submit(self, call: Any, wallet: bt.Wallet, schedule: EpochSchedule) -> bt.ExtrinsicResult:
        nonce = await self.nonce(wallet.hotkey.ss58_address)
        unsigned = await self.prepare(call, wallet, schedule.era_blocks(), nonce)
        return await self.send(unsigned, bytes(wallet.hotkey.sign(unsigned.payload)))

    async def prepare(self, call: Any, wallet: bt.Wallet, era_blocks: int, nonce: int) -> UnsignedExtrinsic:
        """Return what the hotkey would sign for a call, as this node's runtime encodes it.

        Raises
        ------
        TransientError
            If the runtime has another version by now; the next connection knows it.
        """
        hotkey = wallet.hotkey
        preparation = self._client.prepare_call(
            call,
            address=hotkey.ss58_address,
            crypto_type=hotkey.crypto_type,
            nonce=nonce,
            period=era_blocks,
        )
        unsigned = await self.call("preparing the weights", preparation)
        await self._require_present(unsigned.spec_version)
        return unsigned

    async def _require_present(self, spec_version: int) -> None:
        """Refuse what is encoded for an earlier runtime: the SDK looks for a new one only once in 12 seconds."""
        version = self._substrate.raw.rpc_request("state_getRuntimeVersion", [])
        told = await self.call("reading the version of the runtime", version)
        with understanding("the version of the runtime"):
            newest = int(told["specVersion"])
        if newest != spec_version:
            self.is_broken = True
            log.warning("chain_runtime_upgraded", before=spec_version, now=newest)
            raise TransientError(f"the chain's runtime was upgraded from {spec_version} to {newest}")

    async def send(self, unsigned: UnsignedExtrinsic, signature: bytes) -> bt.ExtrinsicResult:
        """Submit a signed extrinsic, and wait until it is final."""
        return await self.call("submitting the weights", self._client.submit_signature(unsigned, signature))

    async def wait_blocks(self, count: int = SETTLING_BLOCKS) -> None:
        await self.call(f"waiting for {count} blocks", self._blocks(count))

    async def _blocks(self, count: int) -> None:
        target = await self._client.block() + count
        await self._client.wait_for_block(target)

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
                    if any(words in str(error) for words in _NO_BLOCK):
                        done = True
                        raise BlockUnknown(f"unknown block while {doing}: {text_of(error)}") from error
                    if type(error).__name__ == _NO_ITEM:
                        done = True
                        raise ItemMissing(f"{doing}: the runtime does not have it") from error
                    raise TransientError(f"the chain failed while {doing}: {text_of(error)}") from error
            done = True
            return answer
        finally:
            self.is_broken |= not done


def refusal_of(result: bt.ExtrinsicResult) -> WeightsRefused:
    """Return the error that tells a refusal by its name, and what to do."""
    code = result.error.code if result.error is not None else bt.ErrorCode.UNKNOWN
    told = result.error.name if result.error is not None else None
    refusal = refusal_named(name_of(told, result.message, code.value))
    words = f"{refusal}" if refusal.name in REFUSALS else f"{refusal}; the node says: {result.message}"
    return WeightsRefused(f"the chain refused the weights: {words}", refusal.name)
