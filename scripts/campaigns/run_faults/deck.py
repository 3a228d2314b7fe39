"""The cards: each injects one fault and returns when it is over; several may be played at once."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from datetime import timedelta
from functools import partial
from typing import Final

import asyncpg
import psutil

from campaigns.run_faults import hands, space
from campaigns.run_faults.wire import moved, trapped
from campaigns.state_faults.playing import Scene
from gaia.localnet.options import clock_file, data_dir
from gaia.localnet.view.watch import NOT_NOW
from gaia.validator.core.clock import SimulatedClock

Card = Callable[[Scene], Awaitable[None]]

AWAY: Final = timedelta(hours=3)
TABLES: Final = (
    "forecasts",
    "component_scores",
    "lead_scores",
    "score_table",
    "reference_sets",
    "runs",
    "weight_journal",
)
ERRORS: Final = ("40001", "40P01", "25006", "57014", "58030", "53100")
"""Serialisation, deadlock, read-only, cancelled, input and output, disk full."""
_REFUSED_S, _LOCKED_S, _READ_ONLY_S, _BROKEN_S, _FULL_S = 1.5, 3.0, 2.0, 1.5, 4.0
_STOPPED_S: Final = 7.0
"""Longer than the silence after which the Supervisor replaces a process in a campaign."""
_MET_WITHIN_S: Final = 5.0
_FUNCTION: Final = """
CREATE SCHEMA IF NOT EXISTS campaign;
CREATE OR REPLACE FUNCTION campaign.fault() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF random() < 0.5 THEN
        RAISE EXCEPTION 'a fault of the campaign' USING ERRCODE = TG_ARGV[0];
    END IF;
    RETURN NULL;
