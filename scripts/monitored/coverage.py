"""Checks on a local subnet that every panel has data, and that every metric is emitted, used or documented."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import httpx
from alerting.table import ALERTS, RECORDINGS
from panels.panel import RATE
from panels.table import PANELS
from prometheus_client.parser import text_string_to_metric_families

from gaia.localnet.options import Options, data_dir
from gaia.localnet.subnet import LocalSubnet
from gaia.validator.app.meeting.rendezvous import Board, board_path, read_board
from monitored.programs import ROOT, free_port, program
from monitored.prometheus import Prometheus

REFERENCE = ROOT / "docs" / "reference" / "metrics.md"
MOST_SERIES = 400
_SPEED = 60.0
_WINDOW = "20s"
_LOOK_S = 0.25
_NAME = re.compile(r"\bgaia_[a-z0-9_]+")
_ENDS = ("_bucket", "_count", "_sum")


async def check(folder: Path, *, miners: int, days: int, patience: float) -> dict[str, Any]:
    """Run a subnet under Prometheus; return {figures, ratios, violations}."""
    port = free_port()
    options = Options(miners=miners, days=days, seed=3, metrics_port=port)
    url = f"http://127.0.0.1:{port}/metrics"
    async with LocalSubnet(folder / "subnet", options) as subnet:
        await subnet.start()
        async with Prometheus(folder / "prometheus", f"127.0.0.1:{port}", speed=_SPEED) as prometheus:
            began = time.time()
            await _until_complete(subnet, days, patience)
            text = await _exposition(url)
            missed = await _missed_faults(subnet, prometheus, patience)
            empty = await _empty_panels(prometheus, began)
            series = len(_series(text))
    return _judged(text, series, empty, missed)


def _judged(text: str, series: int, empty: list[str], missed: list[str]) -> dict[str, Any]:
    emitted, read = names_in(text), _read_names()
    documented = set(_NAME.findall(REFERENCE.read_text()))
    unknown = sorted(read - emitted)
    families, used = {_base(name) for name in emitted}, {_base(name) for name in read}
    unused = sorted(families - used - documented)
    queries = sum(len(panel.queries) for panel in PANELS)
    code, said = _promtool("check", "metrics", text=text)
    rules, rules_said = _promtool("check", "rules", str(ROOT / "monitoring" / "prometheus_alerts.yml"))
    violations = [
        *(f"{query} returns no data" for query in empty),
        *(f"{name} is read, and nobody emits it" for name in unknown),
        *(f"{name} is emitted, and neither used nor documented" for name in unused),
        *(f"increase() saw no restart of {role}" for role in missed),
        *([f"promtool check metrics: {said}"] if code else []),
        *([f"promtool check rules: {rules_said}"] if rules else []),
        *([f"{series} series are more than {MOST_SERIES}"] if series > MOST_SERIES else []),
    ]
    return {
        "figures": {
            "alerts": len(ALERTS),
            "panels": len(PANELS),
            "queries": queries,
            "metrics_emitted": len(families),
            "series": series,
            "promtool_metrics_rc": code,
            "promtool_rules_rc": rules,
        },
        "ratios": {
            "queries_with_data": (queries - len(empty)) / queries,
            "read_metrics_emitted": 1 - len(unknown) / len(read),
            "emitted_metrics_used": len(families & used) / len(families),
        },
        "violations": violations,
    }


def names_in(text: str) -> set[str]:
    r"""Return the names of all samples of an exposition.

    >>> sorted(names_in('gaia_x_bucket{le="1"} 0\\ngaia_y 1\\n'))
    ['gaia_x_bucket', 'gaia_y']
    """
    return {sample for sample, _ in _series(text)}


def _series(text: str) -> list[tuple[str, dict[str, str]]]:
    return [
        (sample.name, sample.labels)
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    ]


def _base(name: str) -> str:
    return next((name.removesuffix(end) for end in _ENDS if name.endswith(end)), name)


def _read_names() -> set[str]:
    texts: Iterable[str] = (
        *(alert.expr for alert in ALERTS),
        *(recording.expr for recording in RECORDINGS),
        *(query.expr for panel in PANELS for query in panel.queries),
    )
    return {name for text in texts for name in _NAME.findall(text)}


async def _until_complete(subnet: LocalSubnet, days: int, patience: float) -> None:
    ends_at = time.monotonic() + patience
    while not (await subnet.progress()).is_complete(days):
        subnet.check()
        if time.monotonic() > ends_at:
            raise TimeoutError("the subnet did not come to its end")
        await asyncio.sleep(_LOOK_S)


async def _exposition(url: str) -> str:
    async with httpx.AsyncClient(trust_env=False) as client:
        return (await client.get(url)).raise_for_status().text


async def _missed_faults(subnet: LocalSubnet, prometheus: Prometheus, patience: float) -> list[str]:
    """Kill one process of each role for the first time; return the roles whose restart increase() missed."""
    path = board_path(data_dir(subnet.state_dir))
    looks: dict[str, Callable[[Board], int | None]] = {
        "compute_worker": lambda board: next(iter(board.workers.values()), None),
        "chain_signer": lambda board: board.processes.get("chain_signer"),
        "io_engine": lambda board: board.processes.get("io_engine"),
        "postgres": lambda board: board.processes.get("postgres"),
    }
    missed = []
    for role, pid_of in looks.items():
        pid = pid_of(read_board(path))
        if pid is None:
            missed.append(role)
            continue
        os.kill(pid, signal.SIGKILL)
        expr = f'increase(gaia_child_process_restarts_total{{role="{role}"}}[{_WINDOW}]) > 0'
        if not await _comes_true(prometheus, expr, patience):
            missed.append(role)
    return missed


async def _comes_true(prometheus: Prometheus, expr: str, patience: float) -> bool:
    ends_at = time.monotonic() + patience
    while not await prometheus.ask(expr):
        if time.monotonic() > ends_at:
            return False
        await asyncio.sleep(_LOOK_S)
    return True


async def _empty_panels(prometheus: Prometheus, began: float) -> list[str]:
    """Return the queries of the dashboard that had no data since the subnet began."""
    empty = []
    for panel in PANELS:
        for query in panel.queries:
            expr = query.expr.replace("$instance", ".*").replace(RATE, _WINDOW)
            if not await prometheus.has_data(expr, began, time.time()):
                empty.append(f"{panel.title}: {query.expr}")
    return empty


def _promtool(*words: str, text: str = "") -> tuple[int, str]:
    done = subprocess.run(
        [program("promtool"), *words], input=text, capture_output=True, text=True, check=False
    )
    return done.returncode, (done.stdout + done.stderr).strip()
