"""The window of a manifest: when a question was due decides, not when we came to put it."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from gaia.tasks.defined_tasks.weather.forecasts.freeze_window import LONGEST_ABSENCE, FreezeWindow
from gaia.validator.db.queries import Forecast
from gaia.validator.db.states import ForecastState
from gaia.validator.utils.errors import MinerFault, MissedByUs
from gaia.validator.utils.identities import Hotkey, RunId

OPENED = datetime(2026, 3, 25, 18, tzinfo=UTC)
HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)
WINDOW = FreezeWindow(length=2 * HOUR, grain=5 * MINUTE)


def due(at: datetime, ends_at: datetime | None = None) -> Forecast:
    return Forecast(
        run_id=RunId("2026-03-25T00Z"),
        hotkey=Hotkey("5Miner"),
        uid=1,
        registered_at=0,
        state=ForecastState.REQUESTED,
        opened_at=OPENED,
        attempts=0,
        next_at=at,
        job_id="job",
        manifest_sha256=None,
        window_ends_at=ends_at,
    )


def test_question_that_was_due_in_time_may_bind_though_it_is_put_late() -> None:
    WINDOW.require_open(due(OPENED + 2 * HOUR), OPENED + 5 * HOUR)


def test_question_that_was_due_after_the_window_is_the_miners_fault() -> None:
    with pytest.raises(MinerFault, match="no manifest within 2 h"):
        WINDOW.require_open(due(OPENED + 2 * HOUR + MINUTE), OPENED + 2 * HOUR + MINUTE)


def test_nobody_is_bound_or_blamed_after_a_long_absence() -> None:
    with pytest.raises(MissedByUs, match="did not ask between 2026-03-25 19:00 and 2026-03-26 02:01"):
        WINDOW.require_open(due(OPENED + HOUR), OPENED + 2 * HOUR + LONGEST_ABSENCE + MINUTE)


def test_lateness_that_loses_no_question_moves_no_end() -> None:
    assert WINDOW.extended(due(OPENED + HOUR), OPENED + HOUR + 4 * MINUTE) is None


def test_absence_moves_the_end_by_its_length_each_time() -> None:
    first = WINDOW.extended(due(OPENED + HOUR), OPENED + 2 * HOUR)
    assert first == OPENED + 3 * HOUR

    second = WINDOW.extended(due(OPENED + 2 * HOUR, first), OPENED + 2 * HOUR + 30 * MINUTE)
    assert second == OPENED + 3 * HOUR + 30 * MINUTE


def test_no_absence_moves_the_end_further_than_the_longest() -> None:
    moved = WINDOW.extended(due(OPENED + HOUR), OPENED + 20 * HOUR)

    assert moved == OPENED + 2 * HOUR + LONGEST_ABSENCE
    assert WINDOW.end_of(replace(due(OPENED), window_ends_at=moved)) == moved
