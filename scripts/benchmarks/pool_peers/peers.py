"""A peer as a process: `python -m benchmarks.pool_peers.peers NAME` executes the orders on standard input."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import importlib
import json
import multiprocessing
import multiprocessing.pool
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from typing import Any

from benchmarks.pool_peers import handlers, measures

_PR_SET_PDEATHSIG = 1


class Peer(ABC):
    """Base of peers: measures through `submit`; subclasses create the pool."""

    def __init__(self) -> None:
        self.pool: Any = None
        self.open()

    @abstractmethod
    def open(self) -> None:
        """Create the pool."""

    def close(self) -> None:
        """Close the pool."""
        self.pool.shutdown(wait=True)

    def submit(self, function: Callable[..., Any], *arguments: Any) -> measures.Waiting:
        """Submit a job."""
        waiting: measures.Waiting = self.pool.submit(function, *arguments)
        return waiting

    def roundtrip(self, number: int) -> dict[str, float]:
        return measures.round_trips(self, number)

    def throughput(self, number: int) -> float:
        return measures.units_per_second(self, number)

    def array(self) -> dict[str, float]:
        return {"array_ms": measures.array_ms(self)}

    def start(self) -> dict[str, float]:
        """Measure the time from no process to the first result of a job with numpy, xarray and zarr."""
        self.close()
        begun = time.perf_counter()
        self.open()
        self.submit(handlers.libraries, {}).result(60)
        return {"start_ms": (time.perf_counter() - begun) * 1e3}

    def recovery(self, patience_s: float) -> dict[str, Any]:
        for _ in range(2 * measures.WORKERS):
            self.submit(handlers.nothing, {}).result(30)
        result = measures.recovery(lambda payload: self.submit(handlers.busy, payload), patience_s)
        if result["verdict"].startswith("broken"):
            self.open()
        return result


class SocketPair:
    """Lower bound: a message of a job's size to another process and back.

    Parameters
    ----------
    is_apart
        Pin each end to its own processor, like an engine and a busy worker. Otherwise the kernel may
        run both on one, where a message is three times as fast and the two can never work at once.
    """

    def __init__(self, *, is_apart: bool = True) -> None:
        self.ours, theirs = socket.socketpair()
        self.message = json.dumps(measures.PAYLOAD).encode()
        processors = sorted(os.sched_getaffinity(0))
        if os.fork() == 0:
            self.ours.close()
            if is_apart:
                os.sched_setaffinity(0, processors[:1])
            descriptor = theirs.fileno()
            while data := os.read(descriptor, 65536):
                os.write(descriptor, data)
            os._exit(0)
        theirs.close()
        if is_apart:
            os.sched_setaffinity(0, processors[-1:])

    def close(self) -> None:
        self.ours.close()
        os.wait()

    def roundtrip(self, number: int) -> dict[str, float]:
        return measures.percentiles(list(self._trips(number)))

    def throughput(self, number: int) -> float:
        begun = time.perf_counter()
        for _ in self._trips(number):
            pass
        return number / (time.perf_counter() - begun)

    def _trips(self, number: int) -> Iterator[float]:
        descriptor, message = self.ours.fileno(), self.message
        for _ in range(number):
            begun = time.perf_counter()
            os.write(descriptor, message)
            os.read(descriptor, 65536)
            yield time.perf_counter() - begun


class Executor(Peer):
    """`concurrent.futures.ProcessPoolExecutor`, awaited under uvloop like our pool."""

    def open(self) -> None:
        self.pool = ProcessPoolExecutor(measures.WORKERS, mp_context=multiprocessing.get_context("spawn"))

    def roundtrip(self, number: int) -> dict[str, float]:
        import uvloop

        direct = super().roundtrip(number)
        awaited = measures.percentiles(uvloop.run(self._awaited(number)))
        return {**awaited, "p50_us_blocking": direct["p50_us"]}

    async def _awaited(self, number: int) -> list[float]:
        loop = asyncio.get_running_loop()
        times = []
        for _ in range(number):
            begun = time.perf_counter()
            await loop.run_in_executor(self.pool, handlers.echo, measures.PAYLOAD)
            times.append(time.perf_counter() - begun)
        return times


class MultiprocessingPool(Peer):
    """`multiprocessing.Pool`."""

    class _Waiting:
        def __init__(self, result: multiprocessing.pool.AsyncResult[Any]) -> None:
            self._result = result

        def result(self, timeout: float | None = None) -> Any:
            try:
                return self._result.get(timeout)
            except multiprocessing.TimeoutError as error:
                raise TimeoutError(str(error)) from None

    def open(self) -> None:
        self.pool = multiprocessing.get_context("spawn").Pool(measures.WORKERS)

    def close(self) -> None:
        self.pool.terminate()

    def submit(self, function: Callable[..., Any], *arguments: Any) -> measures.Waiting:
        return self._Waiting(self.pool.apply_async(function, arguments))


class Loky(Peer):
    """`loky`, the executor of joblib."""

    def open(self) -> None:
        loky: Any = importlib.import_module("loky")

        self.pool = loky.ProcessPoolExecutor(measures.WORKERS)


class Dask(Peer):
    """Dask distributed: scheduler, nannies and workers on this machine."""

    def open(self) -> None:
        distributed: Any = importlib.import_module("distributed")

        self._cluster = distributed.LocalCluster(
            n_workers=measures.WORKERS, threads_per_worker=1, dashboard_address=None, silence_logs=50
        )
        self.pool = distributed.Client(self._cluster)

    def close(self) -> None:
        self.pool.close()
        self._cluster.close()

    class _Waiting:
        def __init__(self, future: Any) -> None:
            self._future = future

        def result(self, timeout: float | None = None) -> Any:
            # Its own time limits are not made for milliseconds, and cost as much as a job.
            if timeout is not None and timeout < 1.0 and not self._future.done():
                time.sleep(timeout)
                if not self._future.done():
                    raise TimeoutError
            return self._future.result(timeout)

    def submit(self, function: Callable[..., Any], *arguments: Any) -> measures.Waiting:
        return self._Waiting(self.pool.submit(function, *arguments, pure=False))


class Celery(Peer):
    """Celery's prefork workers with Redis, late acknowledgement and rejection."""

    class _Waiting:
        def __init__(self, result: Any) -> None:
            self._result = result

        def result(self, timeout: float | None = None) -> Any:
            import celery.exceptions  # type: ignore[import-not-found]

            try:
                return self._result.get(timeout=timeout, interval=0.002)
            except celery.exceptions.TimeoutError as error:
                raise TimeoutError(str(error)) from None

    def open(self) -> None:
        from benchmarks.pool_peers import celery_app

        self._folder = tempfile.mkdtemp()
        os.environ["BENCH_REDIS"] = f"redis+socket://{self._folder}/redis.sock"
        program = ["redis-server", "--port", "0", "--unixsocket", f"{self._folder}/redis.sock", "--save", ""]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self._redis = subprocess.Popen(program, cwd=self._folder, **quiet)  # type: ignore[call-overload]
        worker = [
            sys.executable,
            "-m",
            "celery",
            "-A",
            "benchmarks.pool_peers.celery_app",
            "worker",
            "-c",
            str(measures.WORKERS),
        ]
        self._worker = subprocess.Popen([*worker, "--pool", "prefork"], **quiet)  # type: ignore[call-overload]
        self._app = celery_app.make_app()
        self.submit(handlers.nothing, {}).result(30)

    def close(self) -> None:
        for process in (self._worker, self._redis):
            process.terminate()
            process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)

    def submit(self, function: Callable[..., Any], *arguments: Any) -> measures.Waiting:
        return self._Waiting(self._app.send_task("bench.run", (function.__name__, *arguments)))


