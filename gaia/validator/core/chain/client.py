"""The one adapter over the chain SDK: reads the metagraph, sets weights and proves that they landed."""

from __future__ import annotations

import asyncio
import ipaddress
import math
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any

import bittensor as bt
import structlog

from gaia.validator.core.weights.doubts import ERA_BLOCKS, as_stored
from gaia.validator.utils.borders import Party, border
from gaia.validator.utils.errors import DeadlineExceeded, GaiaError, SubnetMissing, TransientError
from gaia.validator.utils.ipc_types import Metagraph, Neuron

_RAO_PER_TOKEN = 10**9
_IPV4 = 4
_SETTLING_BLOCKS = 3
_LONGEST_CONNECT_S = 15.0
_NOBODY = "5C4hrfjw9DjXZTzV3MwzrrAr9P1MJhSrvWGWqi1eSuyUpnhM"
"""The all-zero account: what the chain answers where no owner is set."""
_METAGRAPH = ("SubnetInfoRuntimeApi", "get_metagraph")
_PALLET = "SubtensorModule"
_PER_NEURON = (
    "coldkeys",
    "axons",
    "total_stake",
    "validator_permit",
    "last_update",
    "block_at_registration",
)
# What reading an answer of another shape raises, in the SDK and here.
_MISREAD = (ValueError, LookupError, TypeError, AttributeError, ArithmeticError)
log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightsOnChain:
    """Weights that were set, as read back."""

    block: int
    block_hash: str
    extrinsic: str
    """"<block>-<index>", or "" where another node's word is all we have."""
    read_back: list[list[int]]
    """[uid, u16] pairs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnWeights:
    """What the chain holds of us, as of one block."""

    block: int
    last_update: int
    """Block in which our weights were last set; 0: never."""
    update_hash: str
    """Hash of that block; "" where there is none, or the node does not know it."""
    pairs: list[list[int]]
    """[uid, u16] pairs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Vector:
    """One request for weights, and where the chain stood when it was made."""

    netuid: int
    own_uid: int
    uids: Sequence[int]
    weights: Sequence[int]
    last_update: int


