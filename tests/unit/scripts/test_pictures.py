"""What scripts/pictures.py finds wrong: empty panels, text that does not fit, colours that people confuse."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from drawn import judge
from drawn.board import expression, rows_of, series, slug, table
from drawn.colours import VISIONS, contrast, distance, worst
from drawn.drawing import MOST_BYTES, WIDTHS
from drawn.node import WEB
from drawn.scenes import DASHBOARD, links
from drawn.small import shrink
from generate.dashboard import declared
from panels.marks import COLOURS, JOBS, marks_of
from panels.panel import Kind, Panel, Unit, query
from panels.table import PANELS
from PIL import Image

from gaia.validator.core.site.look import CSS
from tests.support.repository import ROOT

PICTURES = ROOT / "docs" / "pictures"
PAGE = ROOT / "docs" / "how-to" / "read-the-dashboard.md"
PAGES_KEPT = ("running", "site", "empty", "lost", "run", "miner", "leaderboard")


def board() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(DASHBOARD.read_text())
    return found


def test_people_without_green_receptors_hardly_tell_red_from_green() -> None:
    red, green = "#c04040", "#6a7a20"

    assert distance(red, green, "deuteranopia") < distance(red, green) / 2
    assert worst(red, green)[1] in ("deuteranopia", "protanopia")


@pytest.mark.parametrize("vision", VISIONS)
def test_black_white_and_grey_look_the_same_to_everybody(vision: str) -> None:
    assert distance("#000000", "#ffffff", vision) == pytest.approx(1.0, abs=0.01)
    assert distance("#808080", "#808080", vision) == 0.0
    assert contrast("#fff", "#ffffff") == 1.0


def test_two_near_colours_need_a_second_mark() -> None:
    one, other = judge.Mark("one", "#0072b2", ""), judge.Mark("other", "#0a74b0", "")

    assert len(list(judge.confused([one, other]))) == 1
    assert list(judge.confused([one, other._replace(second="12 4")])) == []
    assert list(judge.confused([one, judge.Mark("third", "#cc79a7", "")])) == []


def test_colours_of_lines_are_seen_on_light_and_on_dark_panels() -> None:
    marks = [judge.Mark(colour, colour, "") for colour in COLOURS]

    for paper in (judge.PANEL, "#ffffff"):
        assert list(judge.pale(marks, paper)) == []
    assert list(judge.confused(marks)) == []
    assert list(judge.pale([judge.Mark("faint", "#333333", "")], judge.PANEL)) != []


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel.title)
def test_every_series_of_a_panel_has_a_look_of_its_own(panel: Panel) -> None:
    marks = marks_of(panel, declared())

    looks = [(mark.colour, mark.dash) for mark in marks]
    assert len(set(looks)) == len(looks)
    # Nobody knows the names of an operator's nodes beforehand.
    has_labels = any(len(re.findall(r"\{\{(?!node)", one.legend)) > 1 for one in panel.queries)
    assert bool(marks) == (has_labels and panel.kind is Kind.GRAPH)


def test_look_is_found_by_the_end_of_the_series_name() -> None:
    panel = Panel(title="t", description="d.", unit=Unit.COUNT, queries=[query("gaia_child_up{@}", "role")])
    marks = {mark.name: mark.pattern.strip("/") for mark in marks_of(panel, declared())}

    assert re.search(marks["io_engine"], "10.0.0.1:9090 io_engine")
    assert not re.search(marks["io_engine"], "10.0.0.1:9090 another_io_engine")


def test_more_series_than_looks_are_refused() -> None:
    declared_values = {"gaia_x": {"kind": [str(number) for number in range(21)]}}
    panel = Panel(title="t", description="d.", unit=Unit.COUNT, queries=[query("gaia_x{@}", "kind")])

    with pytest.raises(ValueError, match="21 series"):
        marks_of(panel, declared_values)


def test_jobs_with_a_look_are_the_jobs_that_run() -> None:
    page = (ROOT / "docs" / "reference" / "background-tasks.md").read_text()
    named = set(re.findall(r"^\| `(\w+)` \|", page.partition("## Rules")[0], re.MULTILINE))

    assert named | {"metagraph", "observation"} == set(JOBS)


def test_every_query_of_the_dashboard_can_be_asked_without_grafana() -> None:
    targets = [target for _, panels in rows_of(board()) for panel in panels for target in panel["targets"]]

    assert len(targets) >= len(PANELS)
    assert not any("$" in expression(target, "20s") for target in targets)
    with pytest.raises(ValueError, match="variable"):
        expression({"expr": "x{a='$unknown'}"}, "20s")


def test_series_becomes_a_frame_with_its_legend_and_gaps() -> None:
    target = {"refId": "A", "legendFormat": "{{instance}} {{role}}"}

    frame = series(target, {"instance": "v", "role": "signer"}, [(1.0, 2.0), (2.0, float("nan"))])

    moments, values = frame["fields"]
    assert moments["values"] == [1000.0, 2000.0]
    assert values["values"] == [2.0, None]
    assert values["config"]["displayNameFromDS"] == "v signer"


def test_table_has_a_column_for_each_label() -> None:
    frame = table([({"version": "4"}, [(1.0, 1.0)]), ({"commit": "c"}, [(1.0, 1.0)])])

    assert [column["name"] for column in frame["fields"]] == ["Time", "commit", "version", "Value"]
    assert frame["fields"][2]["values"] == ["4", ""]


def test_lock_of_the_drawing_names_no_address() -> None:
    lock = (WEB / "package-lock.json").read_text()
    packages = json.loads(lock)["packages"]

    assert "://" not in lock
    assert all("integrity" in package for name, package in packages.items() if name)
    wanted = json.loads((WEB / "package.json").read_text())["dependencies"]
    assert packages[""]["dependencies"] == wanted
    assert all(re.fullmatch(r"[\d.]+", version) for version in wanted.values())


def drawn_row(tmp_path: Path, panel: dict[str, Any], pixels: Any, **place: Any) -> list[str]:
    """Return what is wrong with a row of one panel that fills its picture."""
    Image.fromarray(pixels).save(tmp_path / "row.png")
    height, width = pixels.shape[:2]
    box = [0, 0, width, height]
    placed = {"id": "1", "box": box, "plot": box, "clipped": [], "scrolls": False, **place}
    report = {"1": {"title": "p", "unit": "s", **panel}}
    row = {"width": 1280, "picture": "row.png", "errors": [], "panels": [placed], "report": report}
    return list(judge.judge_board([row], tmp_path))


SERIES = {"name": "v", "color": "#0072b2", "dash": [], "points": 9}


def a_graph(**changes: Any) -> dict[str, Any]:
    return {"type": "timeseries", "series": [SERIES | changes]}


def paper(*, with_line: bool) -> Any:
    pixels = np.full((60, 60, 3), judge.rgb(judge.PANEL), dtype=np.uint8)
    if with_line:
        pixels[30] = judge.rgb("#0072b2")
    return pixels


def test_graph_with_a_line_is_well(tmp_path: Path) -> None:
    assert drawn_row(tmp_path, a_graph(), paper(with_line=True)) == []


@pytest.mark.parametrize(
    ("panel", "with_line", "place", "words"),
    [
        (a_graph(), False, {}, "drawn empty"),
        (a_graph(points=0), True, {}, "no data"),
        ({"type": "timeseries", "series": []}, True, {}, "no data"),
        ({"type": "stat", "value": {"text": "No data", "color": "#0072b2"}}, True, {}, "no data"),
        ({"type": "stat", "value": {"text": "3 s", "color": "#0072b2"}}, False, {}, "drawn empty"),
        ({"type": "stat", "value": {"text": "3 s", "color": "#0072b2", "series": 2}}, True, {}, "2 values"),
        ({"type": "table", "rows": 0}, True, {}, "no data"),
        ({"type": "piechart"}, True, {}, "nobody draws"),
        (a_graph() | {"unit": ""}, True, {}, "no unit"),
        (a_graph(), True, {"clipped": ["A long title"]}, "cut off"),
        (a_graph(), True, {"scrolls": True}, "does not fit"),
        (a_graph(color="#202020"), True, {}, "contrast"),
        ({"type": "timeseries", "series": [SERIES, SERIES | {"color": "#ffffff"}]}, True, {}, "no look"),
    ],
)
def test_panel_that_a_person_cannot_read_is_named(
    tmp_path: Path, panel: dict[str, Any], with_line: bool, place: dict[str, Any], words: str
) -> None:
    wrong = drawn_row(tmp_path, panel, paper(with_line=with_line), **place)

    assert any(words in text for text in wrong), wrong


def test_page_that_scrolls_sideways_or_hides_its_state_is_named() -> None:
    page = {
        "path": "empty/index.html",
        "width": 390,
        "colorScheme": "light",
        "status": 200,
        "scroll": 390,
        "mute": 0,
        "missing": [],
    }
    rule = {"id": "color-contrast", "help": "h", "nodes": ["<p>"]}

    assert list(judge.judge_pages([{**page, "text": "no run has opened yet", "axe": []}])) == []
    for change, words in (
        ({"scroll": 409}, "sideways"),
        ({"axe": [rule]}, "color-contrast"),
        ({"status": 404}, "404"),
        ({"text": "well"}, "does not say"),
        ({"mute": 1}, "colour alone"),
        ({"missing": ["../map.png"]}, "map.png"),
    ):
        given = {**page, "text": "no run has opened yet", "axe": [], **change}
        assert words in " ".join(judge.judge_pages([given]))


def test_lines_of_the_site_differ_by_more_than_a_colour() -> None:
    assert list(judge.judge_style(CSS)) == []
    assert set(judge.schemes(CSS)) == {"light", "dark"}
    plain = re.sub(r"\.s\d\.line\{[^}]+\}", "", CSS).replace("--c2:#c04e00", "--c2:#0072b2")
    assert "look alike" in " ".join(judge.judge_style(plain))


def test_thresholds_of_the_dashboard_are_told_apart() -> None:
    assert list(judge.judge_thresholds(board())) == []
    panel = {"title": "p", "fieldConfig": {"defaults": {"thresholds": {"steps": []}}}}
    steps = [{"value": None, "color": "#c04040"}, {"value": 1, "color": "#c24242"}]
    panel["fieldConfig"]["defaults"]["thresholds"]["steps"] = steps  # type: ignore[index]
    assert "look alike" in " ".join(judge.judge_thresholds({"panels": [panel]}))


def test_pages_and_pictures_of_a_site_are_followed_and_no_other_address() -> None:
    page = b'<a href="../a.html#x">x</a><a href="https://h/b.html">y</a><img src="../img/c.png">'

    assert links("runs/r.html", page) == {"img/c.png"}
    assert links("data/a.json", page) == set()


def test_picture_is_written_smaller_and_looks_the_same(tmp_path: Path) -> None:
    picture = Image.new("RGB", (200, 100), "#181b1f")
    picture.paste("#0072b2", (0, 40, 200, 60))
    picture.save(tmp_path / "large.png", compress_level=0)

    size = shrink(tmp_path / "large.png", tmp_path / "out" / "small.png")

    assert size < (tmp_path / "large.png").stat().st_size / 10
    with Image.open(tmp_path / "out" / "small.png") as small:
        assert np.abs(np.asarray(small.convert("RGB"), int) - np.asarray(picture, int)).max() <= 4


def test_docs_show_every_row_and_say_what_every_panel_shows() -> None:
    text = PAGE.read_text()

    for place, (title, panels) in enumerate(rows_of(board())):
        assert f"## {title}\n" in text
        for width in WIDTHS:
            assert f"../pictures/{slug(place, title)}-{width}.png" in text
        for panel in panels:
            assert f"**{panel['title']}**" in text


def test_kept_pictures_are_whole_and_small() -> None:
    rows = [slug(place, title) for place, (title, _) in enumerate(rows_of(board()))]
    names = [*rows, *(f"page-{name}" for name in PAGES_KEPT)]
    wanted = {f"{name}-{width}.png": width for name in names for width in WIDTHS}

    assert {path.name for path in PICTURES.glob("*.png")} == set(wanted)
    assert sum(path.stat().st_size for path in PICTURES.glob("*.png")) <= MOST_BYTES
    for name, width in wanted.items():
        with Image.open(PICTURES / name) as picture:
            assert picture.width == width
            assert np.asarray(picture.convert("L")).std() > 5
