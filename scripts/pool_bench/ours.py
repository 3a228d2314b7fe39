"""Our own pool as a peer: the real Supervisor and workers, and an engine that only measures."""

from __future__ import annotations

import asyncio
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
from types import SimpleNamespace
from typing import Any

from gaia.validator.utils.errors import GaiaError
from pool_bench import handlers, measures

SCRIPTS = Path(__file__).resolve().parents[1]
ROOT = SCRIPTS.parent
WORKERS = 2
_FAR_S = 3600.0
_LONGEST_ORDER = 2**20


class Ours:
    """Starts a Supervisor, and hands the engine below it the orders."""

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
            "workers": WORKERS,
            "embedded_database": False,
            "handlers": "pool_bench.handlers",
            "worker_max_jobs": 10**9,
            "log_level": "ERROR",
        }
        settings = {"control": str(self.folder / "control"), "stream": str(self.folder / "stream")}
        paths = os.pathsep.join([str(SCRIPTS), str(ROOT)])
        self.supervisor = subprocess.Popen(
            [sys.executable, "-c", "from pool_bench.ours import supervise; supervise()"],
            env={**os.environ, "PYTHONPATH": paths, "POOL_BENCH": json.dumps([options, settings])},
            stdout=sys.stderr,
            stdin=subprocess.DEVNULL,
        )
        self._meet_engine()
        self._order("start")

    def close(self) -> None:
        self.engine.close()
        self.supervisor.terminate()
        self.supervisor.wait()
        self.listener.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def roundtrip(self, number: int) -> dict[str, float]:
        found: dict[str, float] = self._order("roundtrip", number)
        return found

    def throughput(self, number: int) -> dict[str, float]:
        found: dict[str, float] = self._order("throughput", number)
        return found

    def array(self) -> dict[str, float]:
        """By path: the file is there already, as a downloaded forecast is; and with the saving of it."""
        import numpy as np

        path = self.data_dir / handlers.READS[0] / "array.npy"
        begun = time.perf_counter()
        np.save(path, np.ones(measures.ARRAY_FLOATS, np.float32))
        saved = time.perf_counter() - begun
        array_ms = float(self._order("array", str(path)))
        return {"array_ms": array_ms, "array_saved_first_ms": array_ms + saved * 1e3}

    def start(self) -> dict[str, float]:
        """One more worker: from the death of an idle one to its successor's first result."""
        return {"start_ms": float(self._order("start"))}

    def first_start(self) -> dict[str, float]:
        """From no process at all to the first result."""
        self.engine.close()
        self.supervisor.terminate()
        self.supervisor.wait()
        begun = time.perf_counter()
        self.open()
        return {"first_start_ms": (time.perf_counter() - begun) * 1e3}

    def recovery(self, patience_s: float) -> dict[str, Any]:
        self._order("start")
        logs = self.data_dir / handlers.WRITES[0]
        found = measures.recovery(lambda payload: _Order(self, "busy", payload), patience_s, logs)
        self._order("drain")
        return found

    def engine_gap(self) -> dict[str, float]:
        """Kill -9 the engine while it commits; milliseconds until the next commit."""
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
        self._order("drain")
        return {"engine_gap_ms": (min(found) - killed_at) * 1e3}

    def _engine_pid(self) -> int:
        return int(self._order("pid"))

    def _meet_engine(self) -> None:
        self.engine, _ = self.listener.accept()
        self.engine.settimeout(120)
        self.answers = self.engine.makefile("r")

    def _say(self, order: str, *arguments: Any) -> None:
        self.engine.sendall((json.dumps([order, *arguments]) + "\n").encode())

    def _order(self, order: str, *arguments: Any) -> Any:
        self._say(order, *arguments)
        answer = json.loads(self.answers.readline())
        if "error" in answer:
            raise RuntimeError(answer["error"])
        return answer["value"]


class _Order:
    """A busy job in the engine's hands; its answer stays there until asked for."""

    def __init__(self, ours: Ours, order: str, payload: dict[str, Any]) -> None:
        self._ours = ours
        self._job = payload["job"]
        ours._order(order, payload)

    def result(self, timeout: float | None = None) -> Any:
        answer = self._ours._order("result", self._job, timeout)
        if answer is None:
            raise TimeoutError
        if answer["failure"]:
            raise RuntimeError(answer["failure"])
        return answer["value"]


