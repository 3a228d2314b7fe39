"""Truths: which ones a run needs, and when the first that is missing is usually published."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from gaia.tasks.defined_tasks.weather.references.dues import next_dues, truths_of, valid_time_of
from gaia.tasks.defined_tasks.weather.references.keys import ReferenceSource
from gaia.validator.utils.config import Settings

INIT = datetime(2026, 3, 25, tzinfo=UTC)
GFS, ERA5 = ReferenceSource.GFS, ReferenceSource.ERA5


@pytest.fixture
def settings() -> Settings:
    return Settings(
        day1_lead_hours=[6, 12], final_lead_hours=[24, 48], era5_delay_days=5, era5_buffer_hours=6
    )


def test_gfs_analysis_is_due_hours_after_its_time_and_era5_days_after(settings: Settings) -> None:
    truths = truths_of([INIT], settings.contract, settings.sources)

    assert {truth.reference_id: moment - truth.valid_time for truth, moment in truths.items()} == {
        "gfs/2026-03-25T06Z+0/day1": timedelta(hours=4),
        "gfs/2026-03-25T12Z+0/day1": timedelta(hours=4),
        "era5/2026-03-26T00Z/final": timedelta(days=5, hours=6),
        "era5/2026-03-27T00Z/final": timedelta(days=5, hours=6),
    }


def test_first_truth_that_is_not_settled_is_due_next(settings: Settings) -> None:
    truths = truths_of([INIT, INIT + timedelta(days=1)], settings.contract, settings.sources)

    dues = next_dues(truths, {"gfs/2026-03-25T06Z+0/day1", "era5/2026-03-26T00Z/final"})

    assert dues == {
        GFS: INIT + timedelta(hours=12 + 4),
        ERA5: INIT + timedelta(days=2 + 5, hours=6),
    }


def test_source_whose_truths_are_all_settled_has_none_due(settings: Settings) -> None:
    truths = truths_of([INIT], settings.contract, settings.sources)

    dues = next_dues(truths, {truth.reference_id for truth in truths if truth.source is GFS})

    assert dues.keys() == {ERA5}


def test_without_open_runs_nothing_is_due(settings: Settings) -> None:
    assert next_dues(truths_of([], settings.contract, settings.sources), set()) == {}


def test_name_of_every_truth_tells_its_time(settings: Settings) -> None:
    truths = truths_of([INIT], settings.contract, settings.sources)

    assert [valid_time_of(truth.reference_id) for truth in truths] == [truth.valid_time for truth in truths]
