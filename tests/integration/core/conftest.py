"""A client, and miners behind TLS for it to ask."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gaia.miner.sessions import write_certificate
from gaia.validator.core.miner_comms import MinerComms
from tests.support.miners import LocalSigner, settings_for_miners
from tests.support.served_miners import Starter


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
