"""The dashboard in monitoring/ is current, and every panel says what it shows and in which unit."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from generate import dashboard
from panels.panel import CHOSEN, Kind, Panel
from panels.table import PANELS, ROWS

NAMED_BY_THE_PLAN = (
    "Process CPU Usage, Process Memory Usage (RSS), Process Restarts, IPC Queue Depth, Compute Job Rate,"
    " Job Latency (95th percentile), Event Loop Lag, Database Connections, Forecast Runs, Scoring Metrics: day 1"
)


def test_file_is_what_the_panels_say() -> None:
    assert dashboard.DASHBOARD.read_text() == dashboard.rendered(), "run scripts/generate/dashboard.py"


def test_generator_writes_what_it_renders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dashboard, "DASHBOARD", tmp_path / "folder" / "board.json")

    dashboard.main()

    assert (tmp_path / "folder" / "board.json").read_text() == dashboard.rendered()


@pytest.mark.parametrize("title", NAMED_BY_THE_PLAN.split(", "))
def test_panel_that_the_plan_names_is_there(title: str) -> None:
    assert title in [panel.title for panel in PANELS]


def test_dashboard_refreshes_itself_and_lets_people_choose_source_and_validator() -> None:
    board = json.loads(dashboard.rendered())

    assert board["refresh"] == "30s"
    variables = {entry["name"]: entry["type"] for entry in board["templating"]["list"]}
    assert variables == {"datasource": "datasource", "instance": "query"}
    drawn = [entry for entry in board["panels"] if entry["type"] != "row"]
    assert len(drawn) == len(PANELS) >= 14
    assert [entry["title"] for entry in board["panels"] if entry["type"] == "row"] == [
        row.title for row in ROWS
    ]
    assert {entry["datasource"]["uid"] for entry in drawn} == {"${datasource}"}


def test_panels_have_numbers_and_places_of_their_own() -> None:
    panels = json.loads(dashboard.rendered())["panels"]
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        cells = {
            (place["x"] + column, place["y"] + line)
            for column in range(place["w"])
            for line in range(place["h"])
        }
        assert not cells & taken
        assert max(column for column, _ in cells) < 24
        taken |= cells

    assert len({panel["id"] for panel in panels}) == len(panels)
    assert len({panel["title"] for panel in panels}) == len(panels)


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel.title)
def test_panel_has_a_unit_a_description_and_queries_by_validator(panel: Panel) -> None:
    assert panel.description.endswith(".")
    assert panel.unit
    assert panel.queries
    assert (panel.warning is None) == (panel.critical is None)
    for query in panel.queries:
        metrics = re.findall(r"gaia_\w+|ALERTS", query.expr)
        assert metrics
        assert query.expr.count(CHOSEN) == len(metrics)
        assert "{{instance}}" in query.legend


def test_numbers_of_the_first_row_have_thresholds_where_an_alert_has() -> None:
    numbers = [panel for panel in PANELS if panel.kind is Kind.NUMBER]

    assert [panel.title for panel in numbers if panel.warning is None] == ["Open runs"]
