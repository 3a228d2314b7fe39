"""Writes monitoring/grafana_dashboard.json from scripts/panels: `.venv/bin/python scripts/generate/dashboard.py`."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
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

from panels.panel import Kind, Panel, Query, Row  # noqa: E402 - said above
from panels.table import ROWS  # noqa: E402 - likewise

if TYPE_CHECKING:
    from grafana_foundation_sdk.cog.builder import Builder

DASHBOARD = ROOT / "monitoring" / "grafana_dashboard.json"
REFRESH = "30s"
_SOURCE: Final = dashboard.DataSourceRef(type_val="prometheus", uid="${datasource}")
_GOOD, _WARNING, _CRITICAL = "blue", "orange", "dark-red"
"""Colours that people who see no red or no green tell apart."""
_WIDTH: Final = 24
_SIZES: Final = {Kind.GRAPH: (8, 8), Kind.NUMBER: (3, 4), Kind.TABLE: (24, 5)}
"""Kind -> width and height on Grafana's grid."""

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
    """Yield each panel of a row, and the first free line below it."""
    left, line, below = 0, top, top
    for offset, panel in enumerate(row.panels):
        width, height = _SIZES[panel.kind]
        if left + width > _WIDTH:
            left, line = 0, below
        place = dashboard.GridPos(h=height, w=width, x=left, y=line)
        left, below = left + width, max(below, line + height)
        yield _shape(panel).id(number + offset).grid_pos(place), below


def _shape(panel: Panel) -> _Shape:
    shape: _Shape
    if panel.kind is Kind.NUMBER:
        newest = shapes.ReduceDataOptions().calcs(["lastNotNull"])
        shape = stat.Panel().graph_mode(common.BigValueGraphMode.NONE).reduce_options(newest)
    elif panel.kind is Kind.TABLE:
        shape = table.Panel()
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
    legend = (
        shapes.VizLegendOptions()
        .display_mode(common.LegendDisplayMode.TABLE)
        .placement(common.LegendPlacement.BOTTOM)
        .show_legend(True)
        .calcs(["lastNotNull", "max"])
    )
    shape = (
        timeseries.Panel()
        .legend(legend)
        .tooltip(shapes.VizTooltipOptions().mode(common.TooltipDisplayMode.MULTI))
        .line_width(1)
        .fill_opacity(10)
        .show_points(common.VisibilityMode.NEVER)
    )
    if panel.is_stacked:
        shape = shape.stacking(shapes.StackingConfig().mode(common.StackingMode.NORMAL))
    if panel.warning is not None:
        lines = shapes.GraphThresholdsStyleConfig().mode(common.GraphTresholdsStyleMode.DASHED)
        shape = shape.thresholds_style(lines)
    return shape


def _thresholds(panel: Panel) -> boards.ThresholdsConfig:
    """Return the steps of a panel, in rising order; without thresholds everything is good."""
    warning, critical = panel.warning, panel.critical
    steps: list[tuple[float | None, str]]
    if warning is None or critical is None:
        steps = [(None, _GOOD)]
    elif critical >= warning:
        steps = [(None, _GOOD), (warning, _WARNING), (critical, _CRITICAL)]
    else:
        steps = [(None, _CRITICAL), (critical, _WARNING), (warning, _GOOD)]
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
