"""What a process or a task is handed that needs several sections, but not all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from gaia.validator.utils.settings.chain import ChainSettings
    from gaia.validator.utils.settings.contract import ContractSettings
    from gaia.validator.utils.settings.files import FilesSettings
    from gaia.validator.utils.settings.miners import MinersSettings
    from gaia.validator.utils.settings.observation import ObservationSettings
    from gaia.validator.utils.settings.pool import PoolSettings
    from gaia.validator.utils.settings.schedule import ScheduleSettings
    from gaia.validator.utils.settings.sources import SourcesSettings
    from gaia.validator.utils.settings.weights import WeightsSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class SignerSettings:
    """For the process that holds the hotkey: no password of the database, no key of an archive."""

    chain: ChainSettings
    observation: ObservationSettings
    data_dir: Path
    drain_timeout_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class WeatherSettings:
    """For the weather task, which gives each of its parts the sections that it needs."""

    contract: ContractSettings
    schedule: ScheduleSettings
    miners: MinersSettings
    sources: SourcesSettings
    weights: WeightsSettings
    files: FilesSettings
    pool: PoolSettings
