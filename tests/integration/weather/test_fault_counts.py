"""What a miner loses through its own fault is counted by the reason, and nothing else is."""

from __future__ import annotations

from pathlib import Path

import pytest

from gaia.tasks.defined_tasks.weather.forecasts.faults import VERIFICATION_FAILURES
from gaia.validator.db.connection import Database
from gaia.validator.utils.errors import (
    InvalidManifest,
    JobFailed,
    MinerFault,
    MinerUnreachable,
    OwnFailure,
    TransientError,
)
from tests.support.story import Story


@pytest.fixture
def story(database: Database, tmp_path: Path) -> Story:
    return Story(database, tmp_path)


def _gained(before: dict[str, float]) -> dict[str, float]:
    """Return reason -> faults since `before`, without those at 0."""
    gained = {reason: total - before[reason] for reason, total in VERIFICATION_FAILURES.items()}
    return {reason: number for reason, number in gained.items() if number}


@pytest.mark.parametrize(
    ("call", "error", "reason"),
    [
        ("request_forecast", MinerFault("answered 302, a redirect"), "protocol"),
        ("forecast_ready", JobFailed("job ended as failed"), "job_failed"),
        ("fetch_manifest", InvalidManifest("manifest signature is not the miner's"), "manifest"),
    ],
)
async def test_rejection_is_counted_once_by_its_reason(
    story: Story, call: str, error: MinerFault, reason: str
) -> None:
    before = dict(VERIFICATION_FAILURES.items())
    story.miners[1].raises[call] = [error]

    await story.until_idle()

    assert _gained(before) == {reason: 1}


async def test_miner_that_never_answers_is_unreachable_once(story: Story) -> None:
    before = dict(VERIFICATION_FAILURES.items())
    story.miners[1].raises["request_forecast"] = [MinerUnreachable("silent") for _ in range(9)]

    await story.until_idle()

    assert _gained(before) == {"unreachable": 1}


@pytest.mark.parametrize("error", [OwnFailure("no signature"), TransientError("a bug")])
async def test_failure_that_is_no_miners_fault_is_not_counted(story: Story, error: Exception) -> None:
    before = dict(VERIFICATION_FAILURES.items())
    story.miners[1].raises["request_forecast"] = [error] * 9

    await story.until_idle()

    assert _gained(before) == {}