class ChainClient:
    """One long-lived connection; every call on it has the same deadline.

    A call raises `TransientError` when the chain cannot be reached, refuses, or
    answers what cannot be read, and its subclass `DeadlineExceeded` when no answer
    came in time. One answer of one node is never a reason to end: no call raises
    `ConfigurationError`. After a failed call `is_broken` is true: close the client
    and connect anew.
    """

    def __init__(self, client: bt.Client, timeout_s: float) -> None:
        self._client = client
        self._timeout_s = timeout_s
        self.is_broken = False

    @classmethod
    async def connect(cls, endpoint: str, timeout_s: float) -> ChainClient:
        """Open a connection to the node at `endpoint`, a websocket URL."""
        chain = cls(bt.Client(endpoint), timeout_s)
        async with chain._deadline(f"connecting to {endpoint}", _LONGEST_CONNECT_S):
            await chain._client.connect()
        return chain

    async def close(self) -> None:
        """Close the connection; a peer that does not answer is left behind."""
        try:
            async with asyncio.timeout(1.0):
                await self._client.close()
        except Exception as error:  # noqa: BLE001 - the SDK raises here what broke the connection before
            log.debug("connection_close_failed", error=f"{type(error).__name__}: {error}")
            self.is_broken = True

    async def metagraph(self, netuid: int, own_hotkey: str) -> Metagraph:
        """Read the subnet, whole, as of one block.

        Raises
        ------
        SubnetMissing
            If the chain says that there is no such subnet.
        """
        async with self._deadline("reading the metagraph"):
            graph = await self._client.runtime(_METAGRAPH, [netuid])
        if graph is None:
            raise SubnetMissing(f"the chain says that subnet {netuid} does not exist")
        with _understanding("the metagraph"):
            return _metagraph(graph, netuid, own_hotkey)

    async def own_weights(self, netuid: int, hotkey: str) -> OwnWeights:
        """Read what the chain holds of us, all of it as of one block."""
        async with self._deadline("reading the newest block's number"):
            head = await self._client.block()
        with _understanding("the newest block's number"):
            block = int(head)
        own_uid = await self._own_uid(netuid, hotkey, block)
        last_update = await self._last_update(netuid, own_uid, block)
        return OwnWeights(
            block=block,
            last_update=last_update,
            update_hash=await self._block_hash(last_update) if last_update else "",
            pairs=await self._pairs(netuid, own_uid, block),
        )

    async def set_weights(
        self,
        wallet: bt.Wallet,
        netuid: int,
        uids: Sequence[int],
        weights: Sequence[int],
        version_key: int,
        promised_block: int | None = None,
    ) -> WeightsOnChain:
        """Sign and submit one vector, and return what the chain then holds.

        Submits the raw call: the SDK's own intent reads storage that not every
        runtime has. An outcome that stays unknown, a refusal by the pool included,
        is settled by looking at the chain before it is called a failure.

        Parameters
        ----------
        weights
            u16, the largest 65535, which the chain stores unchanged.
        promised_block
            Block as of which the vector was promised. Nothing is signed where the chain holds
            weights of ours that are newer; they are returned if they are these.

        Raises
        ------
        TransientError
            If the chain refused, does not know our hotkey, or holds other weights afterwards.
        """
        own_uid = await self._own_uid(netuid, wallet.hotkey.ss58_address)
        before = await self._last_update(netuid, own_uid)
        if promised_block is not None and before > promised_block:
            promised = _Vector(
                netuid=netuid, own_uid=own_uid, uids=uids, weights=weights, last_update=promised_block
            )
            return await self._landed(promised, "", "")
        vector = _Vector(netuid=netuid, own_uid=own_uid, uids=uids, weights=weights, last_update=before)
        call = bt.calls.SubtensorModule.set_mechanism_weights(
            netuid=netuid, mecid=0, dests=list(uids), weights=list(weights), version_key=version_key
        )
        try:
            async with self._deadline("submitting the weights"):
                result = await self._client.submit_call(call, wallet, signer="hotkey", period=ERA_BLOCKS)
        except TransientError as error:
            return await self._settle(vector, error)
        if result.success:
            return await self._landed(vector, result.block_hash or "", result.extrinsic_id or "")
        refusal = _refusal(result)
        if result.block_hash:
            raise refusal
        return await self._settle(vector, refusal)

    async def _own_uid(self, netuid: int, hotkey: str, block: int | None = None) -> int:
        uid = await self._query("Uids", netuid, hotkey, block=block)
        if uid is None:
            raise TransientError(f"the chain says that hotkey {hotkey} is not registered on subnet {netuid}")
        with _understanding("our uid"):
            return int(uid)

    async def _last_update(self, netuid: int, uid: int, block: int | None = None) -> int:
        updates = await self._query("LastUpdate", netuid, block=block)
        with _understanding("the blocks of last updates"):
            return int(updates[uid])

    async def _pairs(self, netuid: int, uid: int, block: int | None = None) -> list[list[int]]:
        pairs = await self._query("Weights", netuid, uid, block=block)
        with _understanding("our weights"):
            return [[int(target), int(weight)] for target, weight in pairs]

    async def _landed(self, vector: _Vector, block_hash: str, extrinsic: str) -> WeightsOnChain:
        """Read back what the chain holds since `extrinsic`, or now if that is unknown; it must be what was sent."""
        with _understanding("our extrinsic"):
            included = int(extrinsic.partition("-")[0]) if extrinsic else None
        last_update = await self._last_update(vector.netuid, vector.own_uid, included)
        read_back = await self._pairs(vector.netuid, vector.own_uid, included)
        if last_update <= vector.last_update:
            raise TransientError(f"the chain has no weights of ours since block {vector.last_update}")
        if as_stored(read_back) != as_stored(zip(vector.uids, vector.weights, strict=True)):
            raise TransientError(f"the chain holds other weights than those sent, since block {last_update}")
        return WeightsOnChain(
            block=included or last_update,
            block_hash=block_hash or await self._block_hash(last_update),
            extrinsic=extrinsic,
            read_back=read_back,
        )

    async def _settle(self, vector: _Vector, error: TransientError) -> WeightsOnChain:
        """Look whether the weights landed although the submission seems to have failed.

        Raises
        ------
        TransientError
            `error`, if they have not within a few blocks or nobody can tell.
        """
        try:
            async with self._deadline("waiting for the outcome of the submission"):
                target = await self._client.block() + _SETTLING_BLOCKS
                await self._client.wait_for_block(target)
            return await self._landed(vector, "", "")
        except TransientError as unsettled:
            raise error from unsettled

    async def _query(self, item: str, *parameters: Any, block: int | None = None) -> Any:
        async with self._deadline(f"reading {item}"):
            return await self._client.query((_PALLET, item), list(parameters), block=block)

    async def _block_hash(self, block: int) -> str:
        async with self._deadline(f"reading block {block}"):
            info = await self._client.block_info(block)
        return (info.hash if info is not None else None) or ""

    @asynccontextmanager
    async def _deadline(self, doing: str, at_most_s: float = math.inf) -> AsyncIterator[None]:
        """Bound the body in time, and translate the SDK's errors into ours."""
        done = False
        timeout_s = min(self._timeout_s, at_most_s)
        try:
            with border(Party.CHAIN, doing):
                try:
                    async with asyncio.timeout(timeout_s):
                        yield
                except TimeoutError as error:
                    problem = f"no answer of the chain in {timeout_s:g} s while {doing}"
                    raise DeadlineExceeded(problem) from error
                except (bt.BittensorError, OSError, *_MISREAD) as error:
                    raise TransientError(f"the chain failed while {doing}: {_said(error)}") from error
            done = True
        finally:
            self.is_broken |= not done


