"""The parts of a validator around an IO-Engine that a test makes itself."""

from __future__ import annotations

import asyncio
import multiprocessing
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from gaia.validator.app.compute_worker import run_compute_worker
from gaia.validator.app.io_engine import IOEngine
from gaia.validator.app.meeting.rendezvous import board_path, pool_socket_path, signer_socket_path
from gaia.validator.app.supervisor_options import WorkerOrders
from gaia.validator.utils.config import Settings
from tests.support.patience import patience


@asynccontextmanager
async def engine_with_a_worker(settings: Settings) -> AsyncIterator[IOEngine]:
    """Start a compute worker in a process of its own, and an IO-Engine in this one."""
    meeting = pool_socket_path(settings.data_dir)
    meeting.parent.mkdir(parents=True, exist_ok=True)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(meeting))
        listener.listen()
        orders = WorkerOrders(seat=0, incarnation=1, socket_path=str(meeting), max_jobs=100)
        worker = multiprocessing.get_context("spawn").Process(target=run_compute_worker, args=(orders,))
        worker.start()
        try:
            # Nobody signs: a test that needs no miner and no chain asks nobody.
            signer = signer_socket_path(settings.data_dir)
            engine = IOEngine(settings, listener, str(signer), board_path(settings.data_dir))
            async with engine.started():
                yield engine
        finally:
            worker.terminate()
            await asyncio.to_thread(worker.join, patience(10))
            worker.kill()
            worker.join()
