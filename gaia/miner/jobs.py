"""What a miner forecasts, and one forecast that was asked for."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class MinerOptions:
    """What a miner forecasts, for whom, and where it keeps it."""

    directory: Path
    """Folder of the forecasts."""
    grid: str = "0.25"
    """Key of `weather.variables.GRIDS`."""
    steps: int = 40
    step_hours: int = 6
    validators: frozenset[str] | None = None
    """Hotkeys that are answered; None: everybody."""
    token_minutes: float = 120.0
    token_secret: str = ""
    """Key of the access tokens, 32 characters or more; empty: drawn at start."""
    keep_days: float = 20.0
    """A forecast this old is deleted; ERA5 judges the last lead after about 16 days."""

    @property
    def lead_hours(self) -> list[int]:
        return [self.step_hours * (step + 1) for step in range(self.steps)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One forecast asked for."""

    job_id: str
    init_time: datetime
    status: Literal["in_progress", "completed", "failed"]
    manifest_sha256: str = ""
    message: str = ""
