"""Runs every miner of a local subnet in one process, each on its own address."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from gaia.localnet.miners.behaviours import miner_of
from gaia.localnet.miners.local_miner import ServedMiner, World
from gaia.localnet.options import Options, clock_file
from gaia.localnet.population import MinerSpec, population
from gaia.localnet.wallets import VALIDATOR_URI, keypair
from gaia.localnet.weather.replay import WeatherReplay
from gaia.miner.jobs import MinerOptions
from gaia.miner.sessions import write_certificate
from gaia.validator.core.clock import SimulatedClock


class Farm:
    """The miners of one population."""

    def __init__(self, state_dir: Path, options: Options, replay: WeatherReplay | None = None) -> None:
        self._directory = state_dir / "miners"
        self._specs = population(options.miners, options.seed, options.recast)
        validator = keypair(VALIDATOR_URI).ss58_address
        world = World(
            replay=replay or WeatherReplay(),
            specs=self._specs,
            directory=self._directory,
            clock=SimulatedClock(clock_file(state_dir)),
            options=MinerOptions(
                directory=self._directory, grid=options.grid, validators=frozenset({validator})
            ),
        )
        self._miners = [miner_of(spec, world) for spec in self._specs]

    async def start(self) -> list[dict[str, object]]:
        """Start all miners; return index, hotkey, host and port of each, in order of index."""
        # More models than cores would only compete for the interpreter; a copy waits in a thread as well.
        threads = ThreadPoolExecutor((os.cpu_count() or 1) + 1, "model")
        asyncio.get_running_loop().set_default_executor(threads)
        certificate = write_certificate(self._directory)
        addresses = await asyncio.gather(
            *(
                miner.serve(spec.host, certificate=certificate)
                for spec, miner in zip(self._specs, self._miners, strict=True)
            )
        )
        return _addresses(self._specs, self._miners, addresses)

    async def stop(self) -> None:
        await asyncio.gather(*(miner.stop() for miner in self._miners))


def _addresses(
    specs: Sequence[MinerSpec], miners: Sequence[ServedMiner], addresses: Sequence[tuple[str, int]]
) -> list[dict[str, object]]:
    return [
        {"index": spec.index, "hotkey": miner.hotkey, "host": host, "port": port}
        for spec, miner, (host, port) in zip(specs, miners, addresses, strict=True)
    ]
