"""Idle connections are closed, busy ones are left alone, and the next request opens another."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest
from structlog.testing import capture_logs

from gaia.tasks.defined_tasks.weather.references.keys import ReferenceSource
from gaia.tasks.defined_tasks.weather.sources.transfer import Transfer
from gaia.validator.core.background.connections import ClientHealth, SubstrateCleanup
from gaia.validator.utils.idle_connections import Connections, close_idle
from gaia.validator.utils.signer_messages import ChainRenewed
from tests.support.patience import patience


class KeepAlive:
    """An HTTP server that keeps connections open, and says how many there are."""

    def __init__(self) -> None:
        self.open = 0
        self.answers = asyncio.Event()
        self.answers.set()
        self.asked = asyncio.Event()
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open += 1
        try:
            while True:
                await reader.readuntil(b"\r\n\r\n")
                self.asked.set()
                await self.answers.wait()
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.open -= 1
            writer.close()

    async def until_open(self, count: int) -> None:
        async with asyncio.timeout(patience(10.0)):
            while self.open != count:
                await asyncio.sleep(0.001)


@asynccontextmanager
async def serving() -> AsyncIterator[KeepAlive]:
    server = KeepAlive()
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    server.url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    try:
        yield server
    finally:
        server.answers.set()
        listening.close()


@pytest.fixture
async def server() -> AsyncIterator[KeepAlive]:
    async with serving() as served:
        yield served


@pytest.fixture
async def transfer() -> AsyncIterator[Transfer]:
    client = Transfer("the archive", patience(10.0), ReferenceSource.GFS)
    yield client
    await client.aclose()


async def test_idle_connections_are_closed_counted_and_told(server: KeepAlive, transfer: Transfer) -> None:
    ask = [transfer.request("GET", server.url, limit_bytes=10) for _ in range(3)]
    await asyncio.gather(*ask)
    assert server.open == 3

    with capture_logs() as logs:
        health = ClientHealth({"archive": transfer})
        await health.monitor_client_health()
        await server.until_open(0)
        await health.monitor_client_health()

    assert [(line["event"], line["closed"], line["in_use"]) for line in logs] == [
        ("idle_connections_closed", {"archive": 3}, 0)
    ]


async def test_connection_in_use_is_left_alone_and_its_request_ends(
    server: KeepAlive, transfer: Transfer
) -> None:
    await transfer.request("GET", server.url, limit_bytes=10)
    server.answers.clear()
    server.asked.clear()
    asking = asyncio.create_task(transfer.request("GET", server.url, limit_bytes=10))
    await server.asked.wait()

    counted = await transfer.close_idle()
    server.answers.set()

    assert counted == Connections(closed=0, in_use=1)
    assert (await asking).content == b"ok"


async def test_request_after_the_closing_opens_another_connection(
    server: KeepAlive, transfer: Transfer
) -> None:
    await transfer.request("GET", server.url, limit_bytes=10)
    await transfer.close_idle()

    assert (await transfer.request("GET", server.url, limit_bytes=10)).content == b"ok"


async def test_request_that_was_about_to_use_a_connection_loses_nothing(server: KeepAlive) -> None:
    async with httpx.AsyncClient(mounts={"all://127.0.0.1": None}) as client:
        await client.get(server.url)
        asking = [asyncio.create_task(client.get(server.url)) for _ in range(20)]
        for _ in range(10):
            await close_idle([client._transport])
            await asyncio.sleep(0)

        assert [(await one).text for one in asking] == ["ok"] * 20


async def test_client_that_was_never_used_has_nothing_to_close(transfer: Transfer) -> None:
    assert await transfer.close_idle() == Connections(0, 0)


class Signer:
    """Answers as the chain signer does."""

    def __init__(self, *, is_new: bool) -> None:
        self.is_new = is_new
        self.asked: list[float] = []

    async def renew_chain(self, max_age_s: float) -> ChainRenewed:
        self.asked.append(max_age_s)
        return ChainRenewed(
            request_id=1,
            age_s=30_000.0,
            is_new=self.is_new,
            resident_before_bytes=300 << 20 if self.is_new else 0,
            resident_after_bytes=200 << 20 if self.is_new else 0,
        )


@pytest.mark.parametrize("is_new", [True, False])
async def test_renewal_of_the_chain_connection_is_told_with_what_it_freed(*, is_new: bool) -> None:
    signer = Signer(is_new=is_new)

    with capture_logs() as logs:
        await SubstrateCleanup(signer, max_age_hours=6.0).periodic_substrate_cleanup()

    assert signer.asked == [6 * 3600.0]
    told = [(line["age_s"], line["resident_before_mib"], line["resident_after_mib"]) for line in logs]
    assert told == ([(30_000, 300.0, 200.0)] if is_new else [])
