"""Plays days without faults, replays the rules over them, and checks that no alert fires."""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import httpx
from alerting.rule import Alert, Pace, seconds_of
from alerting.table import ALERTS, RECORDINGS
from prometheus_client.parser import text_string_to_metric_families

from gaia.localnet.options import Options, clock_file
from gaia.validator.core.clock import SimulatedClock
from monitored.faults.scene import ChosenSubnet
from monitored.programs import disk, free_port
from monitored.prometheus import Storage
from monitored.replay import STEP_S, Key, Scrape, minutes, write_blocks

MINERS: Final = 6
_ALWAYS: Final = "DeadManSwitch"
_NAME: Final = re.compile(r"\bgaia_[a-z0-9_]+")
_DISK_MIB: Final = 8192
_PAUSE_S: Final = 0.5
_RENEWED_S: Final = 18.0
"""Longest time until a metric is renewed, but for those of the disk."""
_LOOKS_A_DAY: Final = 4
_BETWEEN_LOOKS: Final = timedelta(days=1) / _LOOKS_A_DAY
_FIRST_LOOK: Final = timedelta(minutes=61)
"""An hour after the opening of a run, whose newest age is then small."""
_CALM: Final = {"weights_interval_blocks": 200}
"""A rehearsal sets weights without a pause; here it does so about once a minute, as seldom as a look falls into it."""
_SPAN_S: Final = 6 * 86400
"""Length of one range query; Prometheus answers with 11,000 points at most."""


async def check(folder: Path, *, days: int, patience: float) -> dict[str, Any]:
    """Play `days` days, replay every alert over them, and return {figures, ratios, violations}."""
    # A disk of its own: that of the machine may be as full as the alerts say.
    with disk(folder / "subnet", _DISK_MIB if os.geteuid() == 0 else 0) as place:
        scrapes = await _played(place, days, patience * days)
    names = sorted({name for alert in ALERTS for name in _NAME.findall(inlined(alert.expr))})
    samples = await asyncio.to_thread(write_blocks, scrapes, names, folder / "storage" / "data")
    moments = minutes(scrapes)
    broken: dict[str, list[str]] = {}
    async with Storage(folder / "storage") as storage:
        for alert in ALERTS:
            found = await fired(alert, storage, moments)
            if found:
                broken[alert.name] = found
    lasted = (moments[-1] - moments[0]) / 86400
    unexpected = {name: found for name, found in broken.items() if name != _ALWAYS}
    return {
        "figures": {
            "days": round(lasted, 2),
            "scrapes": len(scrapes),
            "samples": samples,
            "alerts": len(ALERTS),
            "fired": broken,
        },
        "ratios": {"silent": 1 - len(unexpected) / len(ALERTS)},
        "violations": [
            *(f"{name} fired without a fault: {'; '.join(spans[:3])}" for name, spans in unexpected.items()),
            *([] if _ALWAYS in broken else [f"{_ALWAYS} did not fire"]),
            *([] if lasted >= days else [f"only {lasted:.1f} of {days} days were played"]),
        ],
    }


def inlined(expr: str) -> str:
    """Return an expression in which recorded ones stand themselves.

    >>> inlined("gaia:disk_free:ratio < 0.2")
    '(gaia_disk_free_bytes / gaia_disk_size_bytes) < 0.2'
    """
    for recording in RECORDINGS:
        expr = expr.replace(recording.name, f"({recording.expr})")
    return Pace().expression(expr)


def spans(times: Sequence[float], least_s: float) -> list[tuple[float, float]]:
    """Return (start, end) of unbroken sequences of minutes that last for at least `least_s`.

    >>> spans([0, 60, 120, 600], 60)
    [(0, 120)]
    """
    found: list[tuple[float, float]] = []
    for moment in times:
        if found and moment - found[-1][1] <= STEP_S:
            found[-1] = (found[-1][0], moment)
        else:
            found.append((moment, moment))
    return [(start, end) for start, end in found if end - start >= least_s]


async def fired(alert: Alert, storage: Storage, moments: Sequence[float]) -> list[str]:
    """Return the times at which an alert fired, with its labels, in words."""
    held: dict[str, list[float]] = {}
    start = moments[0]
    while start <= moments[-1]:
        end = min(start + _SPAN_S, moments[-1])
        for labels, times in await storage.span(inlined(alert.expr), start, end, STEP_S):
            held.setdefault(_said(labels), []).extend(times)
        start = end + STEP_S
    wait = seconds_of(alert.wait) if alert.wait else 0.0
    return [
        f"day {(began - moments[0]) / 86400:.2f} for {ended - began:.0f} s {labels}".strip()
        for labels, times in held.items()
        for began, ended in spans(times, wait)
    ]


def _said(labels: Mapping[str, str]) -> str:
    return " ".join(
        f"{name}={value}"
        for name, value in sorted(labels.items())
        if name not in ("instance", "job", "__name__")
    )


async def _played(state_dir: Path, days: int, patience: float) -> list[Scrape]:
    """Run a subnet for `days` days of its calendar; return a scrape of every sixth hour.

    The calendar stands still at each of these hours until the validator has renewed all of its metrics. What
    happens between two of them takes seconds, of which metrics that are renewed every fifteen seconds show nothing.
    """
    port = free_port()
    options = Options(miners=MINERS, days=days + 1, seed=3, metrics_port=port)
    url = f"http://127.0.0.1:{port}/metrics"
    scrapes: list[Scrape] = []
    ends_at = time.monotonic() + patience
    clock = SimulatedClock(clock_file(state_dir))
    async with (
        ChosenSubnet(state_dir, options, _CALM) as subnet,
        httpx.AsyncClient(trust_env=False) as client,
    ):
        await subnet.start()
        for number in range(days * _LOOKS_A_DAY + 1):
            moment = options.clock_start + _FIRST_LOOK + number * _BETWEEN_LOOKS
            clock.extend(moment)
            while (scrape := await _scraped(client, url)) is None or scrape.calendar < moment.timestamp():
                subnet.check()
                if time.monotonic() > ends_at:
                    raise TimeoutError(f"{days} days were not played in {patience:.0f} s")
                await asyncio.sleep(_PAUSE_S)
            await asyncio.sleep(_RENEWED_S)
            if (renewed := await _scraped(client, url)) is not None:
                scrapes.append(renewed)
    return scrapes


async def _scraped(client: httpx.AsyncClient, url: str) -> Scrape | None:
    try:
        text = (await client.get(url)).raise_for_status().text
    except httpx.HTTPError:
        return None
    values: dict[Key, float] = {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    calendar = values.get(("gaia_clock_timestamp_seconds", ()), 0.0)
    return Scrape(calendar=calendar, real=time.time(), values=values) if calendar > 0 else None
