"""Each row of the original is taken over as it was scored, or left out for a reason that is counted."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from gaia.cli.database.original.plan import (
    FINAL_LEAD_HOURS,
    NOT_SCORED,
    WORDS,
    Known,
    LeftOut,
    OriginalScore,
    plan_of,
)

DAY = datetime(2026, 3, 20, tzinfo=UTC)
NOW = datetime(2026, 4, 1, tzinfo=UTC)
REGISTERED = {(1, "5One"): 100, (2, "5Two"): 200}


def leads(*scored: float | None) -> list[float | None]:
    return [*scored, *[None] * (len(FINAL_LEAD_HOURS) - len(scored))]


def a_score(**changes: Any) -> OriginalScore:
    values: dict[str, Any] = {
        "run": 12,
        "init_time": DAY,
        "opened_at": DAY + timedelta(hours=18),
        "uid": 1,
        "hotkey": "5One",
        "day1": 0.5,
        "leads": leads(0.75, 0.5),
        "overall": 0.16875,
        "scored_at": DAY + timedelta(days=8),
    }
    return OriginalScore(**values | changes)


def known(**changes: Any) -> Known:
    values: dict[str, Any] = {
        "own": (),
        "imported": (),
        "opening": (),
        "registered": REGISTERED,
        "now": NOW,
    }
    return Known(**values | changes)


def test_a_score_goes_over_with_its_leads_and_its_times() -> None:
    plan = plan_of([a_score()], known())

    (run,) = plan.runs
    assert (run.run_id, run.imported_from) == ("2026-03-20T00Z", "original run 12")
    assert (run.opened_at, run.scored_at) == (DAY + timedelta(hours=18), DAY + timedelta(days=8))
    (forecast,) = run.forecasts
    assert (forecast.hotkey, forecast.uid, forecast.registered_at) == ("5One", 1, 100)
    assert (forecast.day1, forecast.overall) == (0.5, 0.16875)
    assert forecast.by_lead == {"24": 0.75, "48": 0.5}
    assert [(lead.kind, lead.lead_hours, lead.score, lead.reason) for lead in forecast.leads] == [
        ("day1", 12, 0.5, None),
        ("final", 24, 0.75, None),
        ("final", 48, 0.5, None),
    ]
    assert (plan.left_out, plan.bad_parts) == ({}, 0)


@pytest.mark.parametrize(("day1", "overall"), [(0.1, 0.05), (0.0999, 0.0), (1.0, 0.05)])
def test_forecast_with_only_day_1_has_the_score_of_a_passed_day_1(day1: float, overall: float) -> None:
    plan = plan_of([a_score(day1=day1, leads=leads(), overall=None)], known())

    assert plan.runs[0].forecasts[0].overall == overall


def test_lead_that_only_others_have_counts_as_0_and_says_why() -> None:
    other = a_score(uid=2, hotkey="5Two", leads=leads(None, 0.25), overall=0.07375)

    _, second = plan_of([a_score(), other], known()).runs[0].forecasts

    assert second.by_lead == {"24": 0.0, "48": 0.25}
    assert [lead.lead_hours for lead in second.leads if lead.reason == NOT_SCORED] == [24]


@pytest.mark.parametrize(
    ("score", "world", "reason"),
    [
        (a_score(overall=math.nan), known(), LeftOut.NO_NUMBER),
        (a_score(overall=math.inf), known(), LeftOut.NO_NUMBER),
        (a_score(overall=1.01), known(), LeftOut.NO_NUMBER),
        (a_score(overall=-0.01), known(), LeftOut.NO_NUMBER),
        (a_score(overall=None, day1=-math.inf), known(), LeftOut.NO_NUMBER),
        (a_score(overall=None, day1=None), known(), LeftOut.NO_SCORE),
        (a_score(hotkey="5Gone"), known(), LeftOut.NOT_REGISTERED),
        (a_score(uid=2), known(), LeftOut.NOT_REGISTERED),
        (a_score(), known(own=[DAY]), LeftOut.OWN_RUN),
        (a_score(), known(imported=[DAY]), LeftOut.IMPORTED),
        (a_score(), known(opening=[DAY]), LeftOut.STILL_OPENS),
    ],
)
def test_row_that_does_not_fit_is_left_out_and_counted(
    score: OriginalScore, world: Known, reason: LeftOut
) -> None:
    plan = plan_of([score], world)

    assert (plan.runs, plan.left_out) == ([], {reason: 1})
    assert reason in WORDS


def test_of_two_rows_of_a_run_and_miner_the_first_goes_over() -> None:
    plan = plan_of([a_score(overall=0.5), a_score(run=11, overall=0.25)], known())

    assert [forecast.overall for forecast in plan.runs[0].forecasts] == [0.5]
    assert plan.left_out == {LeftOut.TWICE: 1}


def test_parts_that_are_no_numbers_count_as_missing() -> None:
    plan = plan_of([a_score(day1=-math.inf, leads=leads(math.nan, 0.5))], known())

    (forecast,) = plan.runs[0].forecasts
    assert (forecast.day1, forecast.overall, forecast.by_lead) == (None, 0.16875, {"48": 0.5})
    assert plan.bad_parts == 2


def test_runs_come_oldest_first_and_name_all_runs_of_the_original() -> None:
    later = a_score(run=13, init_time=DAY + timedelta(days=1))
    again = a_score(run=11, uid=2, hotkey="5Two")

    plan = plan_of([later, a_score(), again], known())

    assert [run.imported_from for run in plan.runs] == ["original run 11, 12", "original run 13"]


def test_score_from_the_future_is_as_old_as_the_import() -> None:
    plan = plan_of([a_score(scored_at=NOW + timedelta(days=1))], known())

    assert plan.runs[0].scored_at == NOW


def test_score_without_a_time_is_as_old_as_its_run() -> None:
    plan = plan_of([a_score(scored_at=None, opened_at=None)], known())

    assert (plan.runs[0].opened_at, plan.runs[0].scored_at) == (DAY, DAY)
