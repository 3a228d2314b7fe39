"""Runs a million tiny units through recycled workers, and checks memory, capacity and queue."""

from __future__ import annotations

import argparse
import csv
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

from campaigns.pool_faults.soak_engine import SAMPLE_S, rss_mib
from gaia.validator.app.meeting.rendezvous import board_path, read_board

SCRIPTS = Path(__file__).resolve().parents[1]
WORKERS = 2
WARM_UP = 0.1
"""Fraction of the units after which growth is measured."""
MOST_GROWTH = 0.05
MOST_SUPERVISOR_CPU = 0.01


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--units", type=int, default=1_000_000)
    parser.add_argument("--rate", type=float, default=4000.0, help="units a second; 0: as fast as can be")
    parser.add_argument("--recycle", type=int, default=1000, help="units until a worker is replaced")
    parser.add_argument(
        "--folder", type=Path, default=Path("soak"), help="where samples and plot are written"
    )


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Run the soak; "passed" requires full capacity, constant memory, an idle Supervisor and an empty queue."""
    arguments.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="pool-soak-") as scratch:
        options, settings = _described(arguments, Path(scratch))
        supervisor = _start(options, settings, arguments.folder / "log")
        try:
            watched = _watch(supervisor, Path(options["data_dir"]), Path(settings["verdict"]))
        finally:
            supervisor.terminate()
            supervisor.wait(timeout=60)
        verdict = json.loads(Path(settings["verdict"]).read_text())
    engine = _read_samples(arguments.folder / "engine.csv")
    _write_workers(watched["rows"], arguments.folder / "workers.csv")
    plot = _plot(engine, watched["rows"], arguments.folder / "soak.png")
    return _judge(arguments, verdict, engine, watched) | {"files": str(arguments.folder), "plot": plot}


def _described(arguments: argparse.Namespace, scratch: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    data_dir = scratch / "data"
    data_dir.mkdir()
    options = {
        "data_dir": str(data_dir),
        "workers": WORKERS,
        "embedded_database": False,
        "handlers": "campaigns.pool_faults.handlers",
        "worker_max_jobs": arguments.recycle,
    }
    settings = {
        "units": arguments.units,
        "rate": arguments.rate,
        "workers": WORKERS,
        "samples": str((arguments.folder / "engine.csv").resolve()),
        "verdict": str(scratch / "verdict"),
    }
    return options, settings


def _start(options: dict[str, Any], settings: dict[str, Any], log: Path) -> subprocess.Popen[bytes]:
    paths = os.pathsep.join([str(SCRIPTS), str(SCRIPTS.parent)])
    with log.open("wb") as output:
        return subprocess.Popen(
            [sys.executable, "-c", "from campaigns.pool_faults.soak_engine import supervise; supervise()"],
            env={**os.environ, "PYTHONPATH": paths, "POOL_CHAOS": json.dumps([options, settings])},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )


def _watch(supervisor: subprocess.Popen[bytes], data_dir: Path, verdict: Path) -> dict[str, Any]:
    """Sample workers and Supervisor from outside until the engine has written its verdict."""
    rows: list[tuple[float, int, float]] = []
    pids: set[int] = set()
    process = psutil.Process(supervisor.pid)
    while not read_board(board_path(data_dir)).workers:
        time.sleep(SAMPLE_S)
    begun, cpu = time.monotonic(), _cpu_s(process)
    while not verdict.exists():
        if supervisor.poll() is not None:
            raise SystemExit(f"the Supervisor ended with {supervisor.returncode}; see the log")
        now = time.monotonic() - begun
        for pid in read_board(board_path(data_dir)).workers.values():
            pids.add(pid)
            rows.append((now, pid, rss_mib(pid)))
        time.sleep(SAMPLE_S)
    return {"rows": rows, "pids": pids, "seconds": time.monotonic() - begun, "cpu_s": _cpu_s(process) - cpu}


def _judge(
    arguments: argparse.Namespace,
    verdict: dict[str, Any],
    engine: list[dict[str, float]],
    watched: dict[str, Any],
) -> dict[str, Any]:
    warm = [row["engine_rss_mib"] for row in engine if row["units"] >= WARM_UP * arguments.units]
    growth = warm[-1] / warm[0] - 1
    share = watched["cpu_s"] / watched["seconds"]
    recycled = verdict["units"] // arguments.recycle
    capacity = min(int(row["capacity"]) for row in engine)
    passed = (
        verdict["units"] == arguments.units
        and not verdict["wrong"]
        and capacity >= WORKERS
        and growth < MOST_GROWTH
        and share < MOST_SUPERVISOR_CPU
        and verdict["queue_depth_end"] == 0
    )
    return {
        "units": verdict["units"],
        "wrong": verdict["wrong"],
        "seconds": round(verdict["seconds"], 1),
        "units_per_second": round(verdict["units"] / verdict["seconds"]),
        "recycled": recycled,
        "capacity_wanted": WORKERS,
        "capacity_min": capacity,
        "samples_below_capacity": sum(row["capacity"] < WORKERS for row in engine) / len(engine),
        "queue_depth_max": int(max(row["queue_depth"] for row in engine)),
        "queue_depth_end": verdict["queue_depth_end"],
        "engine_rss_warm_mib": warm[0],
        "engine_rss_end_mib": warm[-1],
        "engine_rss_growth": round(growth, 4),
        "supervisor_cpu_share": round(share, 5),
        "supervisor_cpu_ms_per_recycle": round(watched["cpu_s"] * 1e3 / max(1, recycled), 3),
        "worker_rss_max_mib": round(max(rss for _, _, rss in watched["rows"]), 1),
        "passed": passed,
    }


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _read_samples(path: Path) -> list[dict[str, float]]:
    with path.open(newline="") as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]


def _write_workers(rows: list[tuple[float, int, float]], path: Path) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("seconds", "pid", "rss_mib"))
        writer.writerows((f"{seconds:.2f}", pid, f"{rss:.2f}") for seconds, pid, rss in rows)


def _plot(engine: list[dict[str, float]], rows: list[tuple[float, int, float]], path: Path) -> str | None:
    """Plot the memory of workers and engine, if matplotlib is installed."""
    if importlib.util.find_spec("matplotlib") is None:
        return None
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, (above, below) = plt.subplots(2, sharex=True, figsize=(10, 6))
    for pid in sorted({pid for _, pid, _ in rows}):
        mine = [(seconds, rss) for seconds, other, rss in rows if other == pid and rss]
        above.plot([at for at, _ in mine], [rss for _, rss in mine], marker=".", markersize=2, linewidth=0.8)
    above.set_ylabel("worker RSS, MiB")
    below.plot([row["seconds"] for row in engine], [row["engine_rss_mib"] for row in engine])
    below.set_ylabel("IO-Engine RSS, MiB")
    below.set_xlabel("seconds")
    figure.savefig(path, dpi=110)
    plt.close(figure)
    return str(path)
