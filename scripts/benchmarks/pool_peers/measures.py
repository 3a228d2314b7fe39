"""Measurements of any pool, given a function that submits a job."""

from __future__ import annotations

import os
import signal
import statistics
import tempfile
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from benchmarks.pool_peers import handlers

PAYLOAD = {
    "run": "2026-01-01T00:00:00Z",
    "hotkey": "5" * 48,
    "lead_h": 24,
    "paths": ["/data/" + "x" * 60] * 2,
}
"""Payload of about 250 bytes, like the arguments of a scoring job."""
ARRAY_FLOATS = 25_000_000
"""Number of values of four bytes: 100 MB."""
WINDOW = 32
"""Number of jobs in flight during the measurement of throughput."""
BUSY_S = 0.3
WORKERS = 2
"""Number of workers of each pool."""


class Waiting(Protocol):
    """A submitted job."""

    def result(self, timeout: float | None = None) -> Any: ...


class Pool(Protocol):
    """A pool of two workers that run functions."""

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Waiting: ...


class Started(NamedTuple):
    """A line of the log of busy jobs."""

    job: str
    pid: int
    at: float


def round_trips(pool: Pool, number: int) -> dict[str, float]:
    """Run `number` tiny jobs one after the other; return microseconds."""
    times = []
    for _ in range(number):
        begun = time.perf_counter()
        pool.submit(handlers.echo, PAYLOAD).result(10)
        times.append(time.perf_counter() - begun)
    return percentiles(times)


def units_per_second(pool: Pool, number: int) -> float:
    """Run `number` tiny jobs with `WINDOW` of them in flight."""
    begun = time.perf_counter()
    flying: deque[Waiting] = deque()
    for _ in range(number):
        if len(flying) >= WINDOW:
            flying.popleft().result(30)
        flying.append(pool.submit(handlers.echo, PAYLOAD))
    for waiting in flying:
        waiting.result(30)
    return number / (time.perf_counter() - begun)


def array_ms(pool: Pool) -> float:
    """Send 100 MB in the way of the pool, and wait for the worker's sum."""
    import numpy as np

    array = np.ones(ARRAY_FLOATS, np.float32)
    begun = time.perf_counter()
    pool.submit(handlers.sum_of_array, array).result(60)
    return (time.perf_counter() - begun) * 1e3


def recovery(
    submit: Callable[[dict[str, Any]], Waiting], patience_s: float, folder: Path | None = None
) -> dict[str, Any]:
    """Kill -9 one of two busy workers while jobs wait; return milliseconds from the kill.

    `rerun_ms` lasts until the lost job has started again, `capacity_ms` until a new worker has
    started a job, and `learned_ms` until the caller got an error instead. Each is None if it never
    happened.
    """
    with tempfile.NamedTemporaryFile(dir=folder) as file:
        log = Path(file.name)
        payload = {"log": str(log), "seconds": BUSY_S}
        waiting = {job: submit({"job": job, **payload}) for job in map("job{}".format, range(8))}
        victim, known = _await_two_busy(log)
        time.sleep(BUSY_S / 3)
        killed_at = time.monotonic()
        os.kill(victim.pid, signal.SIGKILL)
        found = _watch(log, victim, known, killed_at, waiting[victim.job], patience_s)
        found["verdict"] = _verdict(found["verdict"], waiting["job7"], patience_s)
        for last in waiting.values():
            _answers(last, patience_s)
    return found


def percentiles(times_s: list[float]) -> dict[str, float]:
    """Return statistics of durations, in microseconds."""
    ordered = sorted(times_s)
    return {"p50_us": statistics.median(ordered) * 1e6, "p99_us": ordered[int(len(ordered) * 0.99)] * 1e6}


def started_jobs(log: Path) -> list[Started]:
    """Return the lines that busy jobs have written so far."""
    fields = (line.split() for line in log.read_text().splitlines())
    return [Started(job, int(pid), float(at)) for job, pid, at in fields]


def _await_two_busy(log: Path) -> tuple[Started, set[int]]:
    """Wait until two workers are busy; return the job that started last, and both workers."""
    end = time.monotonic() + 20
    while time.monotonic() < end:
        latest = {started.pid: started for started in started_jobs(log)}
        now = time.monotonic()
        if len(latest) == 2 and all(now - started.at < BUSY_S / 2 for started in latest.values()):
            return max(latest.values(), key=lambda started: started.at), set(latest)
        time.sleep(0.002)
    raise TimeoutError("two workers were never busy together")


def _watch(
    log: Path, victim: Started, known: set[int], killed_at: float, lost: Waiting, patience_s: float
) -> dict[str, Any]:
    """Wait until the lost job has ended and a new worker is busy, at most for `patience_s`."""
    rerun = capacity = learned = None
    verdict = ""
    while time.monotonic() < killed_at + patience_s and not (verdict and capacity):
        after = [started for started in started_jobs(log) if started.at > killed_at]
        rerun = min((s.at for s in after if s.job == victim.job), default=None)
        capacity = min((s.at for s in after if s.pid not in known), default=None)
        if verdict:
            time.sleep(0.002)
            continue
        try:
            lost.result(0.002)
            verdict = "runs it again"
        except TimeoutError:
            continue
        except Exception as error:  # noqa: BLE001 - every pool has its own error for this
            learned = time.monotonic()
            verdict = type(error).__name__
    moments = {"rerun_ms": rerun, "capacity_ms": capacity, "learned_ms": learned}
    found: dict[str, Any] = {
        name: None if moment is None else (moment - killed_at) * 1e3 for name, moment in moments.items()
    }
    return {**found, "verdict": verdict}


def _verdict(word: str, last: Waiting, patience_s: float) -> str:
    if word in ("", "runs it again"):
        return word or "hangs"
    return f"loses the job: {word}" if _answers(last, patience_s) else f"broken: {word}"


def _answers(waiting: Waiting, patience_s: float) -> bool:
    try:
        waiting.result(patience_s)
    except Exception:  # noqa: BLE001 - any error of a pool is a result
        return False
    return True
