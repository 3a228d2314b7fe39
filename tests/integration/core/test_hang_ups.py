"""Nodes that end a connection in order, as at a restart, while a question waits on it."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from gaia.localnet.chain.endpoint import Endpoint
from gaia.localnet.chain.lies import silence
from gaia.localnet.chain.node import LocalChain
from gaia.validator.core.chain.client import ChainClient
from tests.support.patience import patience
from tests.support.subnet import NETUID, block_time_s, neurons

_TEMPO = 9999
"""Blocks of an epoch that no test outlives."""


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The SDK keeps caches in the home folder."""
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.fixture
async def endpoint() -> AsyncIterator[Endpoint]:
    chain = LocalChain(neurons(), block_time_s=block_time_s(), tempo=_TEMPO)
    await chain.start()
    yield await chain.further_endpoint()
    await chain.stop()


def _key(endpoint: Endpoint) -> str:
    return "0x" + endpoint.view.runtime.storage_key("SubtensorModule", "Tempo", [NETUID]).hex()


async def test_question_that_waits_is_asked_again_over_the_next_connection(endpoint: Endpoint) -> None:
    complaints: list[str] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, told: complaints.append(told["message"]))
    client = await ChainClient.connect(endpoint.url, timeout_s=patience(20.0))
    is_asked = asyncio.Event()

    def answer_nothing(truth: Any) -> Any:
        is_asked.set()
        return silence(truth)

    endpoint.lies.tell(_key(endpoint), answer_nothing)
    question = asyncio.create_task(client.query("Tempo", NETUID))
    await is_asked.wait()

    assert await endpoint.hang_up() == 1
    assert await question == _TEMPO

    assert await client.query("Tempo", NETUID) == _TEMPO
    await client.close()
    gc.collect()
    assert complaints == []


async def test_question_after_a_quiet_connection_ended_is_answered(endpoint: Endpoint) -> None:
    client = await ChainClient.connect(endpoint.url, timeout_s=patience(20.0))
    assert await client.query("Tempo", NETUID) == _TEMPO

    assert await endpoint.hang_up() == 1

    assert await client.query("Tempo", NETUID) == _TEMPO
    await client.close()


async def test_node_that_was_away_while_nobody_asked_leaves_no_error_behind(endpoint: Endpoint) -> None:
    complaints: list[str] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, told: complaints.append(told["message"]))
    client = await ChainClient.connect(endpoint.url, timeout_s=patience(20.0))
    assert await client.query("Tempo", NETUID) == _TEMPO
    keeping = next(task for task in asyncio.all_tasks() if task.get_name() == "rpc-session")

    place = urlsplit(endpoint.url)
    await endpoint.close()
    await asyncio.wait([keeping])
    await endpoint.open(port=place.port or 0)

    assert await client.query("Tempo", NETUID) == _TEMPO
    await client.close()
    del keeping
    gc.collect()
    assert complaints == []
