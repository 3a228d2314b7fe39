"""What the pictures are drawn from is right, and each picture is a picture."""

import json
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.dates import date2num
from matplotlib.figure import Figure

from gaia.cli.pictures import clones as draw_clones
from gaia.cli.pictures import earth, style
from gaia.cli.pictures import error_map as draw_map
from gaia.cli.pictures import leaderboard as draw_leaderboard
from gaia.cli.pictures import scorecard as draw_scorecard
from gaia.cli.pictures import skill as draw_skill
from gaia.validator.db.rows import ComponentRow, OverallRow
from tests.support.stored_rows import a_component_row, an_overall_row

START = datetime(2026, 3, 25, tzinfo=UTC)
PNG = b"\x89PNG\r\n"


def a_component(
    run: int = 0, field: str = "2t", lead: int = 24, kind: str = "final", hotkey: str = "a", **measures: float
) -> ComponentRow:
    values: dict[str, float | None] = {
        "rmse": 0.5,
        "mse": 0.25,
        "bias": 0.0,
        "skill_climatology": 0.75,
        "skill_gfs": None,
    }
    return a_component_row(
        {**values, **measures}, run_id=str(run), field=field, kind=kind, lead_hours=lead, hotkey=hotkey
    )


def a_standing(run: int, hotkey: str, overall: float, counted: bool = True) -> OverallRow:
    return an_overall_row(
        init_time=START + timedelta(days=run), hotkey=hotkey, overall=overall, counted=counted
    )


def is_picture(figure: Figure, tmp_path: Path) -> bool:
    style.save(figure, tmp_path / "picture.png")
    content = (tmp_path / "picture.png").read_bytes()
    return content.startswith(PNG) and len(content) > 5_000


def test_scorecard_says_how_much_smaller_the_error_is_than_a_baseline() -> None:
    card = draw_scorecard.scorecard(
        [a_component(run, mse_climatology=1.0) for run in range(3)], "climatology", ["2t"]
    )

    assert card.values == {("2t", "final", 24): [50.0] * 3}


def test_scorecard_against_a_miner_pairs_runs_and_leaves_out_what_only_one_has() -> None:
    ours = [a_component(run) for run in range(3)]
    theirs = [a_component(run, rmse=1.0) for run in (0, 2)]

    card = draw_scorecard.scorecard(ours, theirs, ["2t"])

    assert card.values == {("2t", "final", 24): [50.0, 50.0]}


def test_baseline_follows_from_the_skill_of_a_forecast_corrected_by_its_mean_error() -> None:
    row = a_component(mse=0.29, bias=0.2, skill_climatology=0.75)

    assert draw_scorecard.baseline_mse(row, "climatology") == pytest.approx(1.0)
    assert draw_scorecard.baseline_mse(row, "gfs") is None


def test_stored_error_of_a_baseline_goes_before_what_a_skill_implies() -> None:
    assert draw_scorecard.baseline_mse(a_component(mse_climatology=3.0), "climatology") == 3.0


def test_scorecard_of_many_fields_is_drawn(tmp_path: Path) -> None:
    fields = [f"t{level}" for level in (50, 100, 500)] + ["2t"]
    rows = [
        a_component(run, field, lead, kind, rmse=0.5 + 0.1 * run, mse_climatology=1.0 + place)
        for run in range(3)
        for place, field in enumerate(fields)
        for kind, lead in (("day1", 12), ("final", 24), ("final", 48))
    ]

    assert is_picture(
        draw_scorecard.draw(draw_scorecard.scorecard(rows, "climatology", fields), "Title", "subtitle"),
        tmp_path,
    )


def test_skill_is_plain_and_baselines_stand_where_their_error_is_known() -> None:
    rows = [
        a_component(lead=24, mse=0.5, mse_climatology=1.0, mse_gfs=0.8),
        a_component(lead=48, mse_climatology=0.5),
    ]

    curves = draw_skill.curves_of(rows, "2t")

    assert curves.miners == {"a": {24: [0.5], 48: [0.5]}}
    assert curves.baselines.keys() == {"gfs"}
    assert curves.baselines["gfs"].keys() == {24}
    assert curves.baselines["gfs"][24] == pytest.approx([0.2])


def test_baseline_counts_once_a_run_however_many_miners_there_are() -> None:
    rows = [
        a_component(run, hotkey=hotkey, mse_climatology=1.0, mse_gfs=0.5)
        for run in (0, 1)
        for hotkey in "abc"
    ]

    assert draw_skill.curves_of(rows, "2t").baselines == {"gfs": {24: [0.5, 0.5]}}


def test_skill_of_several_fields_is_drawn(tmp_path: Path) -> None:
    rows = [
        a_component(run, field, lead, hotkey=hotkey, mse=0.1 * lead / 24, mse_climatology=1.0, mse_gfs=0.6, mse_persistence=0.9)
        for run in range(2)
        for field in ("2t", "z500")
        for lead in (24, 48)
        for hotkey in "ab"
    ]  # fmt: skip

    figure = draw_skill.draw(
        [draw_skill.curves_of(rows, field) for field in ("2t", "z500")], {"a": "best"}, "T", "s"
    )

    assert is_picture(figure, tmp_path)


@given(st.floats(-179.9, 179.9), st.floats(-89.9, 89.9))
def test_point_of_the_map_is_found_again(longitude: float, latitude: float) -> None:
    x, y = earth.project(np.array([longitude]), np.array([latitude]))

    back = earth.unproject(x, y)

    assert (back[0][0], back[1][0]) == (pytest.approx(longitude, abs=1e-6), pytest.approx(latitude, abs=1e-6))


