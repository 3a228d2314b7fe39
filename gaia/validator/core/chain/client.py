"""The only adapter of the chain SDK: reads the metagraph, sets weights and reads them back."""

from __future__ import annotations

import ipaddress
import math
import time
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

import bittensor as bt
import structlog

from gaia.validator.core.chain.deadline import started, within
from gaia.validator.core.weights.doubts import ERA_BLOCKS, as_stored
from gaia.validator.utils.borders import Party, border
from gaia.validator.utils.errors import DeadlineExceeded, GaiaError, SubnetMissing, TransientError
from gaia.validator.utils.identities import Hotkey
from gaia.validator.utils.ipc_types import Metagraph, Neuron
from gaia.validator.utils.secrecy import without_secrets

_RAO_PER_TOKEN = 10**9
_U16_MAX = 65535
_IPV4 = 4
_SETTLING_BLOCKS = 3
_LONGEST_CONNECT_S = 15.0
_CLOSE_S = 1.0
_NOBODY = "5C4hrfjw9DjXZTzV3MwzrrAr9P1MJhSrvWGWqi1eSuyUpnhM"
"""The all-zero account, which the chain returns if no owner is set."""
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
# Errors that an answer of another shape causes, in the SDK and here.
_MISREAD = (ValueError, LookupError, TypeError, AttributeError, ArithmeticError)
_Answer = TypeVar("_Answer")
log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightsOnChain:
    """Weights that were set and read back."""

    block: int
    block_hash: str
    extrinsic: str
    """"<block>-<index>"; "" if the extrinsic is unknown."""
    read_back: list[list[int]]
    """[uid, u16] pairs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnWeights:
    """Our weights on chain, at one block."""

    block: int
    last_update: int
    """Block of our last weights; 0: never."""
    update_hash: str
    """Hash of that block; "" if there is none, or the node does not know it."""
    pairs: list[list[int]]
    """[uid, u16] pairs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Vector:
    """One request for weights, and the block at which it was made."""

    netuid: int
    own_uid: int
    uids: Sequence[int]
    weights: Sequence[int]
    last_update: int


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
            await chain._call(f"connecting to {endpoint}", chain._client.connect(), _LONGEST_CONNECT_S)
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
        graph = await self._call("reading the metagraph", self._client.runtime(_METAGRAPH, [netuid]))
        if graph is None:
            raise SubnetMissing(f"the chain says that subnet {netuid} does not exist")
        with _understanding("the metagraph"):
            return _metagraph(graph, netuid, own_hotkey)

    async def time_of(self, block: int) -> datetime:
        """Return the time that a block tells."""
        return await self._call(f"reading the time of block {block}", self._client.timestamp(block))

    async def own_weights(self, netuid: int, hotkey: Hotkey) -> OwnWeights:
        """Return our weights on chain, all read at one block."""
        head = await self._call("reading the newest block's number", self._client.block())
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
        """Sign and submit one vector; return our weights that are then on chain.

        It submits the raw call, because the SDK's own intent reads storage that some runtimes lack.
        If the outcome is unknown, even after a refusal by the pool, it reads the chain before it
        reports a failure.

        Parameters
        ----------
        weights
            Values as u16 with the largest at 65535, which the chain stores unchanged.
        promised_block
            Block at which the vector was journalled. Nothing is signed if the chain holds newer
            weights of ours; these are returned if they are equal.

        Raises
        ------
        TransientError
            If the chain refuses, does not know our hotkey, or holds other weights afterwards.
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
        submission = self._client.submit_call(call, wallet, signer="hotkey", period=ERA_BLOCKS)
        try:
            result = await self._call("submitting the weights", submission)
        except TransientError as error:
            return await self._settle(vector, error)
        if result.success:
            return await self._landed(vector, result.block_hash or "", result.extrinsic_id or "")
        refusal = _refusal(result)
        if result.block_hash:
            raise refusal
        return await self._settle(vector, refusal)

    async def _own_uid(self, netuid: int, hotkey: Hotkey, block: int | None = None) -> int:
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
        """Return our weights after `extrinsic`, or now if it is unknown; raise unless they are those sent."""
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
        """Return our weights if they are on chain, although the submission seems to have failed.

        Raises
        ------
        TransientError
            `error`, if they do not appear within a few blocks, or the chain cannot be read.
        """
        try:
            await self._call("waiting for the outcome of the submission", self._some_blocks())
            return await self._landed(vector, "", "")
        except TransientError as unsettled:
            raise error from unsettled

    async def _some_blocks(self) -> None:
        target = await self._client.block() + _SETTLING_BLOCKS
        await self._client.wait_for_block(target)

    async def _query(self, item: str, *parameters: Any, block: int | None = None) -> Any:
        query = self._client.query((_PALLET, item), list(parameters), block=block)
        return await self._call(f"reading {item}", query)

    async def _block_hash(self, block: int) -> str:
        info = await self._call(f"reading block {block}", self._client.block_info(block))
        return (info.hash if info is not None else None) or ""

    async def _call(
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
                except (bt.BittensorError, OSError, *_MISREAD) as error:
                    raise TransientError(f"the chain failed while {doing}: {_text_of(error)}") from error
            done = True
            return answer
        finally:
            self.is_broken |= not done


@contextmanager
def _understanding(what: str) -> Iterator[None]:
    """Translate errors about the shape of an answer to `TransientError`, because the next may be valid."""
    with border(Party.CHAIN, f"reading {what}"):
        try:
            yield
        except GaiaError:
            raise
        except _MISREAD as error:
            raise TransientError(f"the chain's answer about {what} is invalid: {_text_of(error)}") from error


def _text_of(error: BaseException) -> str:
    # The address of a node may hold a key.
    return without_secrets(f"{type(error).__name__}: {error}")[:300]


def _metagraph(graph: Mapping[str, Any], netuid: int, own_hotkey: str) -> Metagraph:
    hotkeys = [str(hotkey) for hotkey in graph["hotkeys"]]
    lengths = {name: len(graph[name]) for name in _PER_NEURON}
    if set(lengths.values()) - {len(hotkeys)}:
        raise ValueError(f"{len(hotkeys)} hotkeys, but other columns have the lengths {lengths}")
    if len(set(hotkeys)) != len(hotkeys):
        raise ValueError("a hotkey occurs twice")
    owner = str(graph["owner_hotkey"])
    own_uid = hotkeys.index(own_hotkey) if own_hotkey in hotkeys else None
    dividends, emission = (_own(graph, column, own_uid) for column in ("dividends", "emission"))
    return Metagraph(
        netuid=netuid,
        block=int(graph["block"]),
        neurons=[_neuron(graph, uid, Hotkey(hotkey)) for uid, hotkey in enumerate(hotkeys)],
        own_hotkey=own_hotkey,
        own_uid=own_uid,
        tempo=int(graph["tempo"]),
        weights_rate_limit=int(graph["weights_rate_limit"]),
        min_allowed_weights=int(graph["min_allowed_weights"]),
        weights_version=int(graph["weights_version"]),
        commit_reveal=bool(graph["commit_reveal_weights_enabled"]),
        owner_hotkey="" if owner == _NOBODY else owner,
        own_dividends=None if dividends is None else dividends / _U16_MAX,
        own_emission=None if emission is None else emission / _RAO_PER_TOKEN,
    )


def _own(graph: Mapping[str, Any], column: str, own_uid: int | None) -> int | None:
    """Return our value in a column that runtimes may lack."""
    values = graph.get(column) or ()
    return int(values[own_uid]) if own_uid is not None and own_uid < len(values) else None


def _neuron(graph: Mapping[str, Any], uid: int, hotkey: Hotkey) -> Neuron:
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
    """Return the IPv4 address; "" for none, IPv6 or an invalid one."""
    ip = int(axon["ip"])
    if not 0 < ip < 2**32 or int(axon["ip_type"]) != _IPV4 or not int(axon["port"]):
        return ""
    return str(ipaddress.IPv4Address(ip))


def _refusal(result: bt.ExtrinsicResult) -> TransientError:
    code = result.error.code if result.error is not None else bt.ErrorCode.UNKNOWN
    name = (result.error.name if result.error is not None else None) or code.value
    return TransientError(f"the chain refused the weights: {name}: {result.message}")
