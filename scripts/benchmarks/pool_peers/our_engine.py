"""The engine of our own pool in the benchmark, which only measures."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import uvloop

import gaia.validator.app.io_engine  # noqa: F401 - the imports of the real engine are part of a restart
from benchmarks.pool_peers import measures
from gaia.validator.app.pool.compute_pool import ComputePool
from gaia.validator.utils.errors import GaiaError
from gaia.validator.utils.identities import JobId
from gaia.validator.utils.ipc_types import WorkUnit

_FAR_S = 3600.0
_LONGEST_ORDER = 2**20


class Bench:
    """Executes the orders that come through the control socket."""

    def __init__(self, pool: Any, settings: dict[str, Any]) -> None:
        self.pool = pool
        self.settings = settings
        self.number = 0
        self.busy_jobs: dict[str, asyncio.Task[Any]] = {}
        self.streaming: asyncio.Task[None] | None = None

    def unit(self, handler: str, payload: dict[str, Any]) -> Any:
        self.number += 1
        job_id = JobId(f"{os.getpid()}-{self.number}")
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
        """Kill an idle worker; return the milliseconds until its successor has run a job."""
        while self.pool.workers < measures.WORKERS:
            await asyncio.sleep(0.002)
        known = {(await self.run("bench.libraries", {}))["pid"] for _ in range(2 * measures.WORKERS)}
        begun = time.perf_counter()
        os.kill(known.pop(), signal.SIGKILL)
        # The surviving worker answers too; only the new one counts.
        while True:
            pids = await asyncio.gather(*(self.run("bench.libraries", {}) for _ in range(2)))
            if any(answer["pid"] not in known for answer in pids) and self.pool.workers == measures.WORKERS:
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
        """Wait until no job is running."""
        await asyncio.gather(*self.busy_jobs.values())
        self.busy_jobs.clear()
        if self.streaming is not None:
            await self.streaming
        return True

    def stream(self) -> None:
        """Run job after job and note each answer, while the file exists."""
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
    settings: dict[str, Any], pool_socket: socket.socket, _signer_path: str, board: str
) -> None:
    """Run the engine, which loads all that the real engine loads."""

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
