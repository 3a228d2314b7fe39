"""Processes of a soak: an engine that submits tiny units and samples the pool, and its Supervisor."""

from __future__ import annotations

import asyncio
import json
import os
import pickle
import signal
import socket
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TextIO

from campaigns.pool_faults.handlers import digest_of

WINDOW = 32
"""Units in flight."""
SAMPLE_S = 0.25
_FAR_S = 3600.0


class Soak:
    """Submits the units, and records the least capacity between two samples.

    Parameters
    ----------
    settings
        Number of `units`, `rate` per second (0: unlimited), and number of `workers`.
    samples
        File that gets a line every quarter of a second.
    """

    def __init__(self, pool: Any, settings: dict[str, Any], samples: TextIO) -> None:
        self.pool = pool
        self.settings = settings
        self.samples = samples
        self.begun = time.monotonic()
        self.handed_out = 0
        self.done = 0
        self.wrong = 0
        self.least_capacity = settings["workers"]

    async def run(self) -> None:
        """Wait for the workers, submit all units, and sample until they are answered."""
        while self.pool.workers < self.settings["workers"]:
            await asyncio.sleep(0.01)
        self.begun = time.monotonic()
        self.samples.write("seconds,units,capacity,queue_depth,engine_rss_mib\n")
        sampling = asyncio.create_task(self._sample())
        await asyncio.gather(*(self._feed() for _ in range(WINDOW)))
        sampling.cancel()
        await asyncio.gather(sampling, return_exceptions=True)
        self._write()

    async def _feed(self) -> None:
        from gaia.validator.utils.identities import JobId
        from gaia.validator.utils.ipc_types import WorkUnit

        while self.handed_out < self.settings["units"]:
            self.handed_out += 1
            number = self.handed_out
            await self._keep_to_the_rate(number)
            unit = WorkUnit(
                job_id=JobId(str(number)),
                handler="chaos.digest",
                payload={"seed": 0, "number": number, "seconds": 0.0},
                deadline_at=time.time() + _FAR_S,
            )
            result = await self.pool.dispatch_and_wait(unit)
            self.done += 1
            self.wrong += (result.value or {}).get("digest") != digest_of(0, number)
            self.least_capacity = min(self.least_capacity, self.pool.workers)

    async def _keep_to_the_rate(self, number: int) -> None:
        if self.settings["rate"]:
            early_s = self.begun + number / self.settings["rate"] - time.monotonic()
            if early_s > 0:
                await asyncio.sleep(early_s)

    async def _sample(self) -> None:
        while True:
            await asyncio.sleep(SAMPLE_S)
            self._write()

    def _write(self) -> None:
        seconds = time.monotonic() - self.begun
        capacity, self.least_capacity = self.least_capacity, self.settings["workers"]
        depth = self.pool.queue_depth
        self.samples.write(f"{seconds:.2f},{self.done},{capacity},{depth},{rss_mib(os.getpid()):.2f}\n")


def run_soak_engine(
    settings: dict[str, Any], pool_socket: socket.socket, _signer_path: str, board: str
) -> None:
    """Run the soak, write its verdict to the file `verdict`, and wait to be stopped."""
    import uvloop

    from gaia.validator.app.pool.compute_pool import ComputePool
    from gaia.validator.utils.files import put_file

    async def serve(samples: TextIO) -> None:
        pool = ComputePool(SimpleNamespace(unit_crash_limit=3, unit_timeout_s=_FAR_S), Path(board))
        stop = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
        await pool.start(pool_socket)
        soak = Soak(pool, settings, samples)
        await soak.run()
        verdict = {
            "units": soak.done,
            "wrong": soak.wrong,
            "queue_depth_end": pool.queue_depth,
            "busy_end": pool.busy,
        }
        content = json.dumps({**verdict, "seconds": time.monotonic() - soak.begun})
        put_file(Path(settings["verdict"]), content.encode())
        await stop.wait()
        await pool.close()

    with Path(settings["samples"]).open("w", buffering=1) as samples:
        uvloop.run(serve(samples))


def supervise() -> None:
    """Run the Supervisor of a soak, as the environment describes it."""
    from gaia.validator.app.supervision import Role
    from gaia.validator.app.supervisor import TARGETS, Options, Supervisor
    from gaia.validator.utils.machine.parent_death import die_with_parent

    die_with_parent(os.getppid())
    options, settings = json.loads(os.environ["POOL_CHAOS"])
    targets = {
        Role.ENGINE: "campaigns.pool_faults.soak_engine:run_soak_engine",
        Role.WORKER: TARGETS[Role.WORKER],
    }
    sealed = pickle.dumps(settings)
    sys.exit(Supervisor(Options(**options, settings=sealed, signer_settings=sealed), targets).run())


def rss_mib(pid: int) -> float:
    """Return the resident memory of a process; 0 if it has ended."""
    try:
        resident = int(Path(f"/proc/{pid}/statm").read_bytes().split()[1])
    except (OSError, IndexError):
        return 0.0
    return resident * os.sysconf("SC_PAGESIZE") / 2**20
