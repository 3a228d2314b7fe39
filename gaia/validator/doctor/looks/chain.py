"""Looks at the chain: first the node by plain requests, then the subnet as the signer reads it."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from websockets.exceptions import WebSocketException
from websockets.sync.client import connect

from gaia.validator.doctor.facts import Node
from gaia.validator.doctor.looks.files import told_address
from gaia.validator.doctor.sight import Trouble
from gaia.validator.utils.errors import GaiaError
from gaia.validator.utils.secrecy import without_secrets

if TYPE_CHECKING:
    from websockets.sync.connection import Connection

    from gaia.validator.utils.chain.metagraph import Metagraph
    from gaia.validator.utils.settings.chain import ChainSettings

_CONNECT_S = 5.0
_ANSWER_S = 3.0
_LARGEST_BYTES = 1 << 20
_TIME_KEY = "0xf0c365c3cf59d671eb72da0e7a4113c49f1f0515f462cdcf84e0f1d6045dfcbb"
"""Storage key of Timestamp.Now."""
_CUTOFF_KEY = "0x658faa385070e074c85bf6b568cf0555c57fc7240b4e0c444a010d7fe83ec3ec"
"""Storage key of SubtensorModule.ActivityCutoff; the subnet's number follows."""
_COMMIT_VERSION_KEY = "0x658faa385070e074c85bf6b568cf055570d1da21926e4e8efdfb497ee508d611"
"""Storage key of SubtensorModule.CommitRevealWeightsVersion."""
_WRONG_PROTOCOL = "WRONG_VERSION_NUMBER"


def look_at_node(chain: ChainSettings) -> Node | Trouble:
    """Return what the first node says of itself and of its newest block."""
    return _look(chain.chain_endpoint, chain.netuid)


def look_at_further_nodes(chain: ChainSettings) -> Mapping[str, Node | Trouble]:
    """Return name -> what each further node says; all are asked at once."""
    further = dict(list(chain.nodes.items())[1:])
    with ThreadPoolExecutor(max_workers=len(further) or 1) as threads:
        found = threads.map(lambda endpoint: _look(endpoint, chain.netuid), further.values())
        return dict(zip(further, found, strict=True))


def _look(endpoint: str, netuid: int) -> Node | Trouble:
    try:
        with connect(endpoint, open_timeout=_CONNECT_S, close_timeout=0.2, max_size=_LARGEST_BYTES) as node:
            return _answers(_Calls(node), netuid)
    except TimeoutError:
        return Trouble(f"{endpoint} does not answer")
    except (
        OSError,
        WebSocketException,
        ValueError,
        LookupError,
        TypeError,
        AttributeError,
        ArithmeticError,
    ) as error:
        said = without_secrets(f"{type(error).__name__}: {error}")[:200]
        if _WRONG_PROTOCOL in said and endpoint.startswith("wss://"):
            return Trouble(f"{endpoint} speaks ws, not wss")
        return Trouble(f"{endpoint} is not a node that answers ({said})")


def look_at_subnet(chain: ChainSettings) -> Metagraph | Trouble:
    """Return the metagraph, read as the signer does, with the hotkey of the settings as our own."""
    try:
        return asyncio.run(_read_subnet(chain))
    except GaiaError as error:
        return Trouble(str(error))


async def _read_subnet(chain: ChainSettings) -> Metagraph:
    # Here, because the SDK takes a second to load, and other looks need not wait for it.
    from gaia.validator.core.chain.client import ChainClient

    client = await ChainClient.connect(chain.chain_endpoint, _CONNECT_S)
    try:
        return await client.metagraph(chain.netuid, told_address(chain))
    finally:
        await client.close()


class _Calls:
    """Calls of one connection, one after the other; remembers the slowest."""

    def __init__(self, node: Connection) -> None:
        self._node = node
        self._count = 0
        self.slowest_s = 0.0

    def __call__(self, method: str, *parameters: Any) -> Any:
        """Return the result; None if the node does not know the method."""
        self._count += 1
        asked = time.monotonic()
        request = {"jsonrpc": "2.0", "id": self._count, "method": method, "params": list(parameters)}
        self._node.send(json.dumps(request))
        answer = json.loads(self._node.recv(timeout=_ANSWER_S))
        self.slowest_s = max(self.slowest_s, time.monotonic() - asked)
        return answer.get("result")


def _answers(call: _Calls, netuid: int) -> Node:
    chain = str(call("system_chain"))
    health = call("system_health") or {}
    header = call("chain_getHeader")
    genesis = call("chain_getBlockHash", 0)
    moment = _number(call("state_getStorage", _TIME_KEY))
    asked_at = datetime.now(UTC)
    cutoff = _number(call("state_getStorage", _CUTOFF_KEY + netuid.to_bytes(2, "little").hex()))
    return Node(
        chain=chain[:60],
        genesis=str(genesis or ""),
        peers=int(health.get("peers", 0)),
        should_have_peers=bool(health.get("shouldHavePeers", False)),
        is_syncing=bool(health.get("isSyncing", False)),
        block=int(header["number"], 16),
        time=None if moment is None else datetime.fromtimestamp(moment / 1000, UTC),
        activity_cutoff=cutoff,
        commit_version=_number(call("state_getStorage", _COMMIT_VERSION_KEY)),
        spec_version=_spec_of(call("state_getRuntimeVersion")),
        seconds=call.slowest_s,
        asked_at=asked_at,
    )


def _spec_of(version: Any) -> int | None:
    told = version.get("specVersion") if isinstance(version, dict) else None
    return told if isinstance(told, int) else None


def _number(stored: str | None) -> int | None:
    """Return a stored number, which is little-endian hex; None if none is stored."""
    return int.from_bytes(bytes.fromhex(stored.removeprefix("0x")), "little") if stored else None