END $$
"""
_INTERNAL: Final = "UPDATE pg_trigger SET tgisinternal = {} WHERE tgname = 'fault'"
"""An engine that starts meanwhile examines the schema, and ends where it finds a trigger of others."""


async def kill(scene: Scene, role: str) -> None:
    """Kill one process of a role."""
    hands.strike(await hands.victim(scene, role), signal.SIGKILL)


async def stop(scene: Scene, role: str) -> None:
    """Stop a process for longer than it may be silent; let it go on then, if it still is there."""
    pid = await hands.victim(scene, role)
    hands.strike(pid, signal.SIGSTOP)
    try:
        await asyncio.sleep(_STOPPED_S * scene.patience)
    finally:
        hands.strike(pid, signal.SIGCONT)


async def stop_backend(scene: Scene) -> None:
    """Stop a busy backend of the database for a moment."""
    async with hands.administrator(scene) as connection:
        pid = await connection.fetchval(
            "SELECT pid FROM pg_stat_activity WHERE application_name = 'gaia-validator' ORDER BY random() LIMIT 1"
        )
    if pid is None:
        return
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        process.suspend()
        try:
            await asyncio.sleep(_LOCKED_S)
        finally:
            process.resume()


async def end_sessions(scene: Scene) -> None:
    """Terminate every backend of the validator."""
    async with hands.administrator(scene) as connection:
        await hands.end_sessions(connection)


async def refuse(scene: Scene) -> None:
    """End all sessions, and let nobody connect for a moment."""
    async with hands.administrator(scene) as connection:
        with suppress(FileNotFoundError):
            async with moved(scene.dsn):
                await hands.end_sessions(connection)
                await asyncio.sleep(_REFUSED_S)


async def away(scene: Scene) -> None:
    """End all sessions, and let nobody connect for three hours of the calendar."""
    async with hands.administrator(scene) as connection:
        with suppress(FileNotFoundError):
            async with moved(scene.dsn):
                await hands.end_sessions(connection)
                await move_calendar(scene)
                await asyncio.sleep(_REFUSED_S)


async def read_only(scene: Scene) -> None:
    """Let new sessions only read, for a moment."""
    async with hands.administrator(scene) as connection:
        try:
            await connection.execute("ALTER DATABASE postgres SET default_transaction_read_only = on")
            await hands.end_sessions(connection)
            await asyncio.sleep(_READ_ONLY_S)
        finally:
            await _undo(scene, "ALTER DATABASE postgres RESET default_transaction_read_only")
    await end_sessions(scene)


async def _undo(scene: Scene, statement: str) -> None:
    """Take a change of the database back in a session of its own; the server may have been replaced under ours."""
    async with hands.administrator(scene) as connection:
        await connection.execute("SET default_transaction_read_only = off")
        await connection.execute(statement)


async def disk_full(scene: Scene) -> None:
    """Leave no page on the disk of the data folder, for a moment."""
    async with hands.administrator(scene):
        pass  # until the database is made, nothing is on it
    with space.full(data_dir(scene.subnet.state_dir)):
        await asyncio.sleep(_FULL_S * scene.patience)


async def lock(scene: Scene) -> None:
    """Lock a table for longer than a statement may take."""
    table = scene.random.choice(TABLES)
    async with hands.administrator(scene) as connection, connection.transaction():
        await connection.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
        await asyncio.sleep(_LOCKED_S)


async def raise_errors(scene: Scene, code: str) -> None:
    """Let half of the writes to a table end in an error."""
    table = scene.random.choice(TABLES)
    async with hands.administrator(scene) as connection:
        await hands.until_it_works(scene, connection)
        try:
            await connection.execute(_FUNCTION)
            await connection.execute(
                f"CREATE TRIGGER fault BEFORE INSERT OR UPDATE ON {table}"
                f" FOR EACH STATEMENT EXECUTE FUNCTION campaign.fault('{code}'); {_INTERNAL.format('true')}"
            )
            await asyncio.sleep(_BROKEN_S)
        finally:
            await _undo(scene, f"{_INTERNAL.format('false')}; DROP TRIGGER IF EXISTS fault ON {table}")


async def move_calendar(scene: Scene) -> None:
    """Let three hours of the calendar pass at once."""
    path, end = clock_file(scene.subnet.state_dir), scene.subnet.options.clock_end
    now = SimulatedClock(path).now()
    SimulatedClock.create(path, min(now + AWAY, end), end)


async def cut_commit(scene: Scene, when: str, role: str = "") -> None:
    """Cut a connection at a commit, before the server gets it or after it has answered; kill a process beside that."""

    async def on_commit(send: Callable[[], Awaitable[None]]) -> None:
        if when == "after":
            await send()
        if role:
            await kill(scene, role)

    async with hands.administrator(scene) as connection:
        with suppress(FileNotFoundError):
            async with trapped(scene.dsn, on_commit) as met:
                await hands.end_sessions(connection)
                with suppress(TimeoutError):
                    await asyncio.wait_for(met.wait(), _MET_WITHIN_S * scene.patience)
                await asyncio.sleep(hands.LOOK_EVERY_S)


DISK_FULL: Final = "disk full"
ROLES: Final = ("io_engine", "chain_signer", "postgres", "compute_worker", "fork_server", "standby")
ONE_BY_ONE: Final[Mapping[str, Card]] = {
    **{f"kill {role}": partial(kill, role=role) for role in ROLES},
    "kill supervisor": hands.kill_supervisor,
    "kill everything": hands.kill_everything,
    **{f"stop {role}": partial(stop, role=role) for role in ("io_engine", "chain_signer", "compute_worker")},
    "stop backend": stop_backend,
    "end sessions": end_sessions,
    "refuse": refuse,
    "away": away,
    "read only": read_only,
    "lock": lock,
    DISK_FULL: disk_full,
    **{f"error {code}": partial(raise_errors, code=code) for code in ERRORS},
    "move calendar": move_calendar,
    "cut before commit": partial(cut_commit, when="before"),
    "cut after commit": partial(cut_commit, when="after"),
    "kill before commit": partial(cut_commit, when="before", role="io_engine"),
    "kill after commit": partial(cut_commit, when="after", role="io_engine"),
}
TOGETHER: Final = ("kill chain_signer", "kill compute_worker", "end sessions", "lock", "stop chain_signer")
"""Cards of which three come at once; none of them needs a database as the others leave it."""


async def several(scene: Scene) -> None:
    """Play three cards at once."""
    await asyncio.gather(*(ONE_BY_ONE[name](scene) for name in scene.random.sample(TOGETHER, 3)))


CARDS: Final[Mapping[str, Card]] = {**ONE_BY_ONE, "several": several}
MEETS_NOBODY: Final = (*NOT_NOW, asyncpg.PostgresError)
"""Errors of a card whose server went away under it, by an earlier card."""
