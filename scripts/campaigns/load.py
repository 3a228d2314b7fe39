"""Runs Locust's users against a running engine that hands real units to its pool, and checks every answer."""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

import bootstrap

from campaigns.load_engine.answers import BOOK, FIGURES, SCENARIOS

SCRIPTS = Path(__file__).resolve().parents[1]
LOCUSTFILE = SCRIPTS.parent / "tests" / "soak" / "locustfile.py"
LOAD_LOCK = "requirements/load.lock"
WORKERS = 2
MOST_LAG_MS = 50.0
MOST_WAITING = 10
"""Units that may wait for a worker are fewer than this."""
_START_S = 120.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--users", type=int, default=4, help="two of three are steady, one sends bursts")
    parser.add_argument("--grid", choices=("0.25", "1.0"), default="0.25", help="degrees")
    parser.add_argument("--miners", type=int, default=4, help="different forecasts")
    parser.add_argument("--keep", type=Path, help="folder that keeps the log and Locust's statistics")


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Run the load; return figures by scenario, and a violation for each failure, wrong answer or limit."""
    bootstrap.ensure_environment([bootstrap.RUNTIME_LOCK, LOAD_LOCK])
    with tempfile.TemporaryDirectory(prefix="gaia-load-") as scratch:
        folder = arguments.keep or Path(scratch) / "kept"
        folder.mkdir(parents=True, exist_ok=True)
        book = _prepared(Path(scratch), arguments)
        supervisor = _started(Path(scratch), folder / "log")
        try:
            url = f"http://127.0.0.1:{_port(supervisor, Path(scratch) / 'port')}"
            (Path(scratch) / "book").write_text(json.dumps({**book, "url": url}))
            _generate(Path(scratch) / "book", url, folder, arguments)
            figures = _asked(url + FIGURES)
        finally:
            supervisor.terminate()
            supervisor.wait(timeout=60)
        return judged(_statistics(folder / "load_stats.csv"), figures, supervisor.returncode)


def judged(statistics: dict[str, dict[str, float]], engine: dict[str, Any], exit_code: int) -> dict[str, Any]:
    """Return the figures and what breaks a limit.

    Parameters
    ----------
    statistics
        Scenario -> requests, failures, and milliseconds until the answer.
    engine
        Figures of the engine.
    exit_code
        Of the Supervisor, which was told to stop.
    """
    violations = [
        f"{name}: {row['failures']:.0f} of {row['requests']:.0f} answers failed or were wrong"
        for name, row in statistics.items()
        if row["failures"]
    ]
    violations += [f"{name}: nothing was asked" for name in SCENARIOS if name not in statistics]
    if engine["loop_lag_p99_ms"] is None or engine["loop_lag_p99_ms"] >= MOST_LAG_MS:
        violations.append(
            f"loop lag p99 is {engine['loop_lag_p99_ms']} ms; less than {MOST_LAG_MS} is allowed"
        )
    if engine["queue_depth_max"] >= MOST_WAITING:
        violations.append(f"{engine['queue_depth_max']} units waited; fewer than {MOST_WAITING} are allowed")
    if engine["queue_depth"] or engine["busy"]:
        violations.append(f"{engine['queue_depth'] + engine['busy']} units are left")
    if exit_code != 0:
        violations.append(f"the Supervisor ended with {exit_code}")
    return {"figures": {**engine, "scenarios": statistics}, "ratios": {}, "violations": violations}


def _prepared(scratch: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    from campaigns.load_engine.prepared import prepare

    units = prepare(scratch / "data", arguments.grid, arguments.miners)
    (scratch / "units").write_text(json.dumps([(unit.handler, unit.payload) for unit in units]))
    return {
        "workers": WORKERS,
        "most_waiting": MOST_WAITING,
        "units": [{"scenario": unit.scenario, "expected": unit.expected} for unit in units],
    }


def _started(scratch: Path, log: Path) -> subprocess.Popen[bytes]:
    options = {"data_dir": str(scratch / "data"), "workers": WORKERS, "embedded_database": False}
    settings = {"workers": WORKERS, "units": str(scratch / "units"), "port": str(scratch / "port")}
    paths = os.pathsep.join([str(SCRIPTS), str(SCRIPTS.parent)])
    with log.open("wb") as output:
        return subprocess.Popen(
            [sys.executable, "-c", "from campaigns.load_engine.service import supervise; supervise()"],
            env={**os.environ, "PYTHONPATH": paths, "POOL_CHAOS": json.dumps([options, settings])},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )


def _port(supervisor: subprocess.Popen[bytes], file: Path) -> int:
    end = time.monotonic() + _START_S
    while not file.exists():
        if supervisor.poll() is not None:
            raise SystemExit(f"the Supervisor ended with {supervisor.returncode}; see the log (--keep)")
        if time.monotonic() > end:
            raise SystemExit(f"the engine does not listen after {_START_S:.0f} s; see the log (--keep)")
        time.sleep(0.05)
    return int(file.read_text())


def _generate(book: Path, url: str, folder: Path, arguments: argparse.Namespace) -> None:
    """Run Locust; its exit code 1 only says that there were failures, which the statistics show."""
    command = [
        *(sys.executable, "-m", "locust", "--headless", "--locustfile", str(LOCUSTFILE), "--host", url),
        *("--users", str(arguments.users), "--spawn-rate", str(arguments.users)),
        *("--run-time", f"{60 * arguments.minutes:.0f}s", "--stop-timeout", "60"),
        *("--csv", str(folder / "load"), "--only-summary", "--loglevel", "WARNING"),
    ]
    with (folder / "locust.log").open("wb") as output:
        done = subprocess.run(
            command,
            env={**os.environ, BOOK: str(book), "PYTHONPATH": str(SCRIPTS)},
            stdout=output,
            stderr=output,
            check=False,
        )
    if done.returncode not in (0, 1):
        raise SystemExit(f"Locust ended with {done.returncode}; see locust.log (--keep)")


def _statistics(path: Path) -> dict[str, dict[str, float]]:
    with path.open(newline="") as file:
        return {
            row["Name"]: {
                "requests": float(row["Request Count"]),
                "failures": float(row["Failure Count"]),
                "p50_ms": float(row["50%"]),
                "p95_ms": float(row["95%"]),
                "p99_ms": float(row["99%"]),
            }
            for row in csv.DictReader(file)
            if row["Name"] != "Aggregated"
        }


def _asked(url: str) -> dict[str, Any]:
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with direct.open(url, timeout=60) as reply:
        answer: dict[str, Any] = json.load(reply)
    return answer
