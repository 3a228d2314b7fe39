"""The local node as a client of any make meets it: requests as they go over the wire."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import connect

from gaia.localnet.chain.node import LocalChain
from tests.support.subnet import block_time_s, neurons


@pytest.fixture
async def chain() -> AsyncIterator[LocalChain]:
    chain = LocalChain(neurons(), block_time_s=block_time_s())
    yield chain
    await chain.stop()


async def test_the_node_runs_as_a_program_and_says_where(tmp_path: Path) -> None:
    listing = tmp_path / "neurons.json"
    listing.write_text(json.dumps([asdict(neuron) for neuron in neurons()]))
    program = [sys.executable, "-m", "gaia.localnet.chain.node", str(listing), "--block-time", "0.05"]
    node = await asyncio.create_subprocess_exec(*program, stdout=subprocess.PIPE, env=dict(os.environ))
    assert node.stdout is not None
    url = json.loads(await node.stdout.readline())["url"]
    async with connect(url) as connection:
        head = await _ask(connection, "chain_getHeader")
    node.terminate()
    await node.communicate()

    assert node.returncode == 0
    assert int(head["number"], 16) >= 0


async def test_a_client_of_another_make_is_served_too(chain: LocalChain) -> None:
    async with connect(await chain.start()) as connection:
        subscription = await _ask(connection, "chain_subscribeNewHeads")
        first = json.loads(await connection.recv())
        second = json.loads(await connection.recv())
        await _send(connection, "chain_unsubscribeNewHeads", [subscription])
        version = None
        async for message in connection:
            answer = json.loads(message)
            if answer.get("id") == 1:
                version = answer["result"]
                break
    numbers = [int(notice["params"]["result"]["number"], 16) for notice in (first, second)]
    assert numbers[1] == numbers[0] + 1
    assert version is True


@pytest.mark.parametrize(
    ("method", "parameters", "code"),
    [
        ("chain_getPudding", [], -32601),
        ("author_submitExtrinsic", ["0x1084616263"], 1010),
        ("state_getStorage", ["0x00", "0x" + "11" * 32], -32000),
        ("state_getStorage", ["not hex"], -32000),
        ("chain_getHeader", ["a", "b", "c"], -32000),
    ],
)
async def test_what_cannot_be_answered_has_the_nodes_error_code(
    chain: LocalChain, method: str, parameters: list[str], code: int
) -> None:
    async with connect(await chain.start()) as connection:
        await _send(connection, method, parameters)
        assert json.loads(await connection.recv())["error"]["code"] == code


async def test_requests_come_in_batches_and_with_named_parameters(chain: LocalChain) -> None:
    async with connect(await chain.start()) as connection:
        batch = [
            {"jsonrpc": "2.0", "id": 1, "method": "chain_getBlockHash", "params": {"number": 0}},
            {"jsonrpc": "2.0", "id": 2, "method": "system_chain"},
        ]
        await connection.send(json.dumps(batch))
        first, second = json.loads(await connection.recv())
    assert len(first["result"]) == 66
    assert second["result"] == "Gaia local subnet"


async def _send(connection: Any, method: str, parameters: list[Any] | None = None) -> None:
    request = {"jsonrpc": "2.0", "id": 1, "method": method, "params": parameters or []}
    await connection.send(json.dumps(request))


async def _ask(connection: Any, method: str) -> Any:
    await _send(connection, method)
    return json.loads(await connection.recv())["result"]
