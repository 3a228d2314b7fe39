"""All alerts and recording rules."""

from __future__ import annotations

from typing import Final

from alerting import chain, database, health, host, pool, processes, weather, weights

GROUPS: Final = (
    health.GROUP,
    processes.GROUP,
    pool.GROUP,
    database.GROUP,
    weather.GROUP,
    weights.GROUP,
    chain.GROUP,
    host.GROUP,
)
ALERTS: Final = tuple(alert for group in GROUPS for alert in group.alerts)
RECORDINGS: Final = (
    processes.MEMORY,
    processes.CPU,
    pool.LAG,
    pool.OUR_FAILURES,
    database.IN_USE,
    host.FREE,
)
MOST_PAGES: Final = 8
"""Largest number of alerts that may wake a person."""
