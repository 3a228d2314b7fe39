"""A client of another make reads the local chain and sets weights on it, as on a real node."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from async_substrate_interface import AsyncSubstrateInterface
from async_substrate_interface.errors import SubstrateRequestException

from gaia.localnet.chain.node import LocalChain
from gaia.localnet.wallets import VALIDATOR_URI, keypair
from tests.support.subnet import MINERS, NETUID, OWNER, VALIDATOR, block_time_s, neurons

_TEMPO = 9999
_PALLET = "SubtensorModule"


class Key:
    """The validator's key, as this client wants keys to be."""

    def __init__(self) -> None:
        self._key = keypair(VALIDATOR_URI)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._key, name)

    def sign(self, data: Any) -> bytes:
        return bytes(self._key.sign(bytes(data)))


@pytest.fixture
async def chain() -> AsyncIterator[LocalChain]:
    chain = LocalChain(neurons(), block_time_s=block_time_s(), tempo=_TEMPO, finality_lag=2)
    await chain.start()
    yield chain
    await chain.stop()


@pytest.fixture
async def client(chain: LocalChain) -> AsyncIterator[AsyncSubstrateInterface]:
    async with AsyncSubstrateInterface(chain.url, ss58_format=42) as client:
        yield client


async def _submitted(client: AsyncSubstrateInterface, call: Any) -> Any:
    extrinsic = await client.create_signed_extrinsic(call=call, keypair=Key(), era={"period": 16})
    return await client.submit_extrinsic(extrinsic, wait_for_inclusion=True, wait_for_finalization=True)


async def _weights(client: AsyncSubstrateInterface, **changes: Any) -> Any:
    vector = {"netuid": NETUID, "mecid": 0, "dests": [1, 2], "weights": [65535, 7], "version_key": 0}
    return await client.compose_call(_PALLET, "set_mechanism_weights", vector | changes)


async def test_subnet_is_read_whole(client: AsyncSubstrateInterface) -> None:
    tempo: Any = await client.query(_PALLET, "Tempo", [NETUID])
    graph: Any = await client.runtime_call("SubnetInfoRuntimeApi", "get_metagraph", [NETUID])

    assert tempo == _TEMPO
    assert graph["hotkeys"] == [VALIDATOR, *MINERS, OWNER]
    assert [bool(permit) for permit in graph["validator_permit"]] == [True, False, False, False, False]


async def test_weights_are_set_and_a_refusal_has_the_runtimes_name(
    chain: LocalChain, client: AsyncSubstrateInterface
) -> None:
    receipt = await _submitted(client, await _weights(client))
    twice = await _submitted(client, await _weights(client, dests=[1, 1]))

    assert await receipt.is_success
    assert chain.weights(0) == [(1, 65535), (2, 7)]
    assert not await twice.is_success
    assert (await twice.error_message)["name"] == "DuplicateUids"


async def test_pool_refuses_weights_that_are_too_soon(
    chain: LocalChain, client: AsyncSubstrateInterface
) -> None:
    await _submitted(client, await _weights(client))
    chain.write_storage("WeightsSetRateLimit", NETUID, value=1000)

    with pytest.raises(SubstrateRequestException, match="Custom error: 6"):
        await _submitted(client, await _weights(client))


async def test_anybody_may_remark(client: AsyncSubstrateInterface) -> None:
    receipt = await _submitted(client, await client.compose_call("System", "remark", {"remark": "0x6761"}))

    assert await receipt.is_success
