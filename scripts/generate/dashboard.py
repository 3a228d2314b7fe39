"""Writes monitoring/grafana_dashboard.json from scripts/panels: `.venv/bin/python scripts/generate/dashboard.py`."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

from grafana_foundation_sdk.builders import common as shapes
from grafana_foundation_sdk.builders import dashboard as boards
from grafana_foundation_sdk.builders import prometheus, stat, table, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common, dashboard
from grafana_foundation_sdk.models import prometheus as prometheus_models

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "scripts"), str(ROOT)]

from panels.marks import CRITICAL, GOOD, WARNING, Declared, Mark, marks_of  # noqa: E402 - said above
from panels.panel import Kind, Panel, Query, Row, Unit  # noqa: E402 - likewise
from panels.table import ROWS  # noqa: E402 - likewise

from generate.metrics_page import all_families, name_of  # noqa: E402 - likewise

if TYPE_CHECKING:
    from grafana_foundation_sdk.cog.builder import Builder

DASHBOARD = ROOT / "monitoring" / "grafana_dashboard.json"
REFRESH = "30s"
_SOURCE: Final = dashboard.DataSourceRef(type_val="prometheus", uid="${datasource}")
_WIDTH: Final = 24
_HEIGHTS: Final = {Kind.GRAPH: 9, Kind.NUMBER: 4, Kind.TABLE: 4}
"""Kind -> height on Grafana's grid."""
_LEFT_OUT: Final = ("Time", "Value", "__name__", "job")
"""Columns of a table that say nothing about a validator."""
_FEW: Final = 3
"""Number of series whose legend has room below a small graph; that of more stands beside a larger one."""
_SOME: Final = 7
"""Number of series whose legend leaves half of a graph's place; that of more takes the whole width."""
_FILL: Final = 10
"""Opacity in percent of the area below a line; below many lines, areas hide each other."""
_SOFT_MOST: Final = {Unit.COUNT: 1.0, Unit.PER_SECOND: 0.1}
"""Unit -> value up to which an axis reaches at least."""
_NEAR: Final = 5.0
"""Largest threshold up to which an axis reaches at least."""
_WIDTHS: Final = {"commit": 350}
"""Column of a table -> pixels that its values need."""
_CELL, _HEAD, _ENTRY = 38, 90, 24
"""Pixels of one line of the grid, of a panel's title and its legend's head, and of one entry of a legend."""

_Shape = timeseries.Panel | stat.Panel | table.Panel


def main() -> None:
    DASHBOARD.parent.mkdir(parents=True, exist_ok=True)
    DASHBOARD.write_text(rendered())


def rendered() -> str:
    """Return the dashboard as Grafana imports it."""
    board = (
        boards.Dashboard("Gaia validator")
        .uid("gaia-validator")
        .description("Health, work, weather, weights and disk of validators. Generated; see scripts/panels.")
        .tags(["gaia"])
        .refresh(REFRESH)
        .time("now-6h", "now")
        .timezone("utc")
        .tooltip(dashboard.DashboardCursorSync.CROSSHAIR)
        .readonly()
        .with_variable(boards.DatasourceVariable("datasource").label("Prometheus").type("prometheus"))
        .with_variable(_instances())
    )
    for placed in _placed():
        board = board.with_row(placed) if isinstance(placed, boards.Row) else board.with_panel(placed)
    return json.dumps(board.build(), cls=JSONEncoder, indent=2, sort_keys=True) + "\n"


