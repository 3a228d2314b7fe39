"""A proxy named in the environment is used for strangers, and never for this machine."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import pytest
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.proxy import get_proxy
from websockets.uri import parse_uri

from gaia.localnet.chain.readback import read_chain
from gaia.validator.utils.proxies import spare_loopback

NOBODY = "http://127.0.0.1:9"
VARIABLES = ("http_proxy", "https_proxy", "all_proxy", "ws_proxy", "wss_proxy")


@pytest.fixture(autouse=True)
def dead_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every proxy that a library may look for is one that nobody serves."""
    for name in VARIABLES:
        monkeypatch.setenv(name, NOBODY)
        monkeypatch.setenv(name.upper(), NOBODY)
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
async def node() -> AsyncIterator[str]:
    """A node that knows no method."""

    async def refuse(connection: ServerConnection) -> None:
        async for message in connection:
            answers = [{"id": call["id"], "error": {"message": "unknown"}} for call in json.loads(message)]
            await connection.send(json.dumps(answers))

    server: Server
    async with serve(refuse, "127.0.0.1", 0) as server:
        yield f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def test_local_chain_is_read_past_the_proxy(node: str) -> None:
    with pytest.raises(ValueError, match="chain_getHead: unknown"):
        await read_chain(node, 57)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "127.0.0.7"])
def test_own_node_is_spared(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"ws://{host}:9944"
    assert get_proxy(parse_uri(url)) == NOBODY
    monkeypatch.setenv("no_proxy", "")  # so that both are as they were afterwards
    monkeypatch.setenv("NO_PROXY", "")

    spare_loopback(url)

    assert get_proxy(parse_uri(url)) is None
    assert get_proxy(parse_uri("wss://entrypoint.example.net:443")) == NOBODY


@pytest.mark.parametrize("name", ["no_proxy", "NO_PROXY"])
def test_what_was_spared_before_still_is(name: str) -> None:
    environment = {name: "example.org, .internal"}

    spare_loopback(environment=environment)

    expected = "example.org,.internal,localhost,127.0.0.1,::1"
    assert environment["no_proxy"] == environment["NO_PROXY"] == expected
