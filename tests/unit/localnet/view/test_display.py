"""What a person sees of a local subnet."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console, RenderableType

from gaia.localnet.population import population
from gaia.localnet.view.display import LiveDisplay, PlainDisplay, View, final_table, line_of, picture_of
from gaia.localnet.view.stages import Stage
from gaia.localnet.view.watch import Progress
from tests.support.localnet import INIT_TIME, RUN_ID, a_finished_run, a_forecast, a_run


def a_view(**changes: Any) -> View:
    dull: dict[str, Any] = {
        "stage": Stage.START,
        "seconds": {Stage.START: 1.0},
        "total_s": 1.0,
        "simulated": None,
        "progress": Progress(),
        "specs": dict(zip(("5Miner", "5Other"), population(2), strict=True)),
        "wanted_runs": 1,
    }
    return View(**dull | changes)


def a_run_under_way() -> Progress:
    return Progress(
        runs=(a_run(),),
        forecasts=(
            a_forecast("5Miner", 1, state="scored_day1", day1=0.4567, leads={"24": 0.5}, overall=0.0475),
            a_forecast("5Other", 2, state="rejected", reason="refused: No capacity", overall=0.0),
            a_forecast("5Stranger", 3, state="requested"),
        ),
    )


def text_of(renderable: RenderableType, width: int = 140) -> str:
    written = io.StringIO()
    Console(file=written, width=width).print(renderable)
    return written.getvalue()


def test_picture_before_the_first_run_shows_the_stages_alone() -> None:
    text = text_of(picture_of(a_view()))

    assert "not started" in text
    assert "Ask miners" in text
    assert "uid" not in text


def test_picture_shows_calendar_stage_miners_and_scores() -> None:
    view = a_view(
        stage=Stage.ERA5,
        seconds={Stage.START: 3.0, Stage.ASK: 2.0, Stage.DAY1: 1.0, Stage.ERA5: 4.5},
        simulated=INIT_TIME,
        progress=a_run_under_way(),
    )

    text = text_of(picture_of(view))

    assert "2026-03-25 00:00 UTC" in text
    assert "4.5 s" in text
    assert "honest 0.55" in text
    assert "0.4567" in text
    assert "rejected: refused: No capacity" in text
    assert "5Strange" in text


def test_picture_of_many_miners_ends_with_how_many_are_not_shown() -> None:
    forecasts = tuple(a_forecast(f"5Miner{uid}", uid) for uid in range(40))

    text = text_of(picture_of(a_view(progress=Progress(runs=(a_run(),), forecasts=forecasts))))

    assert "and 10 more" in text


def test_picture_shows_the_newest_run_with_work_left() -> None:
    done, under_way = a_run(0, completed=True), a_run(1)

    text = text_of(picture_of(a_view(progress=Progress(runs=(done, under_way)))))

    assert f"Run {under_way.run_id}" in text


def test_line_counts_states_and_leads() -> None:
    line = line_of(a_view(stage=Stage.ERA5, progress=a_run_under_way()))

    assert line == f"era5; run {RUN_ID}; 1 rejected, 1 requested, 1 scored_day1; 1 lead scored"


def test_last_line_names_the_block_of_the_weights() -> None:
    assert line_of(a_view(stage=Stage.DONE, progress=a_finished_run())).endswith("weights in block 99")
    assert "block" not in line_of(a_view(stage=Stage.WEIGHTS, progress=a_finished_run()))


def test_plain_display_prints_a_line_only_when_something_changed() -> None:
    written = io.StringIO()
    console = Console(file=written, width=200)

    with PlainDisplay(console) as display:
        display.show(a_view(total_s=1.0))
        display.show(a_view(total_s=2.0))
        display.show(a_view(total_s=3.0, stage=Stage.ASK))

    assert written.getvalue().splitlines() == ["   1.0 s  start", "   3.0 s  ask"]


def test_live_display_draws_in_place_and_leaves_nothing_behind() -> None:
    written = io.StringIO()
    console = Console(file=written, width=100, force_terminal=True)

    with LiveDisplay(console) as display:
        display.show(a_view())

    assert "Gaia local subnet" in written.getvalue()


def test_view_of_a_run_that_was_broken_off_stays_on_the_screen() -> None:
    def screen_after(*, broken_off: bool) -> str:
        written = io.StringIO()
        try:
            with LiveDisplay(Console(file=written, width=100, force_terminal=True)) as display:
                display.show(a_view())
                if broken_off:
                    raise KeyboardInterrupt
        except KeyboardInterrupt:
            pass
        return written.getvalue()

    erased = "\x1b[2K"
    assert screen_after(broken_off=False).count(erased) > screen_after(broken_off=True).count(erased)


@pytest.mark.parametrize("width", [200, 110, 80])
def test_final_table_cuts_no_number_and_no_reason(width: int) -> None:
    reason = "2t/3.0.0 is not what the manifest promises: 4153 bytes came"
    row = {
        "hotkey": "5GrwvaEF5zXb26Fz9rcQpDWS57CtERHpNehXCPcNoHGKutQY",
        "uid": 250,
        "behaviour": "honest",
        "skill": 0.55,
        "leads": {"24": 0.5},
        "day1": 0.4123,
        "overall": 0.6234,
        "weight": 0.2345,
        "verdict": "rejected",
        "reason": reason,
    }
    report = {"run_ids": [RUN_ID], "miners": [row], "chain": {"block": 99, "extrinsic": "99-1"}}

    text = text_of(final_table(report, width), width)

    words = text.replace("│", " ").split()
    assert "…" not in text
    assert [
        word for word in ("250", "0.4123", "0.6234", "0.2345", *reason.split()) if word not in words
    ] == []
    assert ("hotkey" in text) is (width >= 110)


def test_final_table_ranks_miners_and_names_block_and_burn() -> None:
    row = {"hotkey": "5Miner", "uid": 1, "behaviour": "honest", "skill": 0.55, "leads": {"24": 0.5}}
    scored = row | {"day1": 0.4, "overall": 0.6, "weight": 0.25, "verdict": "scored", "reason": ""}
    dead = row | {"behaviour": "dead", "day1": None, "overall": 0.0, "weight": 0.0}
    report = {
        "run_ids": [RUN_ID],
        "miners": [scored, dead | {"verdict": "rejected", "reason": "did not answer"}],
        "chain": {"block": 99, "extrinsic": "99-1"},
    }

    text = text_of(final_table(report))

    assert text.index("honest 0.55") < text.index("dead")
    assert "0.2500" in text
    assert "Set in block 99 (extrinsic 99-1)" in text
    assert "75.00% of the weight is burnt" in text


def test_final_table_without_weights_says_so() -> None:
    report = {"run_ids": [], "miners": [], "chain": {"block": None, "extrinsic": None}}

    assert "No weights were set" in text_of(final_table(report))
