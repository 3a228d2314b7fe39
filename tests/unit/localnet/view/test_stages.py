"""Which stage a local subnet is in, and how the seconds add up."""

from __future__ import annotations

import pytest

from gaia.localnet.view.stages import TITLES, Stage, Stopwatch, stage_of
from gaia.localnet.view.watch import Progress
from tests.support.localnet import RUN_ID, a_forecast, a_run, some_weights


def test_subnet_without_a_run_is_starting() -> None:
    assert stage_of(Progress(), 1) is Stage.START


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        (("planned", "scored_day1"), Stage.ASK),
        (("requested", "rejected"), Stage.ASK),
        (("frozen", "scored_day1"), Stage.DAY1),
        (("frozen", "requested"), Stage.DAY1),
        (("scored_day1", "rejected"), Stage.ERA5),
        (("scored", "rejected"), Stage.ERA5),
    ],
)
def test_stage_is_what_the_open_run_waits_for(states: tuple[str, str], expected: Stage) -> None:
    forecasts = tuple(a_forecast(str(uid), uid, state=state) for uid, state in enumerate(states))

    assert stage_of(Progress(runs=(a_run(),), forecasts=forecasts), 1) is expected


def test_forecasts_of_a_completed_run_do_not_hold_the_stage_back() -> None:
    runs = (a_run(0, completed=True), a_run(1))
    forecasts = (
        a_forecast("old", state="rejected"),
        a_forecast("new", run_id=runs[1].run_id, state="frozen"),
    )

    assert stage_of(Progress(runs=runs, forecasts=forecasts), 2) is Stage.DAY1


def test_completed_runs_wait_for_weights_that_rest_on_them() -> None:
    progress = Progress(runs=(a_run(completed=True),), weights=some_weights(completed_ids=()))

    assert stage_of(progress, 1) is Stage.WEIGHTS


def test_subnet_is_done_once_weights_rest_on_every_wanted_run() -> None:
    progress = Progress(runs=(a_run(completed=True),), weights=some_weights(completed_ids=(RUN_ID,)))

    assert stage_of(progress, 1) is Stage.DONE
    assert stage_of(progress, 2) is not Stage.DONE


def test_every_stage_but_the_last_has_a_title() -> None:
    assert set(TITLES) == set(Stage) - {Stage.DONE}


def test_stopwatch_adds_up_a_stage_that_comes_back() -> None:
    stopwatch = Stopwatch(10.0)
    stopwatch.enter(Stage.ASK, 12.0)
    stopwatch.enter(Stage.ERA5, 13.0)
    stopwatch.enter(Stage.ASK, 17.0)

    assert stopwatch.seconds(18.5) == {Stage.START: 2.0, Stage.ASK: 2.5, Stage.ERA5: 4.0}
    assert stopwatch.total(18.5) == 8.5


def test_stopwatch_stands_still_once_done() -> None:
    stopwatch = Stopwatch(0.0)
    stopwatch.enter(Stage.DONE, 3.0)

    assert stopwatch.seconds(100.0) == {Stage.START: 3.0}
