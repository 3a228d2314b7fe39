"""The node of the operator's campaign lies and goes away as it is told, and comes back."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from campaigns.operator_faults.node import chain, tell

from gaia.localnet.children import ready_path
from gaia.localnet.options import NETUID, Options
from gaia.localnet.services import MINERS
from gaia.localnet.wallets import VALIDATOR_URI, keypair
from gaia.validator.core.chain.client import ChainClient
from gaia.validator.utils.chain.metagraph import Metagraph
from gaia.validator.utils.errors import GaiaError, SubnetMissing
from tests.support.patience import patience

OURS = keypair(VALIDATOR_URI).ss58_address


@pytest.fixture
async def url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[str]:
    monkeypatch.setenv("HOME", str(tmp_path))
    miner = {"index": 0, "hotkey": keypair("//Alice").ss58_address, "host": "127.0.0.10", "port": 4000}
    ready_path(tmp_path, MINERS).write_text(json.dumps({"miners": [miner]}))
    async with chain(tmp_path, Options(miners=1)) as served:
        yield served["url"]


async def seen(url: str) -> Metagraph:
    client = await ChainClient.connect(url, patience(10.0))
    try:
        return await client.metagraph(NETUID, OURS)
    finally:
        await client.close()


async def permit(url: str) -> bool:
    graph = await seen(url)
    return next(each.validator_permit for each in graph.neurons if each.uid == graph.own_uid)


async def test_hotkey_is_gone_until_the_node_tells_the_truth(url: str, tmp_path: Path) -> None:
    await tell(tmp_path, "deregister")
    gone = await seen(url)
    await tell(tmp_path, "truth")

    assert gone.own_uid is None
    assert (await seen(url)).own_uid == 0


async def test_subnet_is_denied_until_the_node_tells_the_truth(url: str, tmp_path: Path) -> None:
    await tell(tmp_path, "null_metagraph")
    with pytest.raises(SubnetMissing):
        await seen(url)
    await tell(tmp_path, "truth")

    assert (await seen(url)).netuid == NETUID


async def test_permit_is_taken_and_given_back(url: str, tmp_path: Path) -> None:
    async def until(wanted: bool) -> None:
        while await permit(url) is not wanted:
            await asyncio.sleep(0.05)

    await tell(tmp_path, "no_permit")
    await asyncio.wait_for(until(wanted=False), patience(10.0))
    await tell(tmp_path, "permit")
    await asyncio.wait_for(until(wanted=True), patience(10.0))


async def test_node_that_went_away_comes_back_at_the_same_address(url: str, tmp_path: Path) -> None:
    before = await seen(url)
    await tell(tmp_path, "down")
    with pytest.raises((GaiaError, OSError)):
        await seen(url)
    await tell(tmp_path, "up")

    assert (await seen(url)).block >= before.block


async def test_command_that_nobody_knows_is_refused(url: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="dance"):
        await tell(tmp_path, "dance")

    assert (await seen(url)).own_uid == 0