def test_map_shows_each_place_its_own_value() -> None:
    longitudes = np.arange(360.0)
    field = np.broadcast_to(np.where(longitudes > 180, longitudes - 360, longitudes), (181, 360)).astype(
        np.float32
    )

    image = earth.sampled(field, columns=401)

    equator = image[image.shape[0] // 2]
    assert equator[200] == pytest.approx(0.0, abs=0.6)
    assert equator[300] == pytest.approx(90.0, abs=1.0)
    assert np.isnan(image[0, 0])


def test_equal_areas_of_the_earth_are_equal_on_the_map() -> None:
    latitudes = np.broadcast_to(np.linspace(90.0, -90.0, 181)[:, None], (181, 360))

    seen = earth.sampled(latitudes, columns=800)

    inside = np.isfinite(seen)
    tropics = np.mean(np.abs(seen[inside]) < 30.0)
    assert tropics == pytest.approx(0.5, abs=0.01)


def test_coastlines_have_no_line_across_the_map() -> None:
    lines = json.loads(earth.COASTLINES.read_text())

    assert sum(map(len, lines)) > 4_000
    for line in lines:
        for (x, y), (next_x, next_y) in pairwise(line):
            assert abs(x - next_x) < 30
            assert abs(y - next_y) < 30


def test_error_map_is_drawn(tmp_path: Path) -> None:
    error = np.random.default_rng(0).normal(size=(181, 360)).astype(np.float32)

    assert is_picture(draw_map.draw(error, "K", "Title", "subtitle"), tmp_path)


def test_standing_is_the_mean_over_the_window_that_ends_with_the_run() -> None:
    rows = [a_standing(run, "a", score) for run, score in enumerate([0.1, 0.3, 0.8])]

    board = draw_leaderboard.standings(rows, timedelta(days=2))

    assert [each.mean for each in board["a"]] == pytest.approx([0.1, 0.2, 0.55])
    assert board["a"][0].half_width is None


def test_excused_run_leaves_no_mark_on_the_leaderboard() -> None:
    rows = [a_standing(0, "a", 0.5), a_standing(1, "a", 0.0, counted=False)]

    assert [each.mean for each in draw_leaderboard.standings(rows, timedelta(days=9))["a"]] == [0.5]


def test_leaderboard_is_drawn_even_of_a_single_run(tmp_path: Path) -> None:
    board = draw_leaderboard.standings([a_standing(0, "a", 0.5), a_standing(0, "b", 0.5)], timedelta(days=9))

    assert is_picture(draw_leaderboard.draw(board, {"a": "uid 1"}, "Title", "subtitle"), tmp_path)


@pytest.mark.parametrize("runs", [1, 2, 7, 30])
def test_every_standing_stands_at_the_day_of_its_run(runs: int) -> None:
    miners = [f"m{number}" for number in range(5)]
    rows = [a_standing(run, name, 0.1 * run / runs) for run in range(runs) for name in miners]

    figure = draw_leaderboard.draw(
        draw_leaderboard.standings(rows, timedelta(days=9)), {name: name for name in miners}, "T", "s"
    )
    figure.canvas.draw()

    days = [float(date2num(START + timedelta(days=run))) for run in range(runs)]  # type: ignore[no-untyped-call] # matplotlib has no annotation
    axes = figure.axes[0]
    lines = [line for line in axes.get_lines() if np.size(line.get_xdata())]
    assert len(lines) == len(miners)
    assert all(np.asarray(line.get_xdata()).tolist() == days for line in lines)
    low, high = axes.get_xlim()
    marked = [tick for tick in axes.get_xticks() if low <= tick <= high]
    assert low < days[0]
    assert high > days[-1]
    if runs <= 7:
        assert marked == days
        assert axes.get_xticklabels()[0].get_text() == "Mar 25, 00Z"
    # The ink is apart all the same.
    places = {round(float(line.get_transform().transform((days[0], 0.0))[0]), 3) for line in lines}
    assert len(places) == len(miners)


@given(st.lists(st.floats(-5, 5), max_size=8), st.floats(0.01, 1))
def test_labels_keep_their_distance_and_order(positions: list[float], least: float) -> None:
    moved = style.spread(positions, least)

    order = sorted(range(len(positions)), key=positions.__getitem__)
    assert all(moved[b] - moved[a] >= least - 1e-9 for a, b in pairwise(order))


def test_miners_that_err_alike_stand_together_and_are_framed() -> None:
    alike = np.eye(6)
    for one, other in ((0, 3), (3, 5), (0, 5)):
        alike[one, other] = alike[other, one] = 0.99

    order = draw_clones.order_of(alike)

    assert sorted(order) == list(range(6))
    places = sorted(order.index(miner) for miner in (0, 3, 5))
    assert places[2] - places[0] == 2
    framed = draw_clones.groups_of(alike[np.ix_(order, order)])
    assert [sorted(order[place] for place in group) for group in framed] == [[0, 3, 5]]


@pytest.mark.parametrize(("least", "lowest"), [(-0.31, -0.4), (0.2, 0.0)])
def test_colours_of_the_heat_map_reach_down_to_the_least_correlation(least: float, lowest: float) -> None:
    figure = draw_clones.draw(np.array([[1.0, least], [least, 1.0]]), ["uid 1", "uid 2"], "T", "s")

    assert figure.axes[0].get_images()[0].get_clim() == pytest.approx((lowest, 1.0))


@pytest.mark.parametrize("count", [1, 2, 20])
def test_heat_map_is_drawn_for_any_number_of_miners(count: int, tmp_path: Path) -> None:
    figure = draw_clones.draw(np.eye(count), [f"uid {n}" for n in range(count)], "Title", "subtitle")

    assert is_picture(figure, tmp_path)