PEERS: dict[str, Callable[[], Any]] = {
    "socketpair": SocketPair,
    "socketpair_anywhere": lambda: SocketPair(is_apart=False),
    "processpoolexecutor": Executor,
    "multiprocessing_pool": MultiprocessingPool,
    "loky": Loky,
    "dask": Dask,
    "celery_redis": Celery,
}


def serve(peer: Any) -> None:
    """Execute the order in each line of standard input; answer each with a line of JSON."""
    for line in sys.stdin:
        order = json.loads(line)
        try:
            answer = {"value": getattr(peer, order["do"])(*order["with"])}
        except Exception as error:  # noqa: BLE001 - a peer that fails is a result
            answer = {"error": f"{type(error).__name__}: {error}"[:200]}
        sys.__stdout__.write(json.dumps(answer) + "\n")  # type: ignore[union-attr]
        sys.__stdout__.flush()  # type: ignore[union-attr]
    with contextlib.suppress(Exception):
        peer.close()


def main() -> None:
    # The peer ends if the benchmark is killed. Through ctypes, because its environment may lack our libraries.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    name = sys.argv[1]
    if name == "ours":
        from benchmarks.pool_peers.ours import Ours

        serve(Ours())
    else:
        serve(PEERS[name]())


if __name__ == "__main__":
    main()
