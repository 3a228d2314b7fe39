"""Reference miners that a test starts, each on an address of its own."""

from __future__ import annotations

import itertools
from pathlib import Path

from bittensor_core import Keypair

from gaia.miner.server import ReferenceMiner
from gaia.tasks.defined_tasks.base import StoreAccess
from gaia.validator.core.miner_comms import MinerComms
from gaia.validator.utils.chain.metagraph import Neuron
from gaia.validator.utils.identities import MinerJobId
from tests.support.miners import INIT_TIME, a_model, a_neuron, miner_options

KEYPAIR = Keypair.create_from_uri("//Miner/1")
_hosts = itertools.count(1)


class Starter:
    """Starts miners of a given class, each on an address of its own."""

    def __init__(self, directory: Path, certificate: tuple[Path, Path]) -> None:
        self.running: list[ReferenceMiner] = []
        self._directory = directory
        self._certificate = certificate

    async def __call__(
        self, kind: type[ReferenceMiner] = ReferenceMiner, port: int = 0, host: str = ""
    ) -> Neuron:
        miner = kind(KEYPAIR, a_model(), miner_options(self._directory))
        self.running.append(miner)
        address = host or f"127.0.1.{next(_hosts)}"
        ip, port = await miner.serve(address, port, certificate=self._certificate)
        return a_neuron(miner.hotkey, ip, port)


async def a_finished_forecast(
    comms: MinerComms, start: Starter, kind: type[ReferenceMiner] = ReferenceMiner
) -> tuple[Neuron, MinerJobId, StoreAccess]:
    """Ask for a forecast and wait for it; returns neuron, job id and access."""
    neuron = await start(kind)
    offer = await comms.request_forecast(neuron, INIT_TIME)
    await start.running[-1].finished()
    return neuron, offer.job_id, await comms.open_store(neuron, offer.job_id)
