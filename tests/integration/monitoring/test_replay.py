"""Days that are replayed keep silent where all is well, and do not where something was wrong."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest
from alerting.table import ALERTS
from monitored.prometheus import Storage
from monitored.replay import Key, Scrape, minutes, value_at, write_blocks
from monitored.silence import fired, inlined, spans

from tests.support.programs import program

START = 1_774_400_000.0
REAL = 1_790_000_000.0
TICK: Key = ("gaia_last_success_timestamp_seconds", (("task", "main_scoring"),))
SET: Key = ("gaia_weights_last_set_timestamp_seconds", ())
CLOCK: Key = ("gaia_clock_timestamp_seconds", ())
CHAIN: Key = ("gaia_substrate_connection_status", ())
NAN: Key = ("gaia_weather_score_day1", (("statistic", "median"),))
Change = Callable[[int, dict[Key, float]], None]


def a_day(change: Change = lambda _, __: None) -> list[Scrape]:
    """Return scrapes of a day of the calendar that took five minutes: the clock jumps ten minutes at a time."""
    scrapes = []
    for number in range(145):
        calendar, real = START + 600 * number, REAL + 2 * number
        values = {TICK: real - 1, SET: real - 3, CLOCK: calendar, CHAIN: 1.0, NAN: math.nan}
        change(number, values)
        scrapes.append(Scrape(calendar=calendar, real=real, values=values))
    return scrapes


async def alerts_of(scrapes: list[Scrape], folder: Path) -> set[str]:
    program("promtool"), program("prometheus")
    write_blocks(scrapes, [key[0] for key in scrapes[0].values], folder / "data")
    async with Storage(folder) as storage:
        return {alert.name for alert in ALERTS if await fired(alert, storage, minutes(scrapes))}


async def test_day_without_a_fault_fires_nothing_but_the_dead_mans_switch(tmp_path: Path) -> None:
    assert await alerts_of(a_day(), tmp_path / "storage") == {"DeadManSwitch"}


async def test_chain_that_was_away_for_an_hour_fires_its_alert(tmp_path: Path) -> None:
    def away(number: int, values: dict[Key, float]) -> None:
        if 60 <= number < 66:
            values[CHAIN] = 0.0

    assert await alerts_of(a_day(away), tmp_path / "storage") == {"DeadManSwitch", "SubstrateConnectionLost"}


async def test_tick_that_stood_still_fires_its_alert(tmp_path: Path) -> None:
    def still(number: int, values: dict[Key, float]) -> None:
        if number >= 60:
            values[TICK] -= 3600

    assert "NoRecentActivity" in await alerts_of(a_day(still), tmp_path / "storage")


def test_ages_of_jobs_stay_in_a_pause_and_times_of_the_calendar_do_not() -> None:
    scrape = a_day()[0]
    later = START + 300

    assert value_at(TICK, scrape, later) == later - 1
    assert value_at(SET, scrape, later) == later - 3
    assert value_at(CLOCK, scrape, later) == later
    assert value_at(CHAIN, scrape, later) == 1.0


@pytest.mark.parametrize(
    ("least_s", "found"), [(0, [(0.0, 120.0), (600.0, 600.0)]), (120, [(0.0, 120.0)]), (121, [])]
)
def test_condition_must_hold_for_its_whole_time(least_s: float, found: list[tuple[float, float]]) -> None:
    assert spans([0.0, 60.0, 120.0, 600.0], least_s) == found


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert.name)
def test_recordings_are_written_out(alert: object) -> None:
    assert "gaia:" not in inlined(alert.expr)  # type: ignore[attr-defined]
