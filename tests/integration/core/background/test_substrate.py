"""The signer's connection to a real node: an old one is replaced, a young one stays, no request is lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gaia.localnet.chain.node import LocalChain
from gaia.validator.core.chain.signer_client import SignerClient
from gaia.validator.utils.errors import TransientError
from tests.support.patience import patience
from tests.support.signers import SignerProcess
from tests.support.subnet import neurons


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The SDK keeps caches in the home folder."""
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.fixture
async def chain() -> AsyncIterator[LocalChain]:
    chain = LocalChain(neurons(), block_time_s=0.05, tempo=9999)
    yield chain
    await chain.stop()


@pytest.fixture
async def client(signer: SignerProcess, chain: LocalChain) -> AsyncIterator[SignerClient]:
    signer.start(await chain.start())
    client = SignerClient(signer.path, chain_timeout_s=patience(10.0))
    yield client
    await client.close()


async def test_connection_that_does_not_exist_is_not_made(client: SignerClient) -> None:
    renewed = await client.renew_chain(0.0)

    assert (renewed.is_new, renewed.age_s) == (False, 0.0)


async def test_young_connection_stays_and_an_old_one_is_replaced_and_measured(client: SignerClient) -> None:
    await client.read_metagraph()

    young = await client.renew_chain(3600.0)
    old = await client.renew_chain(0.0)
    after = await client.renew_chain(3600.0)

    assert (young.is_new, old.is_new, after.is_new) == (False, True, False)
    assert 0.0 < young.age_s < old.age_s
    assert old.resident_before_bytes > 2**20
    assert old.resident_after_bytes > 2**20
    assert (await client.read_metagraph()).neurons


async def test_no_reading_is_lost_while_connections_are_replaced(client: SignerClient) -> None:
    await client.read_metagraph()
    readings = [asyncio.create_task(client.read_metagraph()) for _ in range(8)]
    renewals = [await client.renew_chain(0.0) for _ in range(3)]

    assert all([(await reading).neurons for reading in readings])
    assert all(renewal.is_new for renewal in renewals)


async def test_chain_that_is_away_is_a_failure_that_the_next_reading_outlives(
    client: SignerClient, chain: LocalChain, signer: SignerProcess
) -> None:
    await client.read_metagraph()
    await chain.stop()

    with pytest.raises(TransientError):
        await client.renew_chain(0.0)

    assert signer.process is not None
    assert signer.process.is_alive()
