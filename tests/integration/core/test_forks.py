"""Weights on a chain whose newest blocks are not final, and which takes blocks back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gaia.localnet.chain.node import LocalChain
from gaia.validator.core.chain.signer_client import SignerClient
from gaia.validator.utils.errors import TransientError
from tests.support.patience import Deadline
from tests.support.signers import SignerProcess
from tests.support.subnet import block_time_s, neurons, set_now

_TEMPO = 9999
"""Blocks of an epoch that no test outlives."""
_LAG = 3
_WEIGHTS = {1: 65535, 2: 300}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The SDK keeps caches in the home folder."""
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.fixture
async def chain() -> AsyncIterator[LocalChain]:
    chain = LocalChain(neurons(), block_time_s=block_time_s(), tempo=_TEMPO, finality_lag=_LAG)
    yield chain
    await chain.stop()


async def _until_set(chain: LocalChain) -> int:
    """Wait until our weights are in the newest block; return its number."""
    deadline = Deadline(20)
    while not chain.weights(0):
        assert not deadline.has_passed
        await chain.wait_for_block(chain.block + 1)
    return chain.block


async def test_weights_are_reported_once_their_block_is_final(
    chain: LocalChain, signer: SignerProcess, client: SignerClient
) -> None:
    signer.start(await chain.start())

    landed = await set_now(client, _WEIGHTS)

    assert chain.block >= landed.block + _LAG
    assert chain.last_update(0) == landed.block


async def test_fork_that_gives_the_extrinsic_back_only_moves_the_weights(
    chain: LocalChain, signer: SignerProcess, client: SignerClient
) -> None:
    signer.start(await chain.start())
    setting = asyncio.create_task(set_now(client, _WEIGHTS))
    first = await _until_set(chain)

    await chain.retract(chain.block - first + 1)
    assert chain.weights(0) == []
    landed = await setting

    assert landed.block >= first
    assert chain.last_update(0) == landed.block
    assert chain.weights(0) == list(_WEIGHTS.items())
    assert len(chain.submitted) == 1


async def test_fork_that_loses_the_extrinsic_is_a_failure_and_the_same_vector_lands_later(
    chain: LocalChain, signer: SignerProcess, client: SignerClient
) -> None:
    signer.start(await chain.start())
    setting = asyncio.create_task(set_now(client, _WEIGHTS))
    first = await _until_set(chain)

    await chain.retract(chain.block - first + 1, keep=False)
    with pytest.raises(TransientError):
        await setting
    landed = await set_now(client, _WEIGHTS)

    assert chain.last_update(0) == landed.block > first
    assert [extrinsic.arguments["dests"] for _, extrinsic in chain.submitted] == [[1, 2], [1, 2]]
