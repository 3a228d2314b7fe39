"""Weights on a chain whose runtime gets another version while the signer is connected."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gaia.localnet.chain.node import LocalChain
from gaia.validator.core.chain.signer_client import SignerClient
from gaia.validator.utils.errors import TransientError
from tests.support.signers import SignerProcess
from tests.support.subnet import block_time_s, neurons, set_now

_TEMPO = 9999
"""Blocks of an epoch that no test outlives."""
_WEIGHTS = {1: 65535, 2: 300}
_NEW_SPEC = 462


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The SDK keeps caches in the home folder."""
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.fixture
async def chain() -> AsyncIterator[LocalChain]:
    chain = LocalChain(neurons(), block_time_s=block_time_s(), tempo=_TEMPO)
    yield chain
    await chain.stop()


async def test_nothing_is_signed_for_the_runtime_of_before_an_upgrade(
    chain: LocalChain, signer: SignerProcess, client: SignerClient
) -> None:
    signer.start(await chain.start())
    before = await set_now(client, _WEIGHTS)
    chain.upgrade(_NEW_SPEC)
    await chain.wait_for_block(chain.block + 1)

    with pytest.raises(TransientError, match="upgraded from 461 to 462"):
        await set_now(client, _WEIGHTS)
    landed = await set_now(client, _WEIGHTS)

    assert landed.block > before.block
    assert chain.last_update(0) == landed.block
