"""Compares the compute pool with its peers in one interleaved run: speed, and recovery from kill -9."""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import selectors
import shutil
import signal
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

SCRIPTS = Path(__file__).resolve().parents[1]
OURS = "ours"
FLOOR = "socketpair"
EXECUTOR = "processpoolexecutor"
NEEDS = {"loky": "loky", "dask": "distributed"}
"""Peer -> module that it needs; requirements/bench.lock has them."""


class Plan(NamedTuple):
    """Numbers of repetitions, and time limits of a peer."""

    rounds: int
    trips: int
    units: int
    trials: int
    patience_s: float


FULL = Plan(rounds=7, trips=3000, units=20000, trials=9, patience_s=3.0)
QUICK = Plan(rounds=2, trips=300, units=2000, trials=2, patience_s=2.0)
SLOW_PEERS = {"dask": 40, "celery_redis": 40, "loky": 4, "multiprocessing_pool": 2, EXECUTOR: 4}
"""Factor by which slower measurements are repeated less often."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--peers", help="only these, separated by commas; ours and the socket pair always")
    parser.add_argument("--celery-python", help="interpreter of an environment with celery and redis in it")


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure; return {"ratios", "figures", "peers"}; names of figures end in their unit."""
    plan = QUICK if arguments.quick else FULL
    interpreters = available(arguments.celery_python)
    if arguments.peers:
        chosen = {OURS, FLOOR, *arguments.peers.split(",")}
        interpreters = {name: python for name, python in interpreters.items() if name in chosen}
    samples: dict[str, dict[str, list[Any]]] = defaultdict(lambda: defaultdict(list))
    processes = {name: PeerProcess(name, python) for name, python in interpreters.items()}
    try:
        measure_speed(processes, samples, plan)
        measure_faults(processes, samples, plan)
    finally:
        for process in processes.values():
            process.close()
    missing = sorted({"loky", "dask", "celery_redis"} - interpreters.keys()) if not arguments.peers else []
    return summary(samples, missing)


def available(celery_python: str | None) -> dict[str, str]:
    """Return peer -> interpreter, for each peer that can run here."""
    names = [FLOOR, "socketpair_anywhere", OURS, EXECUTOR, "multiprocessing_pool"]
    names += [peer for peer, module in NEEDS.items() if importlib.util.find_spec(module)]
    interpreters = dict.fromkeys(names, sys.executable)
    if shutil.which("redis-server") and (celery_python or importlib.util.find_spec("celery")):
        interpreters["celery_redis"] = celery_python or sys.executable
    return interpreters


class PeerProcess:
    """A peer in its own session, so that a hang is a result and all its processes can be ended."""

    def __init__(self, name: str, python: str) -> None:
        self.name = name
        self._python = python
        self._start()

    def ask(self, order: str, *arguments: Any, timeout_s: float = 60.0) -> Any:
        """Return the peer's result; {"error": ...} if it failed or hung."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write((json.dumps({"do": order, "with": arguments}) + "\n").encode())
            self._process.stdin.flush()
        except BrokenPipeError:
            return {"error": "ended"}
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            line = self._process.stdout.readline() if selector.select(timeout_s) else None
        if line is None:
            self.close()
            self._start()
            return {"error": "hangs"}
        answer = json.loads(line) if line else {"error": "ended"}
        return answer.get("value", answer)

    def close(self) -> None:
        """Wait a moment for its end, then kill its whole session."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            pass
        try:
            os.killpg(self._process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self._process.wait()

    def _start(self) -> None:
        self._process = subprocess.Popen(
            [self._python, "-m", "benchmarks.pool_peers.peers", self.name],
            cwd=SCRIPTS,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(SCRIPTS), str(SCRIPTS.parent)])},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )


