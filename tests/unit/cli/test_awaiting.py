"""What a forecast waits for follows from its state, its scored leads, and the sets that are missing."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from gaia.cli.lists.awaiting import LeadShown, Next, SetState, leads_shown, names_of, needed_sets, next_of
from gaia.tasks.defined_tasks.weather.lead_kinds import LeadKind
from gaia.validator.db.inputs import Contract
from gaia.validator.db.progress import ForecastProgress, LeadProgress, ReferenceProgress
from gaia.validator.db.states import ForecastState
from gaia.validator.utils.config import Settings
from gaia.validator.utils.identities import Hotkey

INIT = datetime(2026, 3, 25, tzinfo=UTC)
OPENED = INIT + timedelta(hours=18)
WINDOW = timedelta(hours=2)
CONTRACT = Contract(day1_lead_hours=[12], final_lead_hours=[48, 24], day1_fields=["2t"], final_fields=["2t"])
SOURCES = Settings(era5_delay_days=5, era5_buffer_hours=6).sources
DAY1, FINAL = LeadKind.DAY1, LeadKind.FINAL
GFS = "gfs/2026-03-25T12Z+0/day1"
ERA5 = "era5/2026-03-26T00Z/final"
HOTKEY = Hotkey("5Miner")


def a_forecast(state: ForecastState, **changes: Any) -> ForecastProgress:
    values: dict[str, Any] = {
        "hotkey": HOTKEY,
        "uid": 1,
        "state": state,
        "reason": None,
        "committed_at": None,
        "changed_at": OPENED,
        "attempts": 0,
        "next_at": OPENED,
        "opened_at": OPENED,
        "window_ends_at": None,
        "day1": None,
        "overall": None,
    }
    return ForecastProgress(**values | changes)


def a_set(reference_id: str, **changes: Any) -> ReferenceProgress:
    values: dict[str, Any] = {
        "ready": False,
        "attempts": 0,
        "retry_at": None,
        "last_error": None,
        "given_up_at": None,
    }
    return ReferenceProgress(reference_id=reference_id, **values | changes)


def leads(*known: ReferenceProgress, rows: tuple[LeadProgress, ...] = ()) -> list[LeadShown]:
    needs = needed_sets(INIT, CONTRACT, "gaia-2.9")
    return leads_shown(needs, rows, {one.reference_id: one for one in known}, SOURCES)


def all_ready() -> list[ReferenceProgress]:
    return [a_set(name, ready=True) for name in names_of(needed_sets(INIT, CONTRACT, "gaia-2.9"))]


def test_leads_come_in_the_order_in_which_they_fall_due() -> None:
    assert [(lead.kind, lead.lead_hours, lead.truth_due_at) for lead in leads()] == [
        (DAY1, 12, INIT + timedelta(hours=12 + 4)),
        (FINAL, 24, INIT + timedelta(days=1 + 5, hours=6)),
        (FINAL, 48, INIT + timedelta(days=2 + 5, hours=6)),
    ]


def test_rules_with_plain_measures_need_all_public_forecasts_at_each_lead() -> None:
    needs = needed_sets(INIT, CONTRACT, "plain")

    assert set(needs[FINAL, 24]) == {"climatology", "truth", "baseline", "persistence"}
    assert set(needed_sets(INIT, CONTRACT, "gaia-2.9")[FINAL, 24]) == {"climatology", "truth"}


def test_lead_counts_who_was_scored_at_it_and_who_lost_it() -> None:
    rows = [
        LeadProgress(hotkey=Hotkey(f"5{n}"), kind="final", lead_hours=24, is_measured=n < 2) for n in range(3)
    ]

    (_, first, second) = leads(rows=tuple(rows))

    assert (first.scored, first.lost) == (2, 1)
    assert (second.scored, second.lost) == (0, 0)


@pytest.mark.parametrize(
    ("known", "state", "is_missing"),
    [
        (None, SetState.UNASKED, True),
        (a_set(GFS, retry_at=OPENED), SetState.AWAITED, True),
        (a_set(GFS, given_up_at=OPENED, retry_at=OPENED), SetState.GIVEN_UP, False),
        (a_set(GFS, ready=True), SetState.READY, False),
    ],
)
def test_set_is_missing_until_it_is_ready_or_given_up(
    known: ReferenceProgress | None, state: SetState, is_missing: bool
) -> None:
    (day1, *_) = leads(*filter(None, [known]))

    (truth,) = [one for one in day1.references if one.role == "truth"]
    assert (truth.reference_id, truth.state, truth.is_missing) == (GFS, state, is_missing)


@pytest.mark.parametrize(
    ("state", "step"), [(ForecastState.PLANNED, "ask"), (ForecastState.REQUESTED, "freeze")]
)
def test_miner_is_asked_until_its_window_ends(state: ForecastState, step: str) -> None:
    moved = OPENED + timedelta(hours=3)

    assert next_of(a_forecast(state), (), leads(), WINDOW) == Next(step, OPENED, OPENED + WINDOW)
    assert next_of(a_forecast(state, window_ends_at=moved), (), leads(), WINDOW).window_ends_at == moved


def test_frozen_forecast_waits_for_the_truth_of_its_first_unscored_lead() -> None:
    frozen = a_forecast(ForecastState.FROZEN)
    retry_at = OPENED + timedelta(hours=1)
    others = [one for one in all_ready() if one.reference_id != GFS]

    assert next_of(frozen, (), leads(*others, a_set(GFS, retry_at=retry_at)), WINDOW) == Next(
        "score", retry_at, lead=(DAY1, 12)
    )
    assert next_of(frozen, {(DAY1, 12)}, leads(*others), WINDOW).lead == (FINAL, 24)


def test_set_that_was_never_asked_for_is_due_when_its_source_usually_has_it() -> None:
    scored = a_forecast(ForecastState.SCORED_DAY1)

    due = next_of(scored, {(DAY1, 12), (FINAL, 24)}, leads(), WINDOW)

    assert due == Next("score", INIT + timedelta(days=2 + 5, hours=6), lead=(FINAL, 48))


def test_forecast_whose_sets_are_ready_is_scored_when_its_next_attempt_is_due() -> None:
    later = OPENED + timedelta(days=9)

    due = next_of(a_forecast(ForecastState.SCORED_DAY1, next_at=later), (), leads(*all_ready()), WINDOW)

    assert due == Next("score", later, lead=(FINAL, 24))


@pytest.mark.parametrize("state", [ForecastState.SCORED, ForecastState.REJECTED, ForecastState.EXCUSED])
def test_forecast_that_has_ended_waits_for_nothing(state: ForecastState) -> None:
    assert next_of(a_forecast(state), (), leads(), WINDOW) == Next()
