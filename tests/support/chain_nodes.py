"""A chain with several nodes that lie on request, and the quorum that reads them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, MutableMapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import bittensor as bt
import structlog

from gaia.localnet.chain.endpoint import Endpoint
from gaia.localnet.chain.lies import result
from gaia.localnet.chain.node import LocalChain
from gaia.localnet.wallets import VALIDATOR_URI, write_hotkey
from gaia.validator.core.chain.nodes.comparison import DEPTH, compare, states_of
from gaia.validator.core.chain.nodes.quorum import Quorum
from gaia.validator.core.chain.plain_weights import PlainWeights
from gaia.validator.utils.identities import Hotkey
from gaia.validator.utils.settings.chain import node_names
from gaia.validator.utils.signer_messages import JournalledVector
from tests.support.patience import patience
from tests.support.subnet import NETUID, VALIDATOR, neurons, vector

TEMPO = 9999
OWN = Hotkey(VALIDATOR)
WEIGHTS = {1: 65535, 2: 300}


@dataclass(kw_only=True)
class World:
    """A chain, its nodes, and the quorum that reads them."""

    chain: LocalChain
    further: list[Endpoint]
    quorum: Quorum
    wallet: bt.Wallet
    told: list[MutableMapping[str, Any]] = field(default_factory=list)
    """Log lines."""

    @property
    def liar(self) -> Endpoint:
        return self.further[-1]

    @property
    def liars_name(self) -> str:
        return self.quorum.nodes[-1].name

    async def compare_twice(self) -> None:
        """Compare at two different blocks."""
        for _ in range(2):
            await self.chain.wait_for_block(self.chain.block + 1)
            await compare(self.quorum, NETUID, OWN)

    def named(self) -> set[str]:
        """Return the nodes that the log names for a contradiction."""
        return {line["node"] for line in self.told if line["event"] == "chain_node_contradicted"}

    def distrusted(self) -> list[str]:
        return [state.name for state in states_of(self.quorum) if not state.is_trusted]

    async def set_weights(self) -> dict[int, int]:
        """Set weights as the signer does; return what the chain has then."""
        wanted = vector((await self.quorum.metagraph(NETUID, OWN)).epoch, WEIGHTS)

        async def promise(_schedule: object) -> JournalledVector:
            return wanted

        plain = PlainWeights(self.quorum, NETUID, OWN)
        await plain.set(self.wallet, wanted, None, promise, lambda _: False)
        return dict(self.chain.weights(0))


async def _world(tmp_path: Path, nodes: int, lag_blocks: int = 0) -> World:
    chain = LocalChain(neurons(), block_time_s=min(patience(0.1), 0.5), tempo=TEMPO, weights_rate_limit=1)
    first = await chain.start()
    further = [await chain.further_endpoint() for _ in range(nodes - 2)]
    further.append(await chain.further_endpoint(lag_blocks=lag_blocks))
    endpoints = [first, *(endpoint.url for endpoint in further)]
    write_hotkey(tmp_path / "wallets", "validator", "default", VALIDATOR_URI)
    wallet = bt.Wallet(name="validator", hotkey="default", path=str(tmp_path / "wallets"))
    quorum = Quorum(dict(zip(node_names(endpoints), endpoints, strict=True)), patience(5.0))
    await chain.wait_for_block(DEPTH + 1)
    return World(chain=chain, further=further, quorum=quorum, wallet=wallet)


Make = Callable[..., Any]


@asynccontextmanager
async def worlds(tmp_path: Path) -> AsyncIterator[Make]:
    """Yield a function that makes a world of so many nodes; close all at the end."""
    made: list[World] = []

    async def world(nodes: int = 3, **options: Any) -> World:
        made.append(await _world(tmp_path, nodes, **options))
        made[-1].told = captured
        return made[-1]

    with structlog.testing.capture_logs() as captured:
        yield world
    for each in made:
        await each.quorum.close()
        await each.chain.stop()


def deny_our_hotkey(world: World) -> None:
    world.liar.lies.tell(world.chain.key_of("Uids", NETUID, VALIDATOR), result(None), times=None)


def deny_updates(world: World) -> None:
    world.liar.lies.tell(world.chain.key_of("LastUpdate", NETUID), result(None), times=None)


def deny_the_subnet(world: World) -> None:
    world.liar.lies.tell("SubnetInfoRuntimeApi_get_metagraph", result("0x00"), times=None)


def claim_a_far_epoch(world: World) -> None:
    index = (10**6).to_bytes(8, "little").hex()
    world.liar.lies.tell(world.chain.key_of("SubnetEpochIndex", NETUID), result("0x" + index), times=None)
