"""Panels of the dashboard as data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

CHOSEN: Final = 'instance=~"$instance"'
"""Label matcher of every query: the validators that the person chose."""
RATE: Final = "$__rate_interval"


class Unit(StrEnum):
    """Unit of an axis, by Grafana's name."""

    BYTES = "bytes"
    BYTES_PER_SECOND = "Bps"
    COUNT = "short"
    PER_SECOND = "ops"
    SECONDS = "s"
    SHARE = "percentunit"
    SCORE = "none"
    YES_NO = "bool_yes_no"


class Kind(StrEnum):
    """Form of a panel."""

    GRAPH = "graph"
    NUMBER = "number"
    TABLE = "table"


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """One PromQL query and the legend of its series."""

    expr: str
    legend: str


def query(expr: str, legend: str = "") -> Query:
    """Return a query; `CHOSEN` is put in for `@`, and the rate interval for `[]`.

    >>> query("rate(x_total{@}[])", "role").expr
    'rate(x_total{instance=~"$instance"}[$__rate_interval])'
    """
    labels = " ".join(f"{{{{{label}}}}}" for label in ("instance", *legend.split()))
    return Query(expr=expr.replace("@", CHOSEN).replace("[]", f"[{RATE}]"), legend=labels)


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """One panel.

    `warning` and `critical` are the thresholds of the alerts. If `critical` is below `warning`,
    low values are bad.
    """

    title: str
    description: str
    queries: Sequence[Query]
    unit: Unit
    kind: Kind = Kind.GRAPH
    warning: float | None = None
    critical: float | None = None
    is_stacked: bool = False
    least: float | None = 0.0
    most: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """Panels about one subject."""

    title: str
    panels: Sequence[Panel]
