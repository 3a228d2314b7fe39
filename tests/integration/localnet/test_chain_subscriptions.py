"""What clients subscribe to: values of storage, heads that are final, and the life of an extrinsic."""

from __future__ import annotations

import itertools
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect

from gaia.localnet.chain.node import LocalChain
from gaia.localnet.wallets import VALIDATOR_URI
from tests.support.subnet import NETUID, block_time_s, neurons, signed_call

_LAG = 2


@pytest.fixture
async def chain() -> AsyncIterator[LocalChain]:
    chain = LocalChain(neurons(), block_time_s=block_time_s(), finality_lag=_LAG)
    await chain.start()
    yield chain
    await chain.stop()


class Client:
    """A client that speaks JSON-RPC, and keeps the notices of each subscription."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._ids = itertools.count(1)
        self._notices: list[tuple[str, Any]] = []

    async def ask(self, method: str, *parameters: Any) -> Any:
        number = next(self._ids)
        request = {"jsonrpc": "2.0", "id": number, "method": method, "params": list(parameters)}
        await self._socket.send(json.dumps(request))
        while "id" not in (answer := await self._next()):
            pass
        assert answer["id"] == number
        return answer["result"]

    async def told(self, subscription: str) -> Any:
        """Return the next notice of a subscription."""
        while True:
            for notice in self._notices:
                if notice[0] == subscription:
                    self._notices.remove(notice)
                    return notice[1]
            await self._next()

    async def _next(self) -> dict[str, Any]:
        message: dict[str, Any] = json.loads(await self._socket.recv())
        if "params" in message:
            self._notices.append((message["params"]["subscription"], message["params"]["result"]))
        return message


@pytest.fixture
async def client(chain: LocalChain) -> AsyncIterator[Client]:
    async with connect(chain.url) as socket:
        yield Client(socket)


async def test_subscriber_of_storage_gets_the_value_and_then_each_change(
    chain: LocalChain, client: Client
) -> None:
    key, other = chain.key_of("Tempo", NETUID), chain.key_of("Kappa", NETUID)
    subscription = await client.ask("state_subscribeStorage", [key, other])
    first = await client.told(subscription)

    chain.write_storage("Tempo", NETUID, value=77)
    changed = await client.told(subscription)

    assert first["changes"] == [[key, "0x0a00"], [other, None]]
    assert changed["changes"] == [[key, "0x4d00"]]
    assert await client.ask("state_unsubscribeStorage", subscription) is True
    assert await client.ask("state_unsubscribeStorage", subscription) is False


async def test_final_head_follows_the_newest_some_blocks_behind(chain: LocalChain, client: Client) -> None:
    await chain.wait_for_block(_LAG + 1)
    newest = await client.ask("chain_subscribeNewHeads")
    final = await client.ask("chain_subscribeFinalizedHeads")
    await client.told(newest)
    await client.told(final)

    heads = [int((await client.told(newest))["number"], 16) for _ in range(3)]
    finals = [int((await client.told(final))["number"], 16) for _ in range(3)]

    assert [head - each for head, each in zip(heads, finals, strict=True)] == [_LAG] * 3


async def test_extrinsic_is_told_ready_in_a_block_and_final(chain: LocalChain, client: Client) -> None:
    remark = {"remark": "0x00"}
    later = signed_call(chain.inner, VALIDATOR_URI, "remark", remark, pallet="System", nonce=1)
    sooner = signed_call(chain.inner, VALIDATOR_URI, "remark", remark, pallet="System", nonce=0)
    second = await client.ask("author_submitAndWatchExtrinsic", "0x" + later.hex())
    assert await client.told(second) == "future"
    assert await client.ask("author_pendingExtrinsics") == []

    first = await client.ask("author_submitAndWatchExtrinsic", "0x" + sooner.hex())

    assert [
        list(status) if isinstance(status, dict) else status for status in await _life(client, first, 3)
    ] == [
        "ready",
        ["inBlock"],
        ["finalized"],
    ]
    assert await client.told(second) == "ready"
    (included,) = (await client.told(second)).values()
    assert await client.told(second) == {"finalized": included}


async def test_extrinsic_whose_block_is_taken_back_is_told_so_and_gets_into_another(
    chain: LocalChain, client: Client
) -> None:
    extrinsic = signed_call(chain.inner, VALIDATOR_URI, "remark", {"remark": "0x00"}, pallet="System")
    subscription = await client.ask("author_submitAndWatchExtrinsic", "0x" + extrinsic.hex())
    ready, included = await _life(client, subscription, 2)

    await chain.retract(1)
    retracted, again, final = await _life(client, subscription, 3)

    assert ready == "ready"
    assert retracted == {"retracted": included["inBlock"]}
    assert final == {"finalized": again["inBlock"]}


async def _life(client: Client, subscription: str, statuses: int) -> list[Any]:
    return [await client.told(subscription) for _ in range(statuses)]
