"""What cards take hold of: processes of the validator, and sessions of its database."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final

import asyncpg
import psutil

from campaigns.pool_faults.victims import fork_server_of, standby_of
from campaigns.state_faults.playing import Scene, Stuck
from gaia.localnet.options import data_dir
from gaia.localnet.view.watch import NOT_NOW
from gaia.validator.app.meeting.rendezvous import Board, board_path, read_board

LOOK_EVERY_S: Final = 0.02
_WORKING_AFTER_S: Final = 2.0
_AGE: Final = """
SELECT extract(epoch FROM clock_timestamp() - min(backend_start))::float8
  FROM pg_stat_activity
 WHERE application_name = 'gaia-validator'
"""
_SESSIONS: Final = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'gaia-validator'"
)


def board_of(scene: Scene) -> Board:
    """Return what the Supervisor says of its processes."""
    return read_board(board_path(data_dir(scene.subnet.state_dir)))


def supervisor_of(scene: Scene) -> int:
    """Return the pid of the Supervisor."""
    assert scene.subnet.validator is not None
    assert scene.subnet.validator.pid is not None
    return scene.subnet.validator.pid


def pids_of(scene: Scene, role: str) -> list[int]:
    """Return the living processes of a role; [] if there is none at the moment."""
    board, supervisor = board_of(scene), supervisor_of(scene)
    if role == "compute_worker":
        return sorted(board.workers.values())
    one = {
        "fork_server": lambda: fork_server_of(supervisor),
        "standby": lambda: standby_of(supervisor, board),
    }.get(role, lambda: board.processes.get(role))()
    return [] if one is None else [one]


async def victim(scene: Scene, role: str) -> int:
    """Return one process of a role; wait for one if there is none."""
    ends_at = time.monotonic() + scene.form.patience_s * scene.patience
    while not (found := [pid for pid in pids_of(scene, role) if psutil.pid_exists(pid)]):
        scene.subnet.check()
        if time.monotonic() > ends_at:
            raise Stuck(f"there is no {role}")
        await asyncio.sleep(LOOK_EVERY_S)
    return scene.random.choice(found)


def strike(pid: int, number: signal.Signals) -> None:
    """Send a signal to a process, unless it has ended."""
    with suppress(ProcessLookupError):
        os.kill(pid, number)


async def kill_everything(scene: Scene) -> None:
    """Kill the Supervisor and all processes of its, and start a new one."""
    await end_everything(scene)
    scene.subnet.start_validator()


async def end_everything(scene: Scene) -> None:
    """Kill the Supervisor and all processes of its, and wait for the end of the Supervisor."""
    assert scene.subnet.validator is not None
    top = psutil.Process(supervisor_of(scene))
    family = [top, *top.children(recursive=True)]
    for process in family:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    while scene.subnet.validator.is_running:
        await asyncio.sleep(LOOK_EVERY_S)


async def kill_supervisor(scene: Scene) -> None:
    """Kill the Supervisor alone, and start a new one."""
    assert scene.subnet.validator is not None
    strike(supervisor_of(scene), signal.SIGKILL)
    while scene.subnet.validator.is_running:
        await asyncio.sleep(LOOK_EVERY_S)
    scene.subnet.start_validator()


@asynccontextmanager
async def administrator(scene: Scene) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
    """Yield a session of ours, once the server answers."""
    ends_at = time.monotonic() + scene.form.patience_s * scene.patience
    while True:
        try:
            connection = await asyncpg.connect(scene.dsn, ssl=False)
            break
        except NOT_NOW:
            scene.subnet.check()
            if time.monotonic() > ends_at:
                raise
            await asyncio.sleep(LOOK_EVERY_S)
    try:
        yield connection
    finally:
        connection.terminate()


async def until_it_works(scene: Scene, connection: asyncpg.Connection[asyncpg.Record]) -> None:
    """Wait until the engine's start is over, which examines the schema: a trigger of ours would end it."""
    while (await connection.fetchval(_AGE) or 0.0) < _WORKING_AFTER_S * scene.patience:
        scene.subnet.check()
        await asyncio.sleep(LOOK_EVERY_S)


async def end_sessions(connection: asyncpg.Connection[asyncpg.Record]) -> None:
    """End every session of the validator."""
    await connection.execute(_SESSIONS)
