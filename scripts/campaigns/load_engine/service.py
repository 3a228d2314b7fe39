"""The IO-Engine of a load test: the real pool, and an interface on loopback that hands it units."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import pickle
import shutil
import signal
import socket
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from campaigns.load_engine.answers import FIGURES, QUEUE, UNITS

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import JSONResponse

    from gaia.validator.app.pool.compute_pool import ComputePool

LAG_PERIOD_S = 0.05
"""As the IO-Engine measures its own loop."""
_UNIT_TIMEOUT_S = 120.0
_FIRST = 1_000_000
"""Number of the first unit; the smaller ones are those of the preparation."""


class LoadService:
    """Answers a load generator.

    Parameters
    ----------
    pool
        The pool that runs the units.
    prepared
        The units, as (handler, payload); a request names one by its place.
    """

    def __init__(self, pool: ComputePool, prepared: list[tuple[str, dict[str, Any]]]) -> None:
        self._pool = pool
        self._prepared = prepared
        self._numbers = itertools.count(_FIRST)
        self._lags_s: list[float] = []
        self._deepest = 0
        self._done = 0

    def application(self) -> Starlette:
        """Return the interface: run a unit, see the queue, see the figures."""
        from starlette.applications import Starlette
        from starlette.routing import Route

        return Starlette(
            routes=[
                Route(UNITS, self.run_unit, methods=["POST"]),
                Route(QUEUE, self.queue),
                Route(FIGURES, self.figures),
            ]
        )

    async def run_unit(self, request: Request) -> JSONResponse:
        """Run the unit that the request names; answer with its value or its failure."""
        from starlette.responses import JSONResponse

        from campaigns.load_engine.prepared import with_own_place
        from gaia.validator.utils.identities import JobId
        from gaia.validator.utils.ipc_types import WorkUnit

        number = next(self._numbers)
        handler, payload = self._prepared[(await request.json())["unit"]]
        payload = with_own_place(payload, number)
        result = await self._pool.dispatch_and_wait(
            WorkUnit(
                job_id=JobId(f"load-{number}"),
                handler=handler,
                payload=payload,
                deadline_at=time.time() + _UNIT_TIMEOUT_S,
            )
        )
        self._done += 1
        if "out_dir" in payload:
            await asyncio.to_thread(shutil.rmtree, payload["out_dir"], ignore_errors=True)
        failure = result.failure and f"{result.failure.error_type}: {result.failure.message}"
        return JSONResponse({"value": result.value, "failure": failure, "pid": result.worker_pid})

    async def queue(self, _request: Request) -> JSONResponse:
        """Answer with the state of the queue."""
        from starlette.responses import JSONResponse

        return JSONResponse({"depth": self._pool.queue_depth, "workers": self._pool.workers})

    async def figures(self, _request: Request) -> JSONResponse:
        """Answer with the figures since the start."""
        from starlette.responses import JSONResponse

        lags = sorted(self._lags_s)
        return JSONResponse(
            {
                "units": self._done,
                "loop_lag_p99_ms": round(1e3 * lags[int(0.99 * (len(lags) - 1))], 3) if lags else None,
                "loop_lag_max_ms": round(1e3 * lags[-1], 3) if lags else None,
                "queue_depth_max": self._deepest,
                "queue_depth": self._pool.queue_depth,
                "busy": self._pool.busy,
            }
        )

    async def watch(self) -> None:
        """Measure the loop's lag and the queue until cancelled."""
        while True:
            before = time.monotonic()
            await asyncio.sleep(LAG_PERIOD_S)
            self._lags_s.append(max(0.0, time.monotonic() - before - LAG_PERIOD_S))
            self._deepest = max(self._deepest, self._pool.queue_depth)


def run_load_engine(
    settings: dict[str, Any], pool_socket: socket.socket, _signer_path: str, board: str
) -> None:
    """Serve the units of the file `units` until SIGTERM; write the port to the file `port`."""
    import uvloop

    uvloop.run(_serve(settings, pool_socket, Path(board)))


async def _serve(settings: dict[str, Any], pool_socket: socket.socket, board: Path) -> None:
    from gaia.miner.listener import Listener
    from gaia.validator.app.pool.compute_pool import ComputePool
    from gaia.validator.utils.files import put_file

    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    pool = ComputePool(SimpleNamespace(unit_crash_limit=3, unit_timeout_s=_UNIT_TIMEOUT_S), board)
    await pool.start(pool_socket)
    while pool.workers < settings["workers"]:
        await asyncio.sleep(LAG_PERIOD_S)
    service = LoadService(pool, json.loads(Path(settings["units"]).read_bytes()))
    listener = Listener(service.application())
    _, port = await listener.start("127.0.0.1")
    watching = asyncio.create_task(service.watch())
    put_file(Path(settings["port"]), str(port).encode())
    await stop.wait()
    await listener.stop()
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)
    await pool.close()


def supervise() -> None:
    """Run the Supervisor of a load test, as the environment describes it."""
    from gaia.validator.app.supervision import Role
    from gaia.validator.app.supervisor import TARGETS, Options, Supervisor
    from gaia.validator.utils.machine.parent_death import die_with_parent

    die_with_parent(os.getppid())
    options, settings = json.loads(os.environ["POOL_CHAOS"])
    targets = {
        Role.ENGINE: "campaigns.load_engine.service:run_load_engine",
        Role.WORKER: TARGETS[Role.WORKER],
    }
    sealed = pickle.dumps(settings)
    sys.exit(Supervisor(Options(**options, settings=sealed, signer_settings=sealed), targets).run())
