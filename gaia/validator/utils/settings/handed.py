"""Combinations of sections for processes and tasks that need several of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from gaia.validator.utils.ipc_types import SandboxMode
    from gaia.validator.utils.settings.chain import ChainSettings
    from gaia.validator.utils.settings.contract import ContractSettings
    from gaia.validator.utils.settings.database import DatabaseSettings
    from gaia.validator.utils.settings.files import FilesSettings
    from gaia.validator.utils.settings.miners import MinersSettings
    from gaia.validator.utils.settings.observation import ObservationSettings
    from gaia.validator.utils.settings.pool import PoolSettings
    from gaia.validator.utils.settings.schedule import ScheduleSettings
    from gaia.validator.utils.settings.sources import SourcesSettings
    from gaia.validator.utils.settings.weights import WeightsSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class SignerSettings:
    """Sections for the process with the hotkey, without the passwords of the database and archives."""

    chain: ChainSettings
    observation: ObservationSettings
    drain_timeout_s: float
    signed_epochs: Path
    """File that remembers the vector signed in each epoch."""
    sandbox: SandboxMode


@dataclass(frozen=True, slots=True, kw_only=True)
class WeatherSettings:
    """Sections for the weather task, which gives each of its parts those that it needs."""

    contract: ContractSettings
    schedule: ScheduleSettings
    miners: MinersSettings
    sources: SourcesSettings
    weights: WeightsSettings
    files: FilesSettings
    pool: PoolSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusSettings:
    """Sections for the command status and the pages, which tell what a validator does."""

    chain: ChainSettings
    weights: WeightsSettings
    database: DatabaseSettings
    files: FilesSettings
    pool: PoolSettings
    schedule: ScheduleSettings
    contract: ContractSettings
    sources: SourcesSettings
    observation: ObservationSettings