def measure_speed(processes: Mapping[str, PeerProcess], samples: Any, plan: Plan) -> None:
    """Measure round trip and throughput of all peers in turn, so that all meet the same conditions."""
    for number in range(plan.rounds):
        for name, process in processes.items():
            fewer = SLOW_PEERS.get(name, 1)
            _note(samples, name, "roundtrip", process.ask("roundtrip", max(20, plan.trips // fewer)))
            _note(samples, name, "throughput", process.ask("throughput", max(64, plan.units // fewer)))
            if number < 3 and not name.startswith(FLOOR):
                _note(samples, name, "array", process.ask("array"))
        time.sleep(0.1)


def measure_faults(processes: Mapping[str, PeerProcess], samples: Any, plan: Plan) -> None:
    """Measure starts and recoveries: ours often enough for a median, those of peers a few times."""
    peers = {name: process for name, process in processes.items() if not name.startswith(FLOOR)}
    for number in range(plan.trials):
        for name, process in peers.items():
            if name == OURS or number < 2:
                _note(samples, name, "start", process.ask("start"))
                _note(samples, name, "recovery", process.ask("recovery", plan.patience_s))
    for _ in range(plan.trials):
        _note(samples, OURS, "engine_gap", peers[OURS].ask("engine_gap"))
    for _ in range(min(3, plan.trials)):
        _note(samples, OURS, "first_start", peers[OURS].ask("first_start"))


def _note(samples: Any, name: str, measure: str, found: Any) -> None:
    if isinstance(found, dict) and "error" in found:
        samples[name]["errors"].append(f"{measure}: {found['error']}")
    elif isinstance(found, dict):
        for key, value in found.items():
            samples[name][key if measure != "roundtrip" else f"roundtrip_{key}"].append(value)
    else:
        samples[name][measure].append(found)


def summary(samples: Mapping[str, Mapping[str, Sequence[Any]]], missing: Sequence[str]) -> dict[str, Any]:
    """Return medians, and ratios of values from the same round."""
    peers: dict[str, Any] = {name: _described(found) for name, found in samples.items()}
    peers |= dict.fromkeys(missing, "not installed; see docs/how-to/measure.md")
    ours = peers[OURS]
    figures = {
        "roundtrip_us_p50": ours.get("roundtrip_p50_us"),
        "roundtrip_us_p99": ours.get("roundtrip_p99_us"),
        "units_per_second": ours.get("throughput"),
        "engine_cpu_us_per_unit": ours.get("cpu_us_per_unit"),
        "array_100mb_ms": ours.get("array_ms"),
        "worker_start_ms": ours.get("start_ms"),
        "recovery_ms_p50": ours.get("rerun_ms"),
        "capacity_ms_p50": ours.get("capacity_ms"),
        "engine_gap_ms_p50": ours.get("engine_gap_ms"),
        "recovery_ms_max": max(samples[OURS]["rerun_ms"], default=None),
        "engine_gap_ms_max": max(samples[OURS]["engine_gap_ms"], default=None),
    }
    ratios = {
        "roundtrip_p50_vs_socketpair": _ratio(samples, "roundtrip_p50_us", FLOOR),
        "roundtrip_p50_vs_processpoolexecutor": _ratio(samples, "roundtrip_p50_us", EXECUTOR),
        "throughput_vs_socketpair": _ratio(samples, "throughput", FLOOR),
        "roundtrip_p50_vs_socketpair_anywhere": _ratio(samples, "roundtrip_p50_us", "socketpair_anywhere"),
        "throughput_vs_socketpair_anywhere": _ratio(samples, "throughput", "socketpair_anywhere"),
    }
    return {"ratios": ratios, "figures": figures, "peers": peers}


def _described(found: Mapping[str, Sequence[Any]]) -> dict[str, Any]:
    described: dict[str, Any] = {}
    for key, values in found.items():
        numbers = [value for value in values if isinstance(value, int | float)]
        if key in ("verdict", "errors"):
            described[key] = sorted(set(values))
        elif len(numbers) < len(values) / 2 or not numbers:
            described[key] = None
        else:
            described[key] = round(statistics.median(numbers), 3)
    return described


def _ratio(samples: Mapping[str, Mapping[str, Sequence[float]]], measure: str, other: str) -> float | None:
    """Return the median over the rounds of our value divided by theirs."""
    if other not in samples:
        return None
    pairs = zip(samples[OURS][measure], samples[other][measure], strict=False)
    ratios = [ours / theirs for ours, theirs in pairs]
    return round(statistics.median(ratios), 3) if ratios else None