@contextmanager
def _understanding(what: str) -> Iterator[None]:
    """Turn what fails over the shape of an answer into a `TransientError`: another answer may be sound."""
    with border(Party.CHAIN, f"reading {what}"):
        try:
            yield
        except GaiaError:
            raise
        except _MISREAD as error:
            raise TransientError(f"the chain's answer about {what} is invalid: {_said(error)}") from error


def _said(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"[:300]


def _metagraph(graph: Mapping[str, Any], netuid: int, own_hotkey: str) -> Metagraph:
    hotkeys = [str(hotkey) for hotkey in graph["hotkeys"]]
    lengths = {name: len(graph[name]) for name in _PER_NEURON}
    if set(lengths.values()) - {len(hotkeys)}:
        raise ValueError(f"{len(hotkeys)} hotkeys, but other columns have the lengths {lengths}")
    if len(set(hotkeys)) != len(hotkeys):
        raise ValueError("a hotkey occurs twice")
    owner = str(graph["owner_hotkey"])
    return Metagraph(
        netuid=netuid,
        block=int(graph["block"]),
        neurons=[_neuron(graph, uid, hotkey) for uid, hotkey in enumerate(hotkeys)],
        own_hotkey=own_hotkey,
        own_uid=hotkeys.index(own_hotkey) if own_hotkey in hotkeys else None,
        tempo=int(graph["tempo"]),
        weights_rate_limit=int(graph["weights_rate_limit"]),
        min_allowed_weights=int(graph["min_allowed_weights"]),
        weights_version=int(graph["weights_version"]),
        commit_reveal=bool(graph["commit_reveal_weights_enabled"]),
        owner_hotkey="" if owner == _NOBODY else owner,
    )


def _neuron(graph: Mapping[str, Any], uid: int, hotkey: str) -> Neuron:
    axon = graph["axons"][uid]
    ip = _dotted_quad(axon)
    return Neuron(
        uid=uid,
        hotkey=hotkey,
        coldkey=str(graph["coldkeys"][uid]),
        ip=ip,
        port=int(axon["port"]) if ip else 0,
        stake=int(graph["total_stake"][uid]) / _RAO_PER_TOKEN,
        validator_permit=bool(graph["validator_permit"][uid]),
        last_update=int(graph["last_update"][uid]),
        registered_at=int(graph["block_at_registration"][uid]),
    )


def _dotted_quad(axon: Mapping[str, Any]) -> str:
    """Return the IPv4 address, or "" where none is served: nothing, IPv6, or nonsense."""
    ip = int(axon["ip"])
    if not 0 < ip < 2**32 or int(axon["ip_type"]) != _IPV4 or not int(axon["port"]):
        return ""
    return str(ipaddress.IPv4Address(ip))


def _refusal(result: bt.ExtrinsicResult) -> TransientError:
    code = result.error.code if result.error is not None else bt.ErrorCode.UNKNOWN
    name = (result.error.name if result.error is not None else None) or code.value
    return TransientError(f"the chain refused the weights: {name}: {result.message}")
