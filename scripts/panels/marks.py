"""Colour and dash of each series, so that people with any colour vision tell lines apart."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Final

from panels.panel import Kind, Panel

COLOURS: Final = ("#0072b2", "#009e73", "#cc79a7", "#8a6100")
"""Colours of lines: each has a contrast of 3 or more with Grafana's light and its dark panels."""
DASHES: Final[tuple[tuple[int, ...], ...]] = ((), (12, 4), (2, 5), (14, 4, 2, 4), (6, 8))
"""Lengths of strokes and gaps in pixels; empty: an unbroken line."""
GOOD, WARNING, CRITICAL = "#3d7fd9", "#dd7800", "#d0203a"
"""Colours of thresholds, apart from each other for any colour vision."""
JOBS: Final = (
    *("main_scoring", "weights", "metagraph", "status_logger", "database_monitor", "memory_snapshot_taker"),
    *("plot_database_metrics_periodically", "check_for_updates", "handle_miner_deregistration_loop"),
    *("manage_earthdata_token", "monitor_client_health", "periodic_substrate_cleanup"),
    *("aggressive_memory_cleanup", "notifier", "remove_old_data", "daily_backup", "observation"),
)
"""Recurring jobs, whose names the metrics do not declare beforehand."""
_METRIC: Final = re.compile(r"\bgaia_[a-z0-9_]+")
_LABEL: Final = re.compile(r"\{\{(\w+)\}\}")
_GIVEN: Final = re.compile(r"'(\w+)', '(\w+)', '', ''")
"""Label and value that label_replace gives to every series of a query."""

Declared = Mapping[str, Mapping[str, Sequence[str]]]
"""Metric -> label -> the values that it can have."""


@dataclass(frozen=True, slots=True)
class Mark:
    """Look of the series whose name ends with `name`."""

    name: str
    colour: str
    dash: tuple[int, ...]

    @property
    def pattern(self) -> str:
        """Regular expression, in slashes as Grafana has it, for the names of the series of any validator."""
        return f"/(^| ){re.escape(self.name)}$/"


_FREE = frozenset({"node"})
"""Labels whose values the operator's settings tell, so that no colour can be chosen for them."""


def marks_of(panel: Panel, declared: Declared) -> list[Mark]:
    """Return the look of each series of a panel; none if validators are its only series.

    Raises
    ------
    ValueError
        If there are more series than looks.
    """
    if panel.kind is not Kind.GRAPH:
        return []
    columns = [_columns(query.expr, query.legend, declared) for query in panel.queries]
    if len(columns) == 1 and len(columns[0]) == 2 and _fits(*columns[0]):
        firsts, seconds = columns[0]
        return [
            Mark(f"{first} {second}", COLOURS[colour], DASHES[dash])
            for dash, first in enumerate(firsts)
            for colour, second in enumerate(seconds)
        ]
    names = [" ".join(values) for one in columns if one for values in product(*one)]
    looks = [(colour, dash) for dash in DASHES for colour in COLOURS]
    if len(names) > len(looks):
        raise ValueError(f"{panel.title} has {len(names)} series, and there are {len(looks)} looks")
    return [Mark(name, *look) for name, look in zip(names, looks, strict=False)]


def _fits(firsts: Sequence[str], seconds: Sequence[str]) -> bool:
    return len(firsts) <= len(DASHES) and len(seconds) <= len(COLOURS)


def _columns(expr: str, legend: str, declared: Declared) -> list[Sequence[str]]:
    """Return the values of each label in a legend, without the validator's."""
    given = dict(_GIVEN.findall(expr))
    labels = [label for label in _LABEL.findall(legend) if label != "instance"]
    return [[given[label]] if label in given else list(_values(label, expr, declared)) for label in labels]


def _values(label: str, expr: str, declared: Declared) -> Iterator[str]:
    if label in _FREE:
        return
    if label == "task":
        yield from JOBS
        return
    for metric in _METRIC.findall(expr):
        family = next((name for name in (metric, _family(metric)) if name in declared), "")
        if label in declared.get(family, {}):
            yield from declared[family][label]
            return
    raise ValueError(f"no metric of {expr} has the label {label}")


def _family(metric: str) -> str:
    """Return the family of a series of a histogram.

    >>> _family("gaia_x_seconds_bucket")
    'gaia_x_seconds'
    """
    return re.sub(r"_(bucket|count|sum)$", "", metric)
