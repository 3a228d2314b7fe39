"""The model of the pages: what is final, what is open, and what the public does not see."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import msgspec
import pytest

from gaia.validator.core.site.build import Built, site_of, standings
from gaia.validator.core.site.model import FinalScore, OpenScore
from gaia.validator.core.site.plain_text import public
from gaia.validator.db.rows import AwaitedRow, IncidentRow
from gaia.validator.db.states import ForecastState, VectorState
from gaia.validator.utils.identities import Hotkey
from tests.support.site_rows import (
    FIRST,
    MINERS,
    WINDOW,
    a_site,
    a_week,
    completed_only,
    day_run,
    forecast,
    lead,
    open_run,
    published,
    score,
    vector,
)
from tests.support.status_facts import some_facts, some_processes, some_work


def test_open_run_has_no_overall_score_and_changes_no_mean() -> None:
    week = a_week()
    only = completed_only(week)

    assert a_site(week).leaderboard.miners == a_site(only).leaderboard.miners
    assert "overall" not in {each.name for each in fields(OpenScore)}
    newest = a_site(week).runs[0]
    assert [type(outcome.score) for outcome in newest.outcomes] == [OpenScore] * len(MINERS)


def test_open_score_tells_how_many_leads_are_scored() -> None:
    run = open_run(0)
    one = forecast(run, 0)
    site = a_site(published([run], [one], [score(one, 0.1)], leads=[lead(one, 24, 0.8)]))

    found = site.runs[0].outcomes[0].score

    assert found == OpenScore(run_id=run.run_id, day1=0.4, leads_scored=1, leads_wanted=2)


def test_mean_has_an_interval_from_two_runs_on() -> None:
    first, second = (
        FinalScore(
            run_id=day_run(day).run_id,
            init_time=day_run(day).init_time,
            rule_set="r",
            overall=value,
            day1=None,
            is_counted=True,
        )
        for day, value in ((0, 0.4), (1, 0.6))
    )

    one, two = standings([second, first], WINDOW)

    assert (one.mean, one.half_width, one.runs) == (0.4, None, 1)
    assert two.mean == pytest.approx(0.5)
    assert two.half_width == pytest.approx(12.706 * 0.1)


def test_run_older_than_the_window_leaves_the_mean() -> None:
    runs = [day_run(0), day_run(15)]
    forecasts = [forecast(run, 0) for run in runs]
    site = a_site(published(runs, forecasts, [score(forecasts[0], 0.1), score(forecasts[1], 0.9)]))

    assert [one.mean for one in site.leaderboard.miners[0].standings] == [0.1, 0.9]


def test_miner_whose_last_score_is_older_than_the_window_has_no_rank() -> None:
    runs = [day_run(0), day_run(15)]
    old, new = forecast(runs[0], 0), forecast(runs[1], 1)
    site = a_site(published(runs, [old, new], [score(old, 0.9), score(new, 0.1)]))

    assert [row.hotkey for row in site.leaderboard.miners] == [MINERS[1]]
    assert [page.rank for page in site.miners] == [None, 1]


def test_excused_forecast_is_shown_and_not_counted() -> None:
    run = day_run(0)
    one = forecast(run, 0, state=ForecastState.EXCUSED, reason="GFS was never published")
    site = a_site(published([run], [one], [score(one, 0.3, counted=False)]))

    assert site.leaderboard.miners == []
    assert site.runs[0].outcomes[0].reason == "GFS was never published"


def test_scores_of_shadow_rules_are_left_out() -> None:
    run = day_run(0)
    one = forecast(run, 0)
    site = a_site(published([run], [one], [score(one, 0.9, rule_set="shadow"), score(one, 0.5)]))

    assert site.leaderboard.miners[0].standings[0].mean == 0.5


def test_lead_that_was_given_up_has_no_score() -> None:
    run = day_run(0)
    one = forecast(run, 0)
    site = a_site(published([run], [one], [score(one, 0.5)], leads=[lead(one, 24, float("nan"))]))

    assert site.miners[0].outcomes[0].leads[0].score is None
    msgspec.json.encode(site)


@pytest.mark.parametrize("state", [VectorState.INTENDED, VectorState.FAILED, VectorState.COMMITTED])
def test_pages_open_no_vector_that_may_be_sealed(state: VectorState) -> None:
    secret = vector(3, {MINERS[0]: 0.1}, state=state, block=None)

    site = a_site(replace(a_week(), weights=[secret, *a_week().weights]))

    assert all(row.state != state for page in site.miners for row in page.weights)


def test_weight_on_the_leaderboard_is_that_of_the_newest_vector_on_chain() -> None:
    failed = vector(3, {MINERS[0]: 0.1}, state=VectorState.FAILED, block=None)
    site = a_site(replace(a_week(), weights=[failed, *a_week().weights]))

    assert [row.weight for row in site.leaderboard.miners][:3] == [0.7, 0.3, 0.0]
    assert site.front.weights_set is not None
    assert site.front.weights_set.epoch == 2


CANARIES = ("10.11.12.13", "canary.example.org", "/srv/canary", "fe80::1234", "canary@example.org")


@pytest.mark.parametrize(
    "text",
    [
        "no answer from 10.11.12.13:8091",
        "ConnectError: wss://canary.example.org:443/ws?key=1 refused",
        "canary.example.org:9944 is closed",
        "/srv/canary/spool/x.part cannot be stored",
        "unreachable [fe80::1234]:80",
        "ask canary@example.org",
    ],
)
def test_public_text_has_no_address_and_no_path(text: str) -> None:
    assert not any(canary in public(text) for canary in CANARIES)


def test_public_text_keeps_what_a_miner_needs() -> None:
    for reason in (
        "2t/.zarray: compressor must be blosc",
        "lead 24 h: 12:30 is too late",
        "t/0.0 is 3 bytes",
    ):
        assert public(reason) == reason


def test_public_site_has_nothing_of_incidents_and_troubles_but_their_names() -> None:
    words = " ".join(CANARIES)
    run = open_run(0)
    one = forecast(run, 0, state=ForecastState.REJECTED, reason="; ".join(CANARIES))
    leads = [lead(one, 24, 0.0, reason="unreachable at 10.11.12.13:80")]
    incident = IncidentRow(party="chain", began_at=FIRST, last_at=FIRST, evidence=words)
    archive = AwaitedRow(
        source="era5", sets=2, retry_at=FIRST, last_error=words, failures=1, missed_since=FIRST
    )
    facts: dict[str, Any] = {
        "work": some_work(incidents=[incident], archives=[archive]),
        "processes": some_processes(is_running=False),
        "data_dir": "/srv/canary",
        "database_error": words,
    }
    stored = published([run], [one], leads=leads)

    hidden = msgspec.json.encode(a_site(stored, **facts)).decode()
    shown = msgspec.json.encode(a_site(stored, for_operator=True, **facts)).decode()

    assert not any(canary in hidden for canary in CANARIES)
    assert "ValidatorProcessDown" in hidden
    assert all(canary in shown for canary in CANARIES)


def test_miner_is_one_hotkey_whatever_its_uid() -> None:
    runs = [day_run(0), day_run(1)]
    rows = [forecast(runs[0], 0, uid=4), forecast(runs[1], 0, uid=9)]
    other = forecast(runs[1], 1, uid=4, hotkey=Hotkey("5Other"))
    site = a_site(published(runs, [*rows, other]))

    assert [(page.uid, page.hotkey) for page in site.miners] == [(4, "5Other"), (9, MINERS[0])]
    assert [outcome.uid for outcome in site.miners[1].outcomes] == [9, 4]


def test_outcomes_of_rows_that_are_the_same_are_made_once() -> None:
    stored, built = a_week(), Built()
    first = site_of(some_facts(), stored, WINDOW, for_operator=False, built=built)
    open_id = stored.runs[-1].run_id
    read_again = replace(stored, rows={**stored.rows, open_id: replace(stored.rows[open_id])})

    second = site_of(some_facts(), read_again, WINDOW, for_operator=False, built=built)

    kept = [now.outcomes is before.outcomes for now, before in zip(second.runs, first.runs, strict=True)]
    assert kept == [False, True, True, True, True, True, True]
    assert second == first == site_of(some_facts(), stored, WINDOW, for_operator=False)


def test_pages_for_the_operator_take_no_wording_over_from_public_ones() -> None:
    run = day_run(0)
    reason = "no answer from https://10.0.0.1:8080/x"
    one = forecast(run, 0, state=ForecastState.REJECTED, reason=reason)
    stored, built = published([run], [one]), Built()

    worded = [
        site_of(some_facts(), stored, WINDOW, for_operator=is_operator, built=built)
        .runs[0]
        .outcomes[0]
        .reason
        for is_operator in (False, True, False)
    ]

    assert worded == ["no answer from [address]", reason, "no answer from [address]"]
