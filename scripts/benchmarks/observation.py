"""Measures what observation costs the IO-Engine: the lag of its loop and CPU time, with all of it on and off."""

from __future__ import annotations

import argparse
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from benchmarks import database as filled

if TYPE_CHECKING:
    from benchmarks.observation_parts.phases import Measured, Phase

MOST_LAG_RATIO = 1.2
MOST_CPU_SHARE = 0.02
_SCRIPTS = Path(__file__).resolve().parents[1]
_PARTS = "benchmarks.observation_parts"
_LOOK_S = 0.1
_STOP_S = 60.0
_TAIL = 3000
_DRAWING, _DRAWN_EVERY_S = "plot_database_metrics_periodically", 1200.0
_WHOLE_READING_EVERY_S = 3600.0


class Plan(NamedTuple):
    """Size of the measurement."""

    pairs: int
    phase_s: float
    miners: int
    runs: int


FULL = Plan(pairs=2, phase_s=240.0, miners=256, runs=30)
QUICK = Plan(pairs=1, phase_s=5.0, miners=8, runs=6)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--pairs", type=int, help=f"pairs of phases with and without; {FULL.pairs} unless --quick")
    add("--phase", type=float, metavar="S", help=f"seconds of a phase; {FULL.phase_s:g} unless --quick")
    add("--scrape-every", type=float, default=5.0, metavar="S", help="seconds between two scrapes (5)")


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure; return {"ratios", "figures", "bars"}; ratios are medians over the pairs.

    A pair is one phase with observation and one without, in turn first and second, so that both meet the
    same load of the machine. "With" means: the observer; the endpoints, scraped, probed and browsed; all
    background tasks with real effects; the status line; messages to a webhook.

    A task whose interval is longer than a phase is due once in each, some twice. That is many times as often
    as in life, so the lag and the CPU time are upper bounds. Counted as often as in life are only the drawing, in a
    worker, and the hourly reading of completed runs for the pages, which is measured before the phases.
    """
    sys.path.insert(0, str(filled.ROOT))
    plan = QUICK if arguments.quick else FULL
    plan = plan._replace(pairs=arguments.pairs or plan.pairs, phase_s=arguments.phase or plan.phase_s)
    with tempfile.TemporaryDirectory(prefix="gaia-bench-") as folder, _services() as port:
        measured = _measured(Path(folder), port, plan, arguments.scrape_every)
    return result_of(measured, plan)


def result_of(measured: Measured, plan: Plan) -> dict[str, Any]:
    """Return figures and ratios of phases that were measured in pairs."""
    with_it, without = measured.with_it, measured.without
    pairs = list(zip(with_it, without, strict=True))
    ratios = [on.p99_ms / off.p99_ms for on, off in pairs]
    shares = [on.cpu_share - off.cpu_share for on, off in pairs]
    database = _median(on.share_of("postgres") - off.share_of("postgres") for on, off in pairs)
    drawing_s = _drawing_s(measured)
    seldom = drawing_s / _DRAWN_EVERY_S + measured.whole_reading_cpu_s / _WHOLE_READING_EVERY_S
    share = statistics.median(shares) + database + seldom
    ratio = statistics.median(ratios)
    return {
        "ratios": {
            "p99_lag_with_by_without": round(ratio, 3),
            "p99_lag_with_by_without_least": round(min(ratios), 3),
            "p99_lag_with_by_without_most": round(max(ratios), 3),
            "p99_lag_of_all_with_by_without": round(_pooled_p99(with_it) / _pooled_p99(without), 3),
            "cpu_share_of_observation": round(share, 4),
            "cpu_share_of_the_engine": round(statistics.median(shares), 4),
            "cpu_share_of_the_engine_noise": round(_noise(shares), 4),
            "cpu_share_of_the_database": round(database, 4),
        },
        "figures": {
            "loop_lag_p99_ms_on": round(_pooled_p99(with_it), 3),
            "loop_lag_p99_ms_off": round(_pooled_p99(without), 3),
            "worst_lag_ms_on": round(max(max(phase.lags_ms) for phase in with_it), 3),
            "worst_lag_ms_off": round(max(max(phase.lags_ms) for phase in without), 3),
            "cpu_share_on": round(_median(phase.cpu_share for phase in with_it), 4),
            "cpu_share_off": round(_median(phase.cpu_share for phase in without), 4),
            "drawing_cpu_s": round(drawing_s, 3),
            "whole_reading_cpu_s": round(measured.whole_reading_cpu_s, 3),
            "pairs": len(pairs),
            "task_runs": measured.task_runs,
            **plan._asdict(),
        },
        "bars": {
            "p99_lag_holds": ratio <= MOST_LAG_RATIO,
            "cpu_share_holds": share <= MOST_CPU_SHARE,
        },
    }


def _drawing_s(measured: Measured) -> float:
    """Return the CPU seconds of one picture, all that the workers used beyond the phases without."""
    phases = (*measured.with_it, *(phase for phase in measured.without))
    used = [phase.others_cpu_s.get("compute_worker", 0.0) for phase in phases]
    more = sum(used[: len(measured.with_it)]) - sum(used[len(measured.with_it) :])
    return max(0.0, more) / max(1, measured.task_runs.get(_DRAWING, 0))


def _median(values: Iterator[float]) -> float:
    return statistics.median(values)


def _noise(values: Sequence[float]) -> float:
    """Return the standard error of the mean; 0 for a single value."""
    return statistics.stdev(values) / len(values) ** 0.5 if len(values) > 1 else 0.0


def _pooled_p99(phases: Sequence[Phase]) -> float:
    from benchmarks.observation_parts.phases import P99, percentile

    return percentile([lag for phase in phases for lag in phase.lags_ms], P99)


def _measured(folder: Path, services_port: int, plan: Plan, scrape_every_s: float) -> Measured:
    """Run the Supervisor until its engine has measured."""
    import msgspec

    from benchmarks.observation_parts.engine import ORDER
    from benchmarks.observation_parts.phases import Measured, Order

    result, log = folder / "result.json", folder / "supervisor.log"
    order = Order(
        data_dir=str(folder / "data"),
        result=str(result),
        services_port=services_port,
        metrics_port=_free_port(),
        scrape_every_s=scrape_every_s,
        **plan._asdict(),
    )
    (folder / "data").mkdir()
    environment = _environment() | {ORDER: msgspec.json.encode(order).decode()}
    program = f"from {_PARTS}.engine import supervise; supervise()"
    with log.open("wb") as out:
        supervisor = subprocess.Popen(
            [sys.executable, "-c", program],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
        )
    try:
        while not result.exists():
            if supervisor.poll() is not None or b'"child_ended"' in log.read_bytes():
                raise RuntimeError(f"the engine did not measure:\n{log.read_text()[-_TAIL:]}")
            time.sleep(_LOOK_S)
    finally:
        supervisor.terminate()
        supervisor.wait(_STOP_S)
    return msgspec.json.decode(result.read_bytes(), type=Measured)


@contextmanager
def _services() -> Iterator[int]:
    """Run the web services outside; yield their port."""
    serving = subprocess.Popen(
        [sys.executable, "-m", f"{_PARTS}.outside", "services"],
        env=_environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert serving.stdin is not None
    assert serving.stdout is not None
    try:
        yield int(serving.stdout.readline())
    finally:
        serving.stdin.close()
        serving.wait(_STOP_S)


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(_SCRIPTS), str(filled.ROOT)])}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
