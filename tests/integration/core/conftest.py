"""Miners behind TLS with a client for them, and a signer with one for it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gaia.miner.sessions import write_certificate
from gaia.validator.core.chain.signer_client import SignerClient
from gaia.validator.core.miner_comms import MinerComms
from tests.support.miners import LocalSigner, settings_for_miners
from tests.support.patience import patience
from tests.support.served_miners import Starter
from tests.support.signers import SignerProcess


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return write_certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture
async def start(tmp_path: Path, certificate: tuple[Path, Path]) -> AsyncIterator[Starter]:
    """Starts a miner; returns its neuron."""
    starter = Starter(tmp_path / "forecasts", certificate)
    yield starter
    await asyncio.gather(*(miner.stop() for miner in starter.running))


@pytest.fixture
async def comms(start: Starter) -> AsyncIterator[MinerComms]:
    async with MinerComms(settings_for_miners(), "0.25", LocalSigner()) as client:
        yield client


@pytest.fixture
async def client(signer: SignerProcess) -> AsyncIterator[SignerClient]:
    client = SignerClient(signer.path, chain_timeout_s=patience(10.0))
    yield client
    await client.close()
