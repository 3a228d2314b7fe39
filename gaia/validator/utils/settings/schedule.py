"""Settings of the schedule: when runs open, and on which clock."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import AfterValidator

from gaia.validator.utils.setting_sources import HandedSettings, setting


def _in_utc(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


class ScheduleSettings(HandedSettings):
    """Settings for opening runs and waiting for due moments."""

    heading: ClassVar[str] = "Schedule"

    run_hour_utc: int = setting(
        18, "Hour (UTC) at which the daily run opens.", "WEATHER_RUN_HOUR_UTC", ge=0, le=23
    )
    run_minute_utc: int = setting(
        0, "Minute of that hour at which the daily run opens.", "WEATHER_RUN_MINUTE_UTC", ge=0, le=59
    )
    run_jitter_minutes: float = setting(
        30.0,
        "Maximum random delay of the daily run, in minutes. It keeps validators from asking miners at the same time.",
        ge=0,
    )
    run_look_back_hours: float = setting(
        6.0,
        "Hours after its opening during which a missed run is still opened. Older ones are skipped.",
        ge=0,
    )
    last_run: Annotated[datetime, AfterValidator(_in_utc)] | None = setting(
        None,
        "Latest initial time (UTC) for which a run opens. Empty: no limit. For rehearsals only.",
    )
    test_mode: bool = setting(
        False,
        "Open a run every half hour, for a past day, as `--test` does. For trials only.",
        "WEATHER_TASK_TEST_MODE",
    )
    hindcast_days: int = setting(
        8,
        "Number of days by which test mode puts the initial time into the past.",
        ge=1,
    )
    tick_interval_s: float = setting(5.0, "Seconds between two checks for work that is due.", gt=0)
    clock_file: Path | None = setting(
        None,
        "File of a simulated clock. Empty: the clock of this machine. For rehearsals only.",
    )
