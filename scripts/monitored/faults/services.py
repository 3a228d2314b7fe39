"""Faults of what the validator needs: database, chain, archives, miners and disk."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta

from gaia.cli.runbooks import database, host, shared, weather, weights
from gaia.localnet.options import clock_file, data_dir
from gaia.localnet.services import ARCHIVES, CHAIN, MINERS
from gaia.validator.core.clock import SimulatedClock
from gaia.validator.utils.files import put_file
from monitored.faults.scene import SIGNER, Fault, Ground, Scene, send

_LOCK_ALL = """
DO $$ DECLARE place text; BEGIN
    FOR place IN SELECT format('%I', tablename) FROM pg_tables WHERE schemaname = 'public' LOOP
        EXECUTE 'LOCK TABLE ' || place;
    END LOOP;
END $$
"""
_IN_DOUBT = "SELECT count(*) FROM weight_journal WHERE state IN ('intended', 'failed')"
_FOREIGN_LEASE = """
UPDATE lease SET token = token + 1, holder = 'another', name = 'another:/data', taken_at = clock_timestamp(),
                 expires_at = clock_timestamp() + interval '1 day'
"""
_END_LEASE = "UPDATE lease SET expires_at = clock_timestamp() WHERE holder = 'another'"
_SETTLED_S = 1.0
_MOST = 8
"""Of the 12 miners, some refuse or never answer by themselves."""
_LATER = timedelta(days=6)
_FOREIGN_EPOCHS = 300
_STEP_BYTES = 2_000_000
_STEP_S = 0.25
_KEPT_FREE = 0.06


@asynccontextmanager
async def stopped_chain(scene: Ground) -> AsyncIterator[None]:
    """Stop the node of the chain with SIGSTOP while weights are being set, so that their fate is unknown."""
    pids = [scene.service(CHAIN)]
    async with scene.connected() as connection:

        async def is_being_set() -> bool:
            return bool(await connection.fetchval(_IN_DOUBT))

        async def is_cut() -> bool:
            await scene.until(is_being_set, 60.0, "a vector that is being set")
            send(pids, signal.SIGSTOP)
            await asyncio.sleep(_SETTLED_S)
            if await is_being_set():
                return True
            send(pids, signal.SIGCONT)
            return False

        await scene.until(is_cut, 60.0, "a vector that was cut off")
    try:
        yield
    finally:
        send(pids, signal.SIGCONT)


@asynccontextmanager
async def locked_tables(scene: Ground) -> AsyncIterator[None]:
    """Lock every table, as maintenance does."""
    async with scene.connected() as connection, connection.transaction():
        await connection.execute(_LOCK_ALL)
        yield


@asynccontextmanager
async def renamed_table(scene: Ground) -> AsyncIterator[None]:
    """Rename a table, as a wrong release of the schema has it."""
    async with scene.connected() as connection:
        await connection.execute("ALTER TABLE forecasts RENAME TO forecasts_away")
        try:
            yield
        finally:
            await connection.execute("ALTER TABLE forecasts_away RENAME TO forecasts")


@asynccontextmanager
async def silent_miners(scene: Scene) -> AsyncIterator[None]:
    """Stop all miners with SIGSTOP once most have accepted, so that every poll times out."""
    options = scene.subnet.options
    opening = options.clock_start + timedelta(minutes=1)
    # The calendar stands still from the opening of the run on, so no miner can be ready before it is stopped.
    with SimulatedClock.create(clock_file(scene.subnet.state_dir), opening, options.clock_end).held("faults"):
        await scene.progress(
            lambda progress: sum(each.state == "requested" for each in progress.forecasts) >= _MOST
        )
        pids = [scene.service(MINERS)]
        send(pids, signal.SIGSTOP)
        # A stopped miner would hold the calendar for ever, because it seems to compute.
        holds = clock_file(scene.subnet.state_dir).with_name("clock.json.holds")
        for hold in holds.iterdir():
            if not hold.name.startswith(f"{os.getpid()}-"):
                hold.unlink(missing_ok=True)
    try:
        yield
    finally:
        send(pids, signal.SIGCONT)


@asynccontextmanager
async def silent_archives(scene: Scene) -> AsyncIterator[None]:
    """Kill the archives once day 1 is scored, and let six days pass after the last lead was due."""
    await scene.progress(lambda progress: any(each.day1 is not None for each in progress.forecasts))
    send([scene.service(ARCHIVES)], signal.SIGKILL)
    scene.clock.extend(scene.subnet.options.clock_end + _LATER)
    yield


@asynccontextmanager
async def lost_scores(scene: Scene) -> AsyncIterator[None]:
    """Take all scores away, as the restore of a part of a database does."""
    async with scene.connected() as connection:
        await connection.execute("CREATE TABLE kept_scores AS TABLE score_table; DELETE FROM score_table")
    try:
        yield
    finally:
        async with scene.connected() as connection:
            await connection.execute(
                "INSERT INTO score_table SELECT * FROM kept_scores; DROP TABLE kept_scores"
            )


@asynccontextmanager
async def foreign_lease(scene: Scene) -> AsyncIterator[None]:
    """Take the lease of the database, as a forgotten validator on another machine does."""
    async with scene.connected() as connection:
        await connection.execute(_FOREIGN_LEASE)
    try:
        yield
    finally:
        async with scene.connected() as connection:
            await connection.execute(_END_LEASE)


@asynccontextmanager
async def filled_disk(scene: Scene) -> AsyncIterator[None]:
    """Write a file that grows until a twentieth of the disk is free."""
    folder = data_dir(scene.subnet.state_dir)
    file = folder.parent / "ballast"

    def grow() -> bool:
        usage = shutil.disk_usage(folder)
        if usage.free < _KEPT_FREE * usage.total:
            return False
        with file.open("ab") as out:
            out.write(b"x" * _STEP_BYTES)
        return True

    async def go_on() -> None:
        while await asyncio.to_thread(grow):
            await asyncio.sleep(_STEP_S)

    growing = asyncio.create_task(go_on())
    try:
        yield
    finally:
        growing.cancel()
        await asyncio.gather(growing, return_exceptions=True)
        file.unlink(missing_ok=True)


@asynccontextmanager
async def foreign_record(scene: Scene) -> AsyncIterator[None]:
    """Give the signer a record in which other vectors were signed for the epochs to come, as another instance does."""
    assert scene.subnet.settings is not None
    path = scene.subnet.settings.signer.signed_epochs
    # It holds the record, and might write its own over ours.
    send(scene.pids(SIGNER), signal.SIGSTOP)
    record = json.loads(path.read_bytes())
    newest = max([each["epoch"] for each in record["epochs"]], default=record["forgotten"])
    signed = [
        {"epoch": newest + later, "vector_sha256": "0" * 64, "commits": []}
        for later in range(_FOREIGN_EPOCHS)
    ]
    put_file(path, json.dumps(record | {"epochs": signed, "forgotten": newest - 1}).encode())
    send(scene.pids(SIGNER), signal.SIGKILL)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        send(scene.pids(SIGNER), signal.SIGKILL)


CALM: Sequence[Fault] = (
    Fault(
        name="stopped_chain",
        alerts=("SubstrateConnectionLost", "WeightsStale", "HighErrorRate", "VectorInDoubt"),
        cause=stopped_chain,
        branches=[shared.CHAIN_AWAY],
        seconds=120,
    ),
    Fault(
        name="locked_tables",
        alerts=(
            "DatabaseConnectionsHigh",
            "DatabaseConnectionsExhausted",
            "DatabaseFailures",
            "NoRecentActivity",
            "TaskOverdue",
        ),
        cause=locked_tables,
        branches=[shared.BLOCKED],
        seconds=120,
    ),
    Fault(name="renamed_table", alerts=("LogErrors",), cause=renamed_table, branches=[shared.UNREADABLE]),
    Fault(
        name="lost_scores",
        alerts=("WeightsHeld",),
        cause=lost_scores,
        branches=[weights.HELD_BY_DATA],
        seconds=120,
    ),
    Fault(
        name="foreign_lease",
        alerts=("NoLeaseHolder",),
        cause=foreign_lease,
        branches=[database.HELD_ELSEWHERE],
        seconds=120,
    ),
    Fault(
        name="foreign_record",
        alerts=("SignerRefuses",),
        cause=foreign_record,
        branches=[weights.REFUSED_BY_SIGNER],
        seconds=120,
    ),
)
SILENT_MINERS = Fault(
    name="silent_miners",
    alerts=("MinersUnresponsive",),
    cause=silent_miners,
    branches=[weather.MINERS_SILENT],
    seconds=180,
)
SILENT_ARCHIVES = Fault(
    name="silent_archives",
    alerts=("StuckWeatherRuns", "TruthLate"),
    cause=silent_archives,
    branches=[weather.TRUTH_AWAITED],
    seconds=180,
)
FILLED_DISK = Fault(
    name="filled_disk",
    alerts=("DiskFillsIn4Days", "DiskSpaceLow", "DiskSpaceCritical"),
    branches=[host.ELSEWHERE_FULL],
    cause=filled_disk,
    seconds=180,
)