class Bench:
    """The engine's side: carries out the orders that come through the control socket."""

    def __init__(self, pool: Any, settings: dict[str, Any]) -> None:
        self.pool = pool
        self.settings = settings
        self.number = 0
        self.busy_jobs: dict[str, asyncio.Task[Any]] = {}
        self.streaming: asyncio.Task[None] | None = None

    def unit(self, handler: str, payload: dict[str, Any]) -> Any:
        from gaia.validator.utils.ipc_types import WorkUnit

        self.number += 1
        job_id = f"{os.getpid()}-{self.number}"
        return WorkUnit(job_id=job_id, handler=handler, payload=payload, deadline_at=time.time() + _FAR_S)

    async def run(self, handler: str, payload: dict[str, Any]) -> Any:
        result = await self.pool.dispatch_and_wait(self.unit(handler, payload))
        return result.unwrap()

    async def pid(self) -> int:
        return os.getpid()

    async def roundtrip(self, number: int) -> dict[str, float]:
        times = []
        for _ in range(number):
            begun = time.perf_counter()
            await self.run("bench.echo", measures.PAYLOAD)
            times.append(time.perf_counter() - begun)
        return measures.percentiles(times)

    async def throughput(self, number: int) -> dict[str, float]:
        async def feed() -> None:
            for _ in range(number // measures.WINDOW):
                await self.run("bench.echo", measures.PAYLOAD)

        begun, cpu = time.perf_counter(), time.process_time()
        await asyncio.gather(*(feed() for _ in range(measures.WINDOW)))
        done = number // measures.WINDOW * measures.WINDOW
        return {
            "throughput": done / (time.perf_counter() - begun),
            "cpu_us_per_unit": (time.process_time() - cpu) / done * 1e6,
        }

    async def array(self, path: str) -> float:
        begun = time.perf_counter()
        await self.run("bench.sum_of_file", {"path": path})
        return (time.perf_counter() - begun) * 1e3

    async def start(self) -> float:
        """Kill an idle worker; milliseconds until its successor has run a job."""
        while self.pool.workers < WORKERS:
            await asyncio.sleep(0.002)
        known = {(await self.run("bench.libraries", {}))["pid"] for _ in range(2 * WORKERS)}
        begun = time.perf_counter()
        os.kill(known.pop(), signal.SIGKILL)
        # The survivor answers too; only the newcomer counts.
        while True:
            pids = await asyncio.gather(*(self.run("bench.libraries", {}) for _ in range(2)))
            if any(answer["pid"] not in known for answer in pids) and self.pool.workers == WORKERS:
                return (time.perf_counter() - begun) * 1e3

    async def busy(self, payload: dict[str, Any]) -> bool:
        unit = self.unit("bench.busy", payload)
        self.busy_jobs[payload["job"]] = asyncio.create_task(self.pool.dispatch_and_wait(unit))
        return True

    async def result(self, job: str, timeout_s: float) -> dict[str, Any] | None:
        done, _ = await asyncio.wait([self.busy_jobs[job]], timeout=timeout_s)
        if not done:
            return None
        result = self.busy_jobs[job].result()
        return {"value": result.value, "failure": result.failure and result.failure.message}

    async def drain(self) -> bool:
        """Wait until nothing is under way."""
        await asyncio.gather(*self.busy_jobs.values())
        self.busy_jobs.clear()
        if self.streaming is not None:
            await self.streaming
        return True

    def stream(self) -> None:
        """Run job after job and note each answer, as long as the file is there."""
        self.streaming = asyncio.create_task(self._stream(Path(self.settings["stream"])))

    async def _stream(self, commits: Path) -> None:
        with commits.open("ab", buffering=0) as file:
            while commits.exists():
                await self.run("bench.nothing", {})
                file.write(f"{os.getpid()} {time.monotonic()}\n".encode())

    async def serve(self) -> None:
        if Path(self.settings["stream"]).exists():
            self.stream()
        reader, writer = await asyncio.open_unix_connection(self.settings["control"], limit=_LONGEST_ORDER)
        while line := await reader.readline():
            order, *arguments = json.loads(line)
            if order == "stream":
                self.stream()
                continue
            try:
                answer = {"value": await getattr(self, order)(*arguments)}
            except GaiaError as error:
                answer = {"error": f"{type(error).__name__}: {error}"}
            writer.write((json.dumps(answer) + "\n").encode())


def run_bench_engine(
    settings: dict[str, Any], pool_socket: socket.socket, signer_path: str, board: str
) -> None:
    """Measure the pool from where it is used; loads all that the real engine loads."""
    import uvloop

    import gaia.validator.app.io_engine  # noqa: F401 - its imports are part of a restart
    from gaia.validator.app.compute_pool import ComputePool

    async def run() -> None:
        pool = ComputePool(SimpleNamespace(unit_crash_limit=3, unit_timeout_s=_FAR_S), Path(board))
        stop = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
        await pool.start(pool_socket)
        serving = asyncio.create_task(Bench(pool, settings).serve())
        serving.add_done_callback(lambda _: stop.set())
        await stop.wait()
        serving.cancel()
        await pool.close()

    uvloop.run(run())


def supervise() -> None:
    """Be the Supervisor of the benchmark's engine, as the environment describes it."""
    from gaia.validator.app.child import die_with_parent
    from gaia.validator.app.supervision import Role
    from gaia.validator.app.supervisor import TARGETS, Options, Supervisor

    die_with_parent(os.getppid())
    options, settings = json.loads(os.environ["POOL_BENCH"])
    targets = {Role.ENGINE: "pool_bench.ours:run_bench_engine", Role.WORKER: TARGETS[Role.WORKER]}
    sys.exit(Supervisor(Options(**options, settings=pickle.dumps(settings)), targets).run())


def _await(condition: Any, what: str, timeout_s: float = 30.0) -> Any:
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        if found := condition():
            return found
        time.sleep(0.002)
    raise TimeoutError(f"waited in vain for {what}")
