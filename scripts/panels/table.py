"""All rows of the dashboard, in order."""

from __future__ import annotations

from typing import Final

from panels import engine, overview, processes, weather, weights

ROWS: Final = (
    overview.ROW,
    processes.HEALTH,
    processes.THROUGHPUT,
    engine.ENGINE,
    weather.WEATHER,
    weather.MINERS,
    weights.WEIGHTS,
    engine.TASKS,
    weights.HOST,
)
PANELS: Final = tuple(panel for row in ROWS for panel in row.panels)
