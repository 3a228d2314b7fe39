"""Rules on trial are tried again after failures of ours, and never hold up the active ones for good."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast

import pytest
from structlog.testing import capture_logs

from gaia.tasks.defined_tasks.weather.forecasts.score_book import Lead
from gaia.tasks.defined_tasks.weather.forecasts.trial import ATTEMPTS, Trial
from gaia.tasks.defined_tasks.weather.lead_kinds import LeadKind
from gaia.validator.utils.errors import OwnFailure

NOW = datetime(2026, 3, 26, tzinfo=UTC)
LEAD = Lead(LeadKind.FINAL, 24)
FORECAST = cast("Any", SimpleNamespace(run_id="2026-03-25T00Z", hotkey="5Miner"))


class Book:
    """Stores nothing, or fails."""

    def __init__(self, error: Exception | None) -> None:
        self.error = error
        self.stored = 0

    async def record_shadow(self, *_: object) -> None:
        if self.error is not None:
            raise self.error
        self.stored += 1


class Batches:
    async def score(self, *_: object) -> object:
        return object()


async def tried(trial: Trial) -> None:
    shadow = cast(
        "Any", SimpleNamespace(batches=Batches(), inputs={}, rules=SimpleNamespace(name="gaia-next"))
    )
    await trial.score(FORECAST, LEAD, shadow, cast("Any", None), NOW)


async def test_failure_of_ours_is_raised_until_the_attempts_are_spent() -> None:
    book = Book(OwnFailure("database: away"))
    trial = Trial(cast("Any", book))

    for _ in range(ATTEMPTS - 1):
        with pytest.raises(OwnFailure):
            await tried(trial)
    with capture_logs() as lines:
        await tried(trial)

    assert [line["event"] for line in lines] == ["shadow_failed"]


async def test_failure_that_ends_leaves_the_score_and_new_attempts() -> None:
    book = Book(OwnFailure("database: away"))
    trial = Trial(cast("Any", book))
    for _ in range(2):
        with pytest.raises(OwnFailure):
            await tried(trial)
        book.error = None
        await tried(trial)
        book.error = OwnFailure("database: away")

    assert book.stored == 2


async def test_error_of_the_rules_themselves_is_logged_at_once() -> None:
    trial = Trial(cast("Any", Book(ZeroDivisionError("of the rules"))))

    with capture_logs() as lines:
        await tried(trial)

    assert [line["error"] for line in lines] == ["ZeroDivisionError: of the rules"]
