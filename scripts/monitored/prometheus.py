"""A Prometheus that scrapes one validator every second, and answers questions."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
from alerting.render import alert_rules, recording_rules
from alerting.rule import JOB, Group, Pace
from alerting.table import GROUPS, RECORDINGS

from monitored.programs import Server, free_port

_TIMEOUT_S = 30.0
_MOST_POINTS = 10_000
Labels = dict[str, str]


class Storage(Server):
    """Answers questions about the blocks in `folder`/data, of whatever age; it scrapes nothing by itself."""

    def __init__(self, folder: Path, config: Mapping[str, Any] | None = None, *further: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "prometheus.yml").write_text(json.dumps(config or {}, indent=1))
        port = free_port()
        super().__init__(
            "prometheus",
            folder,
            [
                "--config.file=prometheus.yml",
                f"--web.listen-address=127.0.0.1:{port}",
                "--storage.tsdb.path=data",
                "--storage.tsdb.retention.time=100y",
                *further,
            ],
            port,
            "/-/ready",
        )
        self._client = httpx.AsyncClient(base_url=self.url, timeout=_TIMEOUT_S, trust_env=False)

    async def __aexit__(self, *error: object) -> None:
        await self._client.aclose()
        await super().__aexit__(*error)

    async def span(
        self, expr: str, start: float, end: float, step: float
    ) -> list[tuple[Labels, list[float]]]:
        """Return the labels of each series of an expression, and the moments at which it has a value."""
        found = await self._get("query_range", query=expr, start=start, end=end, step=step)
        return [(series["metric"], [float(at) for at, _ in series["values"]]) for series in found["result"]]

    async def _get(self, path: str, **parameters: Any) -> dict[str, Any]:
        answer = await self._client.get(f"/api/v1/{path}", params=parameters)
        content = answer.json()
        if content["status"] != "success":
            raise ValueError(f"{parameters}: {content['error']}")
        data: dict[str, Any] = content["data"]
        return data


class Prometheus(Storage):
    """Scrapes `target` every second, evaluates the rules, and tells an Alertmanager.

    Parameters
    ----------
    speed
        Number by which durations in the rules are divided.
    faster
        Name of an alert or a recording -> number for that one alone.
    """

    def __init__(
        self,
        folder: Path,
        target: str,
        alertmanager: str = "",
        *,
        speed: float,
        faster: Mapping[str, float] | None = None,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "recording.yml").write_text(paced_recordings(speed, faster or {}))
        (folder / "alerts.yml").write_text(paced_rules(speed, faster or {}))
        super().__init__(
            folder,
            _config(target, alertmanager),
            "--query.lookback-delta=5s",
            # Else a restored alert waits for ten minutes.
            "--rules.alert.for-grace-period=0s",
            "--rules.alert.resend-delay=1s",
        )

    async def ask(self, expr: str) -> list[tuple[Labels, float]]:
        """Return the labels and the value of each series of an expression now."""
        found = await self._get("query", query=expr)
        if found["resultType"] == "scalar":
            return [({}, float(found["result"][1]))]
        return [(series["metric"], float(series["value"][1])) for series in found["result"]]

    async def has_data(self, expr: str, start: float, end: float) -> bool:
        """Return whether an expression had any number, other than NaN, between two moments."""
        step = max(1.0, (end - start) / _MOST_POINTS)
        found = await self._get("query_range", query=expr, start=start, end=end, step=step)
        return any(
            not math.isnan(float(value)) for series in found["result"] for _, value in series["values"]
        )

    async def firing(self) -> set[str]:
        """Return the names of the alerts that fire."""
        found = await self._get("alerts")
        return {alert["labels"]["alertname"] for alert in found["alerts"] if alert["state"] == "firing"}

    async def is_scraping(self) -> bool:
        """Return whether the last scrape succeeded."""
        return any(value == 1 for _, value in await self.ask(f'up{{job="{JOB}"}}'))


def paced_rules(speed: float, faster: Mapping[str, float]) -> str:
    """Return the rules with durations divided by `speed`, or by the alert's own number in `faster`."""
    texts: list[str] = []
    for number in sorted({speed, *faster.values()}):
        groups = [
            Group(
                name=f"{group.name}-{number:g}",
                alerts=[alert for alert in group.alerts if faster.get(alert.name, speed) == number],
            )
            for group in GROUPS
        ]
        text = alert_rules([group for group in groups if group.alerts], Pace(speed=number))
        texts.append(text if not texts else text.split("groups:\n", 1)[1])
    return "".join(texts)


def paced_recordings(speed: float, faster: Mapping[str, float]) -> str:
    """Return the recording rules with durations divided by `speed`, or by a recording's own number in `faster`."""
    texts: list[str] = []
    for number in sorted({faster.get(recording.name, speed) for recording in RECORDINGS}):
        those = [recording for recording in RECORDINGS if faster.get(recording.name, speed) == number]
        text = recording_rules(those, Pace(speed=number), name=f"recordings-{number:g}")
        texts.append(text if not texts else text.split("groups:\n", 1)[1])
    return "".join(texts)


def _config(target: str, alertmanager: str) -> dict[str, Any]:
    config: dict[str, Any] = {
        "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
        "rule_files": ["recording.yml", "alerts.yml"],
        "scrape_configs": [{"job_name": JOB, "static_configs": [{"targets": [target]}]}],
    }
    if alertmanager:
        config["alerting"] = {"alertmanagers": [{"static_configs": [{"targets": [alertmanager]}]}]}
    return config
