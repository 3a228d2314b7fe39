"""The benchmarked IO-Engine: the real parts under the real Supervisor, with phases in place of weather."""

from __future__ import annotations

import asyncio
import logging
import os
import pickle
import random
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import psutil

from benchmarks.observation_parts.phases import Measured, Order, Phase
from benchmarks.observation_parts.stored import NOW, fill

if TYPE_CHECKING:
    from benchmarks.observation_parts.watching import Engine
    from gaia.validator.utils.config import Settings

ORDER = "OBSERVATION_BENCH"
"""Variable of the environment with the order of the Supervisor's parent, as JSON."""
_PROBE_S = 0.01
_BURST_S = 0.002
"""CPU time that an answer of a miner takes the loop: decryption and JSON."""
_BURSTS_PER_S = 20.0
_WORKERS = 2
_WARM_S = 6.0
"""Seconds before the first phase; the first tick, after five, asks archives that are away."""
_HERE = "benchmarks.observation_parts"


def supervise() -> None:
    """Run the Supervisor, as the order in the environment says."""
    from gaia.validator.app.logging_config import configure_logging
    from gaia.validator.app.supervision import Role
    from gaia.validator.app.supervisor import TARGETS, Options, Supervisor
    from gaia.validator.utils.machine.parent_death import die_with_parent

    die_with_parent(os.getppid())
    configure_logging("INFO", "json", role="supervisor")
    order = msgspec.json.decode(os.environ[ORDER], type=Order)
    options = Options(
        data_dir=order.data_dir,
        settings=pickle.dumps(order),
        signer_settings=pickle.dumps({"netuid": 237, "miners": order.miners}),
        workers=_WORKERS,
        embedded_database=True,
        metrics_port=order.metrics_port,
        sandbox="best-effort",
    )
    targets = {
        Role.SIGNER: f"{_HERE}.signer:run_signer",
        Role.ENGINE: f"{_HERE}.engine:run_engine",
        Role.WORKER: TARGETS[Role.WORKER],
    }
    sys.exit(Supervisor(options, targets).run())


def run_engine(
    order: Order, pool_socket: socket.socket, signer_path: str, board: str, endpoint: socket.socket
) -> None:
    """Measure all phases, write them to the order's file, and wait for SIGTERM."""
    import uvloop

    from gaia.validator.app.logging_config import configure_logging
    from gaia.validator.utils.logs.files import LogFiles
    from gaia.validator.utils.machine.event_loop import favour_loop

    favour_loop()
    configure_logging("INFO", "json", LogFiles(folder=f"{order.data_dir}/logs"), role="io_engine")
    for chatterbox in ("apscheduler", "httpx"):
        logging.getLogger(chatterbox).setLevel(logging.ERROR)
    uvloop.run(_main(order, pool_socket, signer_path, Path(board), endpoint))


async def _main(
    order: Order, pool_socket: socket.socket, signer_path: str, board: Path, endpoint: socket.socket
) -> None:
    from benchmarks.observation_parts.watching import engine_of
    from gaia.validator.app import child

    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    settings = settings_of(order)
    async with engine_of(order, settings, pool_socket, signer_path, board, endpoint) as engine:
        child.tell(child.STARTED)
        measured = await _measure(engine, order)
        Path(order.result).write_bytes(msgspec.json.encode(measured))
        await stop.wait()


def settings_of(order: Order) -> Settings:
    """Return the settings of a validator that uses all of the capability."""
    from gaia.validator.utils.config import Settings

    services = f"127.0.0.1:{order.services_port}"
    chosen: dict[str, Any] = {
        "netuid": 237,
        "data_dir": Path(order.data_dir),
        "last_run": NOW,
        "compute_workers": _WORKERS,
        "metrics_port": order.metrics_port,
        "update_url": f"http://{services}/newest",
        "earthdata_url": f"http://{services}",
        "earthdata_username": "user",
        "earthdata_password": "a-password",
        "notify_urls": [f"json://{services}/hook"],
        "notify_alive_url": f"http://{services}/alive",
        "notify_life": True,
    }
    return Settings(**chosen)


async def _measure(engine: Engine, order: Order) -> Measured:
    """Return the phases with and without observation, pair by pair, in turn first and second."""
    await fill(engine.database, engine.settings, order.miners, order.runs)
    measured = Measured(whole_reading_cpu_s=await engine.read_pages())
    async with _answers_of_miners():
        async with engine.at_work():
            await _one_phase(min(order.phase_s, _WARM_S), engine)
        for number in range(order.pairs):
            for is_on in (True, False) if number % 2 else (False, True):
                await engine.metagraph.refresh()
                if not is_on:
                    async with engine.at_work():
                        measured.without.append(await _one_phase(order.phase_s, engine))
                    continue
                async with engine.watched(number):
                    measured.with_it.append(await _one_phase(order.phase_s, engine))
    measured.task_runs = dict(engine.task_runs)
    return measured


async def _one_phase(seconds: float, engine: Engine) -> Phase:
    """Probe the loop until the end of the phase."""
    lags: list[float] = []
    others = {role: _cpu_s(pids) for role, pids in engine.other_processes().items()}
    cpu, began = time.process_time(), time.perf_counter()
    while time.perf_counter() < began + seconds:
        before = time.perf_counter()
        await asyncio.sleep(_PROBE_S)
        lags.append(max(0.0, time.perf_counter() - before - _PROBE_S) * 1e3)
    cpu_s, wall_s = time.process_time() - cpu, time.perf_counter() - began
    engine.check()
    after = {role: _cpu_s(pids) for role, pids in engine.other_processes().items()}
    used = {role: after[role] - others[role] for role in others}
    return Phase(lags_ms=lags, cpu_s=cpu_s, wall_s=wall_s, others_cpu_s=used)


def _cpu_s(pids: list[int]) -> float:
    """Return the CPU seconds of processes and of the children of theirs that ended."""
    total = 0.0
    for pid in pids:
        for process in (own := psutil.Process(pid), *own.children(recursive=True)):
            try:
                total += sum(process.cpu_times()[:4])
            except psutil.NoSuchProcess:
                continue  # its parent counts it from now on
    return total


@asynccontextmanager
async def _answers_of_miners() -> AsyncIterator[None]:
    """Compute in short bursts meanwhile, as answers of miners make the loop do."""
    chance = random.Random(9)

    async def burst() -> None:
        while True:
            await asyncio.sleep(chance.expovariate(_BURSTS_PER_S))
            ends_at = time.thread_time() + _BURST_S
            while time.thread_time() < ends_at:
                pass

    bursting = asyncio.create_task(burst())
    try:
        yield
    finally:
        bursting.cancel()
        await asyncio.gather(bursting, return_exceptions=True)
