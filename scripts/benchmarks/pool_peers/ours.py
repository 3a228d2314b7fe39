"""Our own pool as a peer: the real Supervisor and workers, with an engine that only measures."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.pool_peers import handlers, measures

SCRIPTS = Path(__file__).resolve().parents[2]
ROOT = SCRIPTS.parent
_ENGINE_LIVES_S = 1.0
"""Seconds before an engine is killed, so that its standby is ready; faster deaths take longer."""


class Ours:
    """Starts a Supervisor, and sends orders to its engine."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="pool-bench-"))
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(self.folder / "control"))
        self.listener.listen()
        self.listener.settimeout(60)
        self.data_dir = self.folder / "data"
        for folder in (*handlers.READS, *handlers.WRITES):
            (self.data_dir / folder).mkdir(parents=True)
        self.open()

    def open(self) -> None:
        options = {
            "data_dir": str(self.data_dir),
            "workers": measures.WORKERS,
            "embedded_database": False,
            "handlers": "benchmarks.pool_peers.handlers",
            "worker_max_jobs": 10**9,
            "log_level": "ERROR",
        }
        settings = {"control": str(self.folder / "control"), "stream": str(self.folder / "stream")}
        paths = os.pathsep.join([str(SCRIPTS), str(ROOT)])
        self.supervisor = subprocess.Popen(
            [sys.executable, "-c", "from benchmarks.pool_peers.ours import supervise; supervise()"],
            env={**os.environ, "PYTHONPATH": paths, "POOL_BENCH": json.dumps([options, settings])},
            stdout=sys.stderr,
            stdin=subprocess.DEVNULL,
        )
        self._meet_engine()
        self.order("start")

    def close(self) -> None:
        self.engine.close()
        self.supervisor.terminate()
        self.supervisor.wait()
        self.listener.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def roundtrip(self, number: int) -> dict[str, float]:
        found: dict[str, float] = self.order("roundtrip", number)
        return found

    def throughput(self, number: int) -> dict[str, float]:
        found: dict[str, float] = self.order("throughput", number)
        return found

    def array(self) -> dict[str, float]:
        """Measure an array by path: in an existing file, and including the writing of the file."""
        import numpy as np

        path = self.data_dir / handlers.READS[0] / "array.npy"
        begun = time.perf_counter()
        np.save(path, np.ones(measures.ARRAY_FLOATS, np.float32))
        saved = time.perf_counter() - begun
        array_ms = float(self.order("array", str(path)))
        return {"array_ms": array_ms, "array_saved_first_ms": array_ms + saved * 1e3}

    def start(self) -> dict[str, float]:
        """Measure the start of a worker, from the death of an idle one to its successor's first result."""
        return {"start_ms": float(self.order("start"))}

    def first_start(self) -> dict[str, float]:
        """Measure the time from no process to the first result."""
        self.engine.close()
        self.supervisor.terminate()
        self.supervisor.wait()
        begun = time.perf_counter()
        self.open()
        return {"first_start_ms": (time.perf_counter() - begun) * 1e3}

    def recovery(self, patience_s: float) -> dict[str, Any]:
        self.order("start")
        logs = self.data_dir / handlers.WRITES[0]
        found = measures.recovery(lambda payload: _Order(self, "busy", payload), patience_s, logs)
        self.order("drain")
        return found

    def engine_gap(self) -> dict[str, float]:
        """Kill -9 the engine while it commits; return the milliseconds until the next commit."""
        time.sleep(_ENGINE_LIVES_S)
        commits = self.folder / "stream"
        commits.touch()
        self._say("stream")
        _await(lambda: commits.stat().st_size > 500, "the engine to commit")
        victim = self._engine_pid()
        killed_at = time.monotonic()
        os.kill(victim, signal.SIGKILL)
        self.engine.close()

        def resumed() -> list[float]:
            lines = (line.split() for line in commits.read_text().splitlines()[-50:])
            return [float(at) for pid, at in lines if int(pid) != victim and float(at) > killed_at]

        found = _await(resumed, "commits to resume")
        commits.unlink()
        self._meet_engine()
        self.order("drain")
        return {"engine_gap_ms": (min(found) - killed_at) * 1e3}

    def _engine_pid(self) -> int:
        return int(self.order("pid"))

    def _meet_engine(self) -> None:
        self.engine, _ = self.listener.accept()
        self.engine.settimeout(120)
        self.answers = self.engine.makefile("r")

    def _say(self, order: str, *arguments: Any) -> None:
        self.engine.sendall((json.dumps([order, *arguments]) + "\n").encode())

    def order(self, order: str, *arguments: Any) -> Any:
        self._say(order, *arguments)
        answer = json.loads(self.answers.readline())
        if "error" in answer:
            raise RuntimeError(answer["error"])
        return answer["value"]


class _Order:
    """A busy job in the engine, which keeps the answer until it is requested."""

    def __init__(self, ours: Ours, order: str, payload: dict[str, Any]) -> None:
        self._ours = ours
        self._job = payload["job"]
        ours.order(order, payload)

    def result(self, timeout: float | None = None) -> Any:
        answer = self._ours.order("result", self._job, timeout)
        if answer is None:
            raise TimeoutError
        if answer["failure"]:
            raise RuntimeError(answer["failure"])
        return answer["value"]


def supervise() -> None:
    """Run the Supervisor of the benchmark, as the environment describes it."""
    from gaia.validator.app.supervision import Role
    from gaia.validator.app.supervisor import TARGETS, Options, Supervisor
    from gaia.validator.utils.machine.parent_death import die_with_parent

    die_with_parent(os.getppid())
    options, settings = json.loads(os.environ["POOL_BENCH"])
    targets = {
        Role.ENGINE: "benchmarks.pool_peers.our_engine:run_bench_engine",
        Role.WORKER: TARGETS[Role.WORKER],
    }
    sealed = pickle.dumps(settings)
    sys.exit(Supervisor(Options(**options, settings=sealed, signer_settings=sealed), targets).run())


def _await(condition: Any, what: str, timeout_s: float = 30.0) -> Any:
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        if found := condition():
            return found
        time.sleep(0.002)
    raise TimeoutError(f"waited in vain for {what}")
