"""`gaia watch` against a local chain, with a webhook that takes its messages."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gaia.localnet.chain.lies import result
from gaia.localnet.chain.node import LocalChain
from tests.support.patience import patience
from tests.support.repository import ROOT
from tests.support.subnet import NETUID, VALIDATOR, neurons
from tests.support.webhooks import Webhook, webhook

NOW = "0xf0c365c3cf59d671eb72da0e7a4113c49f1f0515f462cdcf84e0f1d6045dfcbb"
"""Storage key of the newest block's time."""


def _moment(ago_s: int) -> str:
    return "0x" + int(1000 * (time.time() - ago_s)).to_bytes(8, "little").hex()


@pytest.fixture
async def chain() -> AsyncIterator[LocalChain]:
    chain = LocalChain(neurons(), block_time_s=0.1, first_block=5000)
    yield chain
    await chain.stop()


@pytest.fixture
async def hook() -> AsyncIterator[Webhook]:
    async with webhook() as served:
        yield served


async def started(home: Path, *options: str) -> Process:
    environment = os.environ | {
        "HOME": str(home),
        "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]),
    }
    command = (sys.executable, "-m", "gaia.cli", "watch", "--hotkey", VALIDATOR, "--json", *options)
    return await asyncio.create_subprocess_exec(*command, stdout=PIPE, stderr=PIPE, env=environment, cwd=home)


async def looked_once(home: Path, *options: str) -> tuple[int, dict[str, object], str]:
    """Return exit code, finding and standard error of one look."""
    process = await started(home, "--once", *options)
    async with asyncio.timeout(patience(60)):
        out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, json.loads(out) if out else {}, err.decode()


async def test_weights_of_a_validator_are_judged_from_the_chain_alone(
    chain: LocalChain, hook: Webhook, tmp_path: Path
) -> None:
    url = await chain.start()
    chain.write_storage("LastUpdate", NETUID, value=[4990, 0, 0, 0, 0])
    await chain.wait_for_block(chain.block + 1)
    alive = f"http://127.0.0.1:{hook.port}/alive"

    code, well, _ = await looked_once(tmp_path, "--endpoint", url, "--notify", hook.address, "--alive", alive)

    assert (code, well["state"], well["last_update"]) == (0, "well", 4990)
    assert hook.gets.get_nowait() == "/alive"
    assert hook.posted == []

    code, old, _ = await looked_once(
        tmp_path, "--endpoint", url, "--notify", hook.address, "--alive", alive, "--older-than", "5"
    )

    assert (code, old["state"]) == (1, "old")
    assert hook.gets.empty()
    [message] = hook.posted
    assert "blocks old, and 5 are allowed" in message["message"]


async def test_next_node_is_asked_if_one_is_away(chain: LocalChain, tmp_path: Path) -> None:
    url = await chain.start()
    chain.write_storage("LastUpdate", NETUID, value=[4990, 0, 0, 0, 0])
    await chain.wait_for_block(chain.block + 1)
    nobody = "ws://127.0.0.1:9"

    assert (await looked_once(tmp_path, "--endpoint", nobody, "--endpoint", url))[1]["state"] == "well"

    code, lost, _ = await looked_once(tmp_path, "--endpoint", nobody)
    assert (code, lost["state"]) == (2, "unreadable")
    assert nobody in str(lost["sentence"])


@pytest.mark.parametrize(("ago", "words"), [(3600, "s old"), (-3600, "s in the future")])
async def test_node_whose_newest_block_is_of_another_time_is_not_believed(
    chain: LocalChain, hook: Webhook, tmp_path: Path, ago: int, words: str
) -> None:
    url = await chain.start()
    chain.write_storage("LastUpdate", NETUID, value=[4990, 0, 0, 0, 0])
    await chain.wait_for_block(chain.block + 1)
    chain.lies.tell(NOW, result(_moment(ago)), times=None)

    code, found, _ = await looked_once(tmp_path, "--endpoint", url, "--notify", hook.address)

    assert (code, found["state"]) == (2, "standing")
    assert words in str(found["sentence"])
    assert "no node has new blocks" in hook.posted[0]["message"].lower()


async def test_watch_shouts_when_its_node_stands_still_and_when_it_goes_on(
    chain: LocalChain, tmp_path: Path
) -> None:
    url = await chain.start()
    chain.write_storage("LastUpdate", NETUID, value=[4990, 0, 0, 0, 0])
    await chain.wait_for_block(chain.block + 1)
    chain.lies.tell(NOW, result(_moment(3600)), times=None)
    async with webhook() as hook:
        process = await started(tmp_path, "--endpoint", url, "--every", "1", "--notify", hook.address)
        async with asyncio.timeout(patience(60)):
            while len(hook.posted) < 1:
                await asyncio.sleep(0.05)
            chain.lies.end()
            while len(hook.posted) < 2:
                await asyncio.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        await process.communicate()

    assert [each["title"].partition(": ")[2] for each in hook.posted[:2]] == ["standing", "well again"]


async def test_node_that_stands_still_is_passed_over_for_one_that_goes_on(
    chain: LocalChain, tmp_path: Path
) -> None:
    still = LocalChain(neurons(), block_time_s=0.1, first_block=5000)
    urls = await still.start(), await chain.start()
    still.lies.tell(NOW, result(_moment(3600)), times=None)
    chain.write_storage("LastUpdate", NETUID, value=[4990, 0, 0, 0, 0])
    await chain.wait_for_block(chain.block + 1)

    code, found, _ = await looked_once(tmp_path, "--endpoint", urls[0], "--endpoint", urls[1])
    await still.stop()

    assert (code, found["state"]) == (0, "well")


async def test_address_that_names_no_service_is_refused_before_the_first_look(tmp_path: Path) -> None:
    code, found, words = await looked_once(tmp_path, "--notify", "nowhere://hushhush")

    assert (code, found) == (2, {})
    assert "address 1 (nowhere)" in words
    assert "hushhush" not in words


async def test_watch_looks_until_sigterm_and_ends_well(
    chain: LocalChain, hook: Webhook, tmp_path: Path
) -> None:
    url = await chain.start()
    alive = f"http://127.0.0.1:{hook.port}/alive"
    chain.write_storage("LastUpdate", NETUID, value=[4990, 0, 0, 0, 0])
    await chain.wait_for_block(chain.block + 1)
    process = await started(tmp_path, "--endpoint", url, "--every", "1", "--alive", alive)
    async with asyncio.timeout(patience(60)):
        for _ in range(2):
            await hook.gets.get()
        process.send_signal(signal.SIGTERM)
        out, err = await process.communicate()

    assert process.returncode == 0
    assert b"Traceback" not in err
    assert out.count(b'"state": "well"') >= 2


async def test_message_that_no_address_took_is_sent_again_at_the_next_look(
    chain: LocalChain, tmp_path: Path
) -> None:
    url = await chain.start()
    chain.write_storage("LastUpdate", NETUID, value=[4000, 0, 0, 0, 0])
    await chain.wait_for_block(chain.block + 1)
    async with webhook("500 No") as broken:
        process = await started(tmp_path, "--endpoint", url, "--every", "1", "--notify", broken.address)
        async with asyncio.timeout(patience(60)):
            while len(broken.posted) < 3:  # the third says that two answers were read
                await asyncio.sleep(0.05)
            process.send_signal(signal.SIGTERM)
            _, err = await process.communicate()

    assert err.count(b"refused the message") >= 2
