"""The one adapter over the chain SDK: reads the metagraph, sets weights and proves that they landed."""

from __future__ import annotations

import asyncio
import ipaddress
import math
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import bittensor as bt

from gaia.validator.utils.errors import ConfigurationError, DeadlineExceeded, ExitCode, TransientError
from gaia.validator.utils.ipc_types import Metagraph, Neuron

_RAO_PER_TOKEN = 10**9
_U16_MAX = 65535
_IPV4 = 4
_ERA_BLOCKS = 64
_SETTLING_BLOCKS = 3
_LONGEST_CONNECT_S = 15.0
_NOBODY = "5C4hrfjw9DjXZTzV3MwzrrAr9P1MJhSrvWGWqi1eSuyUpnhM"
"""The all-zero account: what the chain answers where no owner is set."""
_METAGRAPH = ("SubnetInfoRuntimeApi", "get_metagraph")
_PALLET = "SubtensorModule"


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
class _Vector:
    """One request for weights, and where the chain stood when it was made."""

    netuid: int
    own_uid: int
    uids: Sequence[int]
    weights: Sequence[int]
    last_update: int


class ChainClient:
    """One long-lived connection; every call on it has the same deadline.

    A call raises `TransientError` when the chain cannot be reached or refuses
    for now, its subclass `DeadlineExceeded` when no answer came in time, and
    `ConfigurationError` when only the operator can help. After a failed
    connection `is_broken` is true: close the client and connect anew.
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
        except (TimeoutError, OSError, bt.BittensorError):
            self.is_broken = True

    async def metagraph(self, netuid: int, own_hotkey: str) -> Metagraph:
        """Read the subnet, whole, as of one block.

        Raises
        ------
        ConfigurationError
            If there is no such subnet.
        """
        async with self._deadline("reading the metagraph"):
            graph = await self._client.runtime(_METAGRAPH, [netuid])
        if graph is None:
            raise ConfigurationError("GAIA_NETUID", f"subnet {netuid} does not exist", "choose one that does")
        return _metagraph(graph, netuid, own_hotkey)

    async def set_weights(
        self, wallet: bt.Wallet, netuid: int, uids: Sequence[int], weights: Sequence[int], version_key: int
    ) -> WeightsOnChain:
        """Sign and submit one vector, and return what the chain then holds.

        Submits the raw call: the SDK's own intent reads storage that not every
        runtime has. An outcome that stays unknown is settled by looking at the
        chain before it is called a failure.

        Parameters
        ----------
        weights
            u16, the largest 65535, which the chain stores unchanged.

        Raises
        ------
        ConfigurationError
            If our hotkey is not registered.
        TransientError
            If the chain refused, or holds other weights afterwards.
        """
        hotkey = wallet.hotkey.ss58_address
        own_uid = await self._own_uid(netuid, hotkey)
        before = (await self._last_updates(netuid))[own_uid]
        vector = _Vector(netuid=netuid, own_uid=own_uid, uids=uids, weights=weights, last_update=before)
        call = bt.calls.SubtensorModule.set_mechanism_weights(
            netuid=netuid, mecid=0, dests=list(uids), weights=list(weights), version_key=version_key
        )
        try:
            async with self._deadline("submitting the weights"):
                result = await self._client.submit_call(call, wallet, signer="hotkey", period=_ERA_BLOCKS)
        except TransientError as error:
            return await self._settle(vector, error)
        if result.success:
            return await self._landed(vector, result.block_hash or "", result.extrinsic_id or "")
        refusal = _refusal(result, netuid, hotkey)
        if result.block_hash or isinstance(refusal, ConfigurationError):
            raise refusal
        return await self._settle(vector, refusal)

    async def _own_uid(self, netuid: int, hotkey: str) -> int:
        uid = await self._query("Uids", netuid, hotkey)
        if uid is None:
            raise _not_registered(netuid, hotkey)
        return int(uid)

    async def _last_updates(self, netuid: int, block: int | None = None) -> list[int]:
        return [int(updated) for updated in await self._query("LastUpdate", netuid, block=block)]

    async def _landed(self, vector: _Vector, block_hash: str, extrinsic: str) -> WeightsOnChain:
        """Read back what the chain holds since `extrinsic`, or now if that is unknown; it must be what was sent."""
        included = int(extrinsic.partition("-")[0]) if extrinsic else None
        last_update = (await self._last_updates(vector.netuid, included))[vector.own_uid]
        pairs = await self._query("Weights", vector.netuid, vector.own_uid, block=included)
        read_back = [[int(uid), int(weight)] for uid, weight in pairs]
        if last_update <= vector.last_update:
            raise TransientError(f"the chain has no weights of ours since block {vector.last_update}")
        if _as_mapping(read_back) != _as_mapping(zip(vector.uids, _upscaled(vector.weights), strict=True)):
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
            async with asyncio.timeout(timeout_s):
                yield
            done = True
        except TimeoutError as error:
            raise DeadlineExceeded(f"no answer of the chain in {timeout_s:g} s while {doing}") from error
        except (bt.BittensorError, OSError, ValueError) as error:
            raise TransientError(f"the chain failed while {doing}: {error}") from error
        finally:
            self.is_broken |= not done


def _metagraph(graph: Mapping[str, Any], netuid: int, own_hotkey: str) -> Metagraph:
    hotkeys = [str(hotkey) for hotkey in graph["hotkeys"]]
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


def _refusal(result: bt.ExtrinsicResult, netuid: int, hotkey: str) -> TransientError | ConfigurationError:
    code = result.error.code if result.error is not None else bt.ErrorCode.UNKNOWN
    name = (result.error.name if result.error is not None else None) or code.value
    if code is bt.ErrorCode.NOT_REGISTERED:
        return _not_registered(netuid, hotkey)
    return TransientError(f"the chain refused the weights: {name}: {result.message}")


def _not_registered(netuid: int, hotkey: str) -> ConfigurationError:
    return ConfigurationError(
        "GAIA_WALLET_HOTKEY",
        f"hotkey {hotkey} is not registered on subnet {netuid}",
        f"register it with `btcli subnets register --netuid {netuid}` or name another hotkey",
        ExitCode.HOTKEY_NOT_REGISTERED,
    )


def _upscaled(weights: Sequence[int]) -> list[int]:
    """Return the weights as the runtime stores them, the largest at 65535."""
    top = max(weights, default=0)
    return [weight * _U16_MAX // top for weight in weights] if top else list(weights)


def _as_mapping(pairs: Any) -> dict[int, int]:
    return {uid: weight for uid, weight in pairs if weight}