def _instances() -> Builder[dashboard.VariableModel]:
    return (
        boards.QueryVariable("instance")
        .label("Validator")
        .datasource(_SOURCE)
        .query("label_values(gaia_build_info, instance)")
        .refresh(dashboard.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(dashboard.VariableSort.ALPHABETICAL_ASC)
        .multi(True)
        .include_all(True)
        .all_value(".*")
        .current(dashboard.VariableOption(selected=True, text=["All"], value=["$__all"]))
    )


def _placed() -> Iterator[boards.Row | _Shape]:
    """Yield rows and panels with their numbers, at their places from left to right."""
    number, top = 1, 0
    for row in ROWS:
        yield boards.Row(row.title).id(number).grid_pos(dashboard.GridPos(h=1, w=_WIDTH, x=0, y=top))
        number, top = number + 1, top + 1
        for shape, height in _in_lines(row, top, number):
            yield shape
            number, top = number + 1, height


def _in_lines(row: Row, top: int, number: int) -> Iterator[tuple[_Shape, int]]:
    """Yield each panel of a row, and the first free line below it; the panels of a line share its whole width."""
    left_to_place = list(row.panels)
    while left_to_place:
        most = _beside(left_to_place[0])
        line = [panel for panel in left_to_place if _beside(panel) == most][:most]
        left_to_place = [panel for panel in left_to_place if panel not in line]
        width, height = _WIDTH // len(line), max(_height(panel) for panel in line)
        for place, panel in enumerate(line):
            at = dashboard.GridPos(h=height, w=width, x=place * width, y=top)
            yield _shape(panel).id(number).grid_pos(at), top + height
            number += 1
        top += height


def _beside(panel: Panel) -> int:
    """Return how many panels such as this one stand in one line."""
    if panel.kind is not Kind.GRAPH:
        return 4 if panel.kind is Kind.NUMBER else 1
    many = len(_marks(panel))
    return 3 if many <= _FEW else 2 if many <= _SOME else 1


def _height(panel: Panel) -> int:
    return max(_HEIGHTS[panel.kind], math.ceil((_HEAD + _ENTRY * len(_marks(panel))) / _CELL))


def _marks(panel: Panel) -> Sequence[Mark]:
    return marks_of(panel, declared())


@cache
def declared() -> Declared:
    """Return metric -> label -> the values that the validator declares, in their order."""
    found: dict[str, dict[str, list[str]]] = {}
    for family in all_families():
        labels = found.setdefault(name_of(family), {})
        for sample in family.samples:
            for label, value in sample.labels.items():
                if value not in labels.setdefault(label, []):
                    labels[label].append(value)
    return found


def _shape(panel: Panel) -> _Shape:
    shape: _Shape
    if panel.kind is Kind.NUMBER:
        newest = shapes.ReduceDataOptions().calcs(["lastNotNull"])
        shape = stat.Panel().graph_mode(common.BigValueGraphMode.NONE).reduce_options(newest)
        shape = shape.color_scheme(boards.FieldColor().mode(dashboard.FieldColorModeId.THRESHOLDS))
    elif panel.kind is Kind.TABLE:
        shape = table.Panel()
        for column in _LEFT_OUT:
            hidden = dashboard.DynamicConfigValue(id_val="custom.hidden", value=True)
            shape = shape.override_by_name(column, [hidden])
        for column, pixels in _WIDTHS.items():
            width = dashboard.DynamicConfigValue(id_val="custom.width", value=pixels)
            shape = shape.override_by_name(column, [width])
    else:
        shape = _graph(panel)
    shape = shape.title(panel.title).description(panel.description).datasource(_SOURCE).unit(panel.unit.value)
    if panel.least is not None:
        shape = shape.min(panel.least)
    if panel.most is not None:
        shape = shape.max(panel.most)
    shape = shape.thresholds(_thresholds(panel))
    for position, query in enumerate(panel.queries):
        shape = shape.with_target(_target(query, chr(ord("A") + position), panel.kind))
    return shape


def _graph(panel: Panel) -> timeseries.Panel:
    marks = _marks(panel)
    legend = (
        shapes.VizLegendOptions()
        .display_mode(common.LegendDisplayMode.TABLE)
        .placement(common.LegendPlacement.RIGHT if len(marks) > _FEW else common.LegendPlacement.BOTTOM)
        .show_legend(True)
        .calcs(["lastNotNull"] if _FEW < len(marks) <= _SOME else ["lastNotNull", "max"])
    )
    shape = (
        timeseries.Panel()
        .legend(legend)
        .tooltip(shapes.VizTooltipOptions().mode(common.TooltipDisplayMode.MULTI))
        .line_width(2)
        .fill_opacity(_FILL if panel.is_stacked or len(marks) <= _FEW else 0)
        .show_points(common.VisibilityMode.NEVER)
        .color_scheme(boards.FieldColor().mode(dashboard.FieldColorModeId.PALETTE_CLASSIC))
    )
    if panel.unit in _SOFT_MOST:
        soft = _SOFT_MOST[panel.unit]
        # So that a line at 0 has its thresholds in sight, and no axis up to 100.
        shape = shape.axis_soft_max(
            panel.critical if panel.critical and soft < panel.critical <= _NEAR else soft
        )
    if panel.is_stacked:
        shape = shape.stacking(shapes.StackingConfig().mode(common.StackingMode.NORMAL))
    if panel.warning is not None:
        lines = shapes.GraphThresholdsStyleConfig().mode(common.GraphTresholdsStyleMode.DASHED)
        shape = shape.thresholds_style(lines)
    for mark in marks:
        shape = shape.override_by_regexp(mark.pattern, _look(mark))
    return shape


def _look(mark: Mark) -> list[dashboard.DynamicConfigValue]:
    """Return the settings that give a series its colour and its dash."""
    look = [dashboard.DynamicConfigValue(id_val="color", value={"mode": "fixed", "fixedColor": mark.colour})]
    if mark.dash:
        style = {"fill": "dash", "dash": list(mark.dash)}
        look.append(dashboard.DynamicConfigValue(id_val="custom.lineStyle", value=style))
    return look


def _thresholds(panel: Panel) -> boards.ThresholdsConfig:
    """Return the steps of a panel, in rising order; without thresholds everything is good."""
    warning, critical = panel.warning, panel.critical
    steps: list[tuple[float | None, str]]
    if warning is None or critical is None:
        steps = [(None, GOOD)]
    elif critical >= warning:
        steps = [(None, GOOD), (warning, WARNING), (critical, CRITICAL)]
    else:
        steps = [(None, CRITICAL), (critical, WARNING), (warning, GOOD)]
    return (
        boards.ThresholdsConfig()
        .mode(dashboard.ThresholdsMode.ABSOLUTE)
        .steps([dashboard.Threshold(value=value, color=color) for value, color in steps])
    )


def _target(query: Query, name: str, kind: Kind) -> prometheus.Dataquery:
    target = prometheus.Dataquery().expr(query.expr).legend_format(query.legend).ref_id(name)
    if kind is Kind.TABLE:
        return target.instant().format(prometheus_models.PromQueryFormat.TABLE)
    return target.range()


if __name__ == "__main__":
    main()
