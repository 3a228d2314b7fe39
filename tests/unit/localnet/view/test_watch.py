"""Rows of the validator's database, as a local subnet understands them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gaia.localnet.view.watch import Progress, Watch, forecast_of, pairs, weights_of
from tests.support.localnet import RUN_ID, a_finished_run, a_forecast, a_run, some_weights

ROW = {
    "run_id": RUN_ID,
    "hotkey": "5Miner",
    "uid": 1,
    "state": "scored_day1",
    "reason": None,
    "committed_at": None,
    "day1": 0.5,
    "leads": '{"24": 0.25}',
    "overall": 0.1,
    "counted": True,
}


def test_forecast_without_a_score_has_no_overall() -> None:
    unscored = ROW | {"day1": None, "leads": None, "overall": None, "counted": None}

    forecast = forecast_of(unscored)

    assert forecast.overall is None
    assert forecast.leads == {}
    assert forecast.reason == ""


def test_scored_forecast_has_its_leads() -> None:
    forecast = forecast_of(ROW)

    assert (forecast.day1, forecast.leads, forecast.overall) == (0.5, {"24": 0.25}, 0.1)


def test_excused_forecast_does_not_count() -> None:
    assert forecast_of(ROW | {"counted": False}).overall is None


def test_weights_are_read_in_order_of_uid() -> None:
    row = {
        "block": 7,
        "block_hash": None,
        "extrinsic": "7-1",
        "vector": json.dumps([[5, 2], [1, 65535]]),
        "weights": json.dumps({"5Miner": 1.0}),
        "run_ids": json.dumps([RUN_ID]),
        "completed_ids": [RUN_ID],
    }

    weights = weights_of(row)

    assert weights.vector == ((1, 65535), (5, 2))
    assert weights.completed_ids == (RUN_ID,)
    assert weights.block_hash == ""


def test_progress_knows_the_forecasts_of_a_run() -> None:
    other = a_run(1)
    progress = Progress(
        runs=(a_run(), other), forecasts=(a_forecast(), a_forecast("5Other", run_id=other.run_id))
    )

    assert [forecast.hotkey for forecast in progress.of_run(other.run_id)] == ["5Other"]


def test_progress_is_settled_when_the_weights_rest_on_enough_runs() -> None:
    assert a_finished_run().is_complete(1)
    assert not a_finished_run().is_complete(2)
    assert not Progress().is_complete(1)


def test_progress_is_settled_though_the_window_of_the_weights_holds_fewer_runs_than_were_wanted() -> None:
    runs = tuple(a_run(day, completed=True) for day in range(17))
    window = tuple(run.run_id for run in runs[-15:])
    weights = some_weights(run_ids=window, completed_ids=window)

    progress = Progress(runs=runs, weights=weights)

    assert progress.is_complete(17)
    assert not progress.is_complete(18)


@pytest.mark.parametrize("missing", [-1, -15])
def test_progress_is_not_settled_while_weights_lack_a_completed_run_of_their_window(missing: int) -> None:
    runs = tuple(a_run(day, completed=True) for day in range(17))
    window = tuple(run.run_id for run in runs[-15:])
    resting_on = tuple(run_id for run_id in window if run_id != runs[missing].run_id)

    progress = Progress(runs=runs, weights=some_weights(run_ids=window, completed_ids=resting_on))

    assert not progress.is_complete(17)


def test_progress_is_not_settled_while_weights_rest_on_an_older_window() -> None:
    runs = tuple(a_run(day, completed=True) for day in range(17))
    before = tuple(run.run_id for run in runs[:15])

    progress = Progress(runs=runs, weights=some_weights(run_ids=before, completed_ids=before))

    assert not progress.is_complete(17)


async def test_watch_of_a_database_that_is_away_keeps_the_last_progress(tmp_path: Path) -> None:
    watch = Watch(f"postgresql://postgres@/postgres?host={tmp_path}")

    assert await watch.progress() == Progress()


def test_pairs_are_plain_integers() -> None:
    assert pairs([[3, 4], [1, 2]]) == ((1, 2), (3, 4))
