"""Turns the dashboard and Prometheus's answers into what Grafana's components draw."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Awaitable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Protocol

Labels = Mapping[str, str]
Answer = Sequence[tuple[Labels, Sequence[tuple[float, float]]]]
"""Labels of each series of an answer, and its moments and values."""


class Ask(Protocol):
    """Answers an expression: over the time that is drawn, or at its end alone."""

    def __call__(self, expr: str, *, at_end: bool) -> Awaitable[Answer]: ...


_VARIABLES: Final = ("$instance", "$__rate_interval")
_PLACE: Final = re.compile(r"\{\{\s*(\w+)\s*\}\}")


def rows_of(dashboard: Mapping[str, Any]) -> list[tuple[str, list[dict[str, Any]]]]:
    """Return the title and the panels of each row of a dashboard, in order."""
    rows: list[tuple[str, list[dict[str, Any]]]] = []
    for panel in dashboard["panels"]:
        if panel["type"] == "row":
            rows.append((panel["title"], []))
        else:
            rows[-1][1].append(panel)
    return rows


def expression(target: Mapping[str, Any], window: str) -> str:
    """Return the PromQL of a target, for every validator and with a rate over `window`.

    >>> expression({"expr": 'rate(x{instance=~"$instance"}[$__rate_interval])'}, "20s")
    'rate(x{instance=~".*"}[20s])'
    """
    instance, rate = _VARIABLES
    text: str = target["expr"].replace(instance, ".*").replace(rate, window)
    if "$" in text:
        raise ValueError(f"{text} has a variable that nobody knows")
    return text


def legend(form: str, labels: Labels) -> str:
    """Return the name of a series as Grafana makes it from the form of a legend.

    >>> legend("{{instance}} {{role}}", {"instance": "v:1", "role": "signer"})
    'v:1 signer'
    """
    return _PLACE.sub(lambda found: labels.get(found[1], ""), form).strip()


async def board(
    dashboard: Mapping[str, Any], ask: Ask, window: str, span: tuple[float, float]
) -> dict[str, Any]:
    """Return rows of panels with their frames, and the time that they show, in milliseconds."""
    rows = []
    for title, panels in rows_of(dashboard):
        rows.append({"title": title, "panels": [await _answered(panel, ask, window) for panel in panels]})
    return {"rows": rows, "from": span[0] * 1000, "to": span[1] * 1000}


async def _answered(panel: dict[str, Any], ask: Ask, window: str) -> dict[str, Any]:
    frames = []
    for target in panel["targets"]:
        answer = await ask(expression(target, window), at_end=bool(target.get("instant")))
        if target.get("format") == "table":
            frames += [table(answer)] if answer else []
        else:
            frames += [series(target, labels, values) for labels, values in answer]
    return {**panel, "frames": frames}


def series(
    target: Mapping[str, Any], labels: Labels, values: Sequence[tuple[float, float]]
) -> dict[str, Any]:
    """Return one series as a frame of Grafana."""
    name = legend(target["legendFormat"], labels)
    return {
        "refId": target["refId"],
        "fields": [
            {"name": "Time", "type": "time", "values": [moment * 1000 for moment, _ in values], "config": {}},
            {
                "name": "Value",
                "type": "number",
                "labels": dict(labels),
                "values": [None if math.isnan(value) else value for _, value in values],
                "config": {"displayNameFromDS": name},
            },
        ],
    }


def table(answer: Answer) -> dict[str, Any]:
    """Return an answer as one frame: a row a series, a column a label."""
    names = sorted({name for labels, _ in answer for name in labels})
    columns: list[dict[str, Any]] = [
        {
            "name": "Time",
            "type": "time",
            "values": [values[-1][0] * 1000 for _, values in answer],
            "config": {},
        }
    ]
    for name in names:
        values = [labels.get(name, "") for labels, _ in answer]
        columns.append({"name": name, "type": "string", "values": values, "config": {}})
    numbers = [values[-1][1] for _, values in answer]
    columns.append({"name": "Value", "type": "number", "values": numbers, "config": {}})
    return {"refId": "A", "fields": columns}


def slug(place: int, title: str) -> str:
    """Return the name of a row's pictures.

    >>> slug(0, "All in one look")
    '1-all-in-one-look'
    """
    return f"{place + 1}-" + re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")


def read(path: Path) -> dict[str, Any]:
    """Return the dashboard in a file."""
    found: dict[str, Any] = json.loads(path.read_text())
    return found
