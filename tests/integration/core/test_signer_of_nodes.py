"""The chain signer reads several nodes: a liar stops nothing, and no node alone ends the validator."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from gaia.localnet.chain.lies import result
from gaia.localnet.wallets import VALIDATOR_URI, keypair
from gaia.validator.core.chain.signer_client import SignerClient
from gaia.validator.utils.errors import SigningRefused, TransientError
from tests.support.chain_nodes import WEIGHTS, Make, World, deny_updates, worlds
from tests.support.patience import patience
from tests.support.signers import SignerProcess
from tests.support.subnet import NETUID, neurons, set_now

GET_METAGRAPH = "SubnetInfoRuntimeApi_get_metagraph"


@pytest.fixture
async def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Make]:
    monkeypatch.setenv("HOME", str(tmp_path))
    async with worlds(tmp_path) as world:
        yield world


@pytest.fixture
async def client(signer: SignerProcess) -> AsyncIterator[SignerClient]:
    client = SignerClient(signer.path, chain_timeout_s=patience(10.0))
    yield client
    await client.close()


def _start(signer: SignerProcess, world: World) -> None:
    further = [endpoint.url for endpoint in world.further]
    signer.start(f"ws://{world.quorum.nodes[0].name}", chain_more_endpoints=further)


def _update_by_another(world: World) -> None:
    """Let the liar tell that our hotkey set other weights, in a block in which we set none."""
    world.liar.lies.tell(world.chain.key_of("Weights", NETUID, 0), result("0x040300ffff"), times=None)
    key = world.chain.key_of("LastUpdate", NETUID)
    updates = [world.chain.block + 1, *[0] * len(neurons())]
    told = bytes([len(updates) << 2]) + b"".join(each.to_bytes(8, "little") for each in updates)
    world.liar.lies.tell(key, result("0x" + told.hex()), times=None)


async def test_signer_reads_all_nodes_and_sets_weights_beside_a_liar(
    make: Make, signer: SignerProcess, client: SignerClient, tmp_path: Path
) -> None:
    world = await make()
    _start(signer, world)
    deny_updates(world)

    landed = await set_now(client, WEIGHTS)
    await client.check_update()

    assert dict(world.chain.weights(0)) == WEIGHTS
    assert landed.read_back == [list(pair) for pair in WEIGHTS.items()]
    nodes = await client.read_nodes()
    assert [node.name for node in nodes] == [node.name for node in world.quorum.nodes]
    assert [node.contradictions > 0 for node in nodes] == [False, False, True]
    # Each node's own metadata is used: what one of them writes, the others must not read.
    assert not list((tmp_path / ".bittensor").rglob("*.bin"))


async def test_second_instance_that_one_liar_invents_stops_nothing(
    make: Make, signer: SignerProcess, client: SignerClient
) -> None:
    world = await make()
    _start(signer, world)
    await set_now(client, WEIGHTS)
    _update_by_another(world)

    for _ in range(4):
        await world.chain.wait_for_block(world.chain.block + 1)
        await client.check_update()


async def test_what_one_node_says_alone_does_not_end_the_validator(
    make: Make, signer: SignerProcess, client: SignerClient
) -> None:
    world = await make()
    _start(signer, world)
    await set_now(client, WEIGHTS)
    _update_by_another(world)
    for endpoint in world.further[:-1]:
        await endpoint.close()
    await world.chain._main.close()

    for _ in range(5):
        await world.chain.wait_for_block(world.chain.block + 1)
        with pytest.raises(SigningRefused, match="another program"):
            await client.check_update()

    ours = bytes(keypair(VALIDATOR_URI).public_key).hex()

    def without_us(truth: Any) -> Any:
        return {**truth, "result": truth["result"].replace(ours, "07" * 32)}

    lie = world.liar.lies.tell(GET_METAGRAPH, without_us, times=None)
    with pytest.raises(TransientError, match="not registered on subnet 57, as some nodes say"):
        await client.read_metagraph()
    lie.times = 0
    world.liar.lies.tell(GET_METAGRAPH, result("0x00"), times=None)
    with pytest.raises(TransientError, match="no other node confirms it"):
        await client.read_metagraph()


async def test_consensus_that_one_node_alone_tells_is_not_believed(
    make: Make, signer: SignerProcess, client: SignerClient
) -> None:
    world = await make()
    _start(signer, world)

    assert (await client.read_consensus()).hotkey == keypair(VALIDATOR_URI).ss58_address
    for endpoint in world.further:
        await endpoint.close()

    with pytest.raises(TransientError, match="no other confirms it"):
        await client.read_consensus()
