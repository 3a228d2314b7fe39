"""Options of a miner, and one requested forecast."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class MinerOptions:
    """Options of a miner: what it forecasts, for whom, and where it stores forecasts."""

    directory: Path
    """Folder of the forecasts."""
    grid: str = "0.25"
    """Key of `weather.variables.GRIDS`."""
    steps: int = 40
    step_hours: int = 6
    validators: frozenset[str] | None = None
    """Hotkeys of the validators that get answers; None: all."""
    token_minutes: float = 120.0
    token_secret: str = ""
    """Key of the access tokens, at least 32 characters; empty: a random key for this process."""
    keep_days: float = 20.0
    """Age at which a forecast is deleted; its last lead is scored after about 16 days."""

    @property
    def lead_hours(self) -> list[int]:
        return [self.step_hours * (step + 1) for step in range(self.steps)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One requested forecast."""

    job_id: str
    init_time: datetime
    status: Literal["in_progress", "completed", "failed"]
    manifest_sha256: str = ""
    message: str = ""
