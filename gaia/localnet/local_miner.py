"""The miner of a local subnet from which all others differ, and the world it shares with them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from gaia.localnet.population import MinerSpec
from gaia.localnet.wallets import keypair
from gaia.localnet.weather import WeatherReplay
from gaia.miner.inference import ForecastModel
from gaia.miner.server import MinerOptions, ReferenceMiner
from gaia.validator.core.clock import SimulatedClock
from gaia.validator.utils.config import SURFACE_FIELDS


class ServedMiner(Protocol):
    """What the farm needs of a miner."""

    hotkey: str

    async def serve(
        self, host: str, port: int = 0, *, certificate: tuple[Path, Path] | None = None
    ) -> tuple[str, int]: ...

    async def stop(self) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """What the miners of one population share."""

    replay: WeatherReplay
    specs: Sequence[MinerSpec]
    directory: Path
    """Each miner keeps its forecasts in a folder below."""
    clock: SimulatedClock
    options: MinerOptions
    """Of all miners; the directory is replaced by the miner's own."""
    fields: tuple[str, ...] = SURFACE_FIELDS

    def directory_of(self, spec: MinerSpec) -> Path:
        return self.directory / spec.name


class LocalMiner(ReferenceMiner):
    """The reference miner, on the simulated clock, which it holds while it computes."""

    def __init__(self, spec: MinerSpec, world: World, model: ForecastModel) -> None:
        hold: Callable[[str], AbstractContextManager[None]] = world.clock.held
        options = replace(world.options, directory=world.directory_of(spec))
        super().__init__(keypair(spec.uri), model, options, now=world.clock.now, hold=hold)
        self.spec = spec
        self.world = world
