"""Lives 130 days of a database: runs come, are scored and completed, and what is old is removed."""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from benchmarks.database import ROOT, a_manifest, connected, server, silence
from benchmarks.database_parts.scores import LEADS, put_scores

if TYPE_CHECKING:
    import argparse

    from gaia.validator.db.connection import Connection, Database

FIRST: Final = datetime(2026, 1, 1, tzinfo=UTC)
DAYS: Final = 130
FLAT_FROM: Final = 100
FULL_MINERS: Final = 256
_GIB: Final = 2**30
_CLEANED_WITHIN_S, _LOOK_S = 300.0, 0.2
_UNCLEANED: Final = """
SELECT EXISTS (SELECT FROM pg_stat_all_tables WHERE n_dead_tup > 20000)
    OR EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'autovacuum worker')
"""
"""Migration 16 has the table of large values cleaned at 20,000 dead rows."""
_LEADS: Final = """
INSERT INTO lead_scores (run_id, hotkey, rule_set, kind, lead_hours, score, cpu_s, scored_at)
SELECT $1, hotkey, 'gaia-2.9', 'final', 24 * lead, random(), random(), $2
  FROM unnest($3::text[]) AS hotkey, generate_series(1, $4::int) AS lead
"""
_FORECASTS: Final = """
INSERT INTO forecasts (run_id, hotkey, uid, registered_at, state, opened_at, next_at, changed_at, manifest_sha256,
                       manifest, signature)
VALUES ($1, $2, $3, 0, 'scored', $4, $4, $4, $5, $6, decode($5, 'hex'))
"""
_TOTALS: Final = """
INSERT INTO score_table (run_id, hotkey, rule_set, day1, leads, overall, counted, updated_at)
SELECT $1, hotkey, 'gaia-2.9', random(), (SELECT jsonb_object_agg(24 * lead, random()) FROM generate_series(1, $4::int) AS lead),
       random(), true, $2
  FROM unnest($3::text[]) AS hotkey
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--miners", type=int, help=f"miners whose rows are written; {FULL_MINERS} unless --quick"
    )
    parser.add_argument("--days", type=int, default=DAYS, help=f"days to live; default: {DAYS}")


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Live the days; return {"ratios", "figures"}. Sizes are for 256 miners, in proportion to those that were written."""
    sys.path.insert(0, str(ROOT))
    silence()
    miners = arguments.miners or (4 if arguments.quick else FULL_MINERS)
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="gaia-growth-") as folder, server(Path(folder)) as dsn:
        sizes = asyncio.run(live(dsn, Path(folder), miners, arguments.days))
    share = FULL_MINERS / miners
    ninth, flat, last = (sizes[min(day, arguments.days)] for day in (90, FLAT_FROM, arguments.days))
    return {
        "ratios": {
            "database_last_day_vs_day_100": round(last[0] / flat[0], 4),
            "folder_last_day_vs_day_100": round(last[1] / flat[1], 4),
        },
        "figures": {
            "miners": miners,
            "days": arguments.days,
            "database_gib_at_day_90": round(ninth[0] * share / _GIB, 2),
            "database_gib_at_most": round(max(size for size, _ in sizes.values()) * share / _GIB, 2),
            "database_gib_by_day": {
                day: round(size * share / _GIB, 2) for day, (size, _) in sizes.items() if day % 10 == 0
            },
            "seconds": round(time.monotonic() - begun, 1),
        },
    }


async def live(dsn: str, folder: Path, miners: int, days: int) -> dict[int, tuple[int, int]]:
    """Return day -> bytes of the database, and of the whole data folder of its server."""
    from gaia.validator.core.background.retention import Retention
    from gaia.validator.core.database_setup import run_comprehensive_database_setup
    from gaia.validator.utils.settings.files import FilesSettings
    from gaia.validator.utils.settings.weights import WeightsSettings

    calendar = Calendar(FIRST)
    sizes = {}
    async with connected(dsn) as database:
        await run_comprehensive_database_setup(database)
        await look_often(database)
        retention = Retention(FilesSettings(data_dir=folder), WeightsSettings(), database, calendar)
        await retention.remove_old_data()
        for day in range(1, days + 1):
            calendar.moment = FIRST + timedelta(days=day)
            await put_run(database, calendar.moment, miners)
            await retention.remove_old_data()
            await until_cleaned(database)
            sizes[day] = (await size_of(database), sum(sizes_in(folder)))
    return sizes


class Calendar:
    """A clock that stands where it is put."""

    def __init__(self, moment: datetime) -> None:
        self.moment = moment

    def now(self) -> datetime:
        return self.moment

    async def idle_until(self, moment: datetime | None) -> None:
        """Stay: the days come by themselves."""


async def look_often(database: Database) -> None:
    """Let autovacuum look each second: a day passes in seconds here, and it looks each minute of a real one."""
    async with database.alone("gaia-bench") as connection:
        await connection.execute("ALTER SYSTEM SET autovacuum_naptime = '1s'")
        await connection.execute("SELECT pg_reload_conf()")


async def until_cleaned(database: Database) -> None:
    """Wait until autovacuum has done what it has a whole real day for."""
    async with database.alone("gaia-bench") as connection, asyncio.timeout(_CLEANED_WITHIN_S):
        while await connection.fetchval(_UNCLEANED):
            await asyncio.sleep(_LOOK_S)


async def put_run(database: Database, moment: datetime, miners: int) -> None:
    """Store one completed run as the validator leaves it."""
    from gaia.tasks.defined_tasks.weather.schedule import run_id_of

    run_id = run_id_of(moment)
    hotkeys = [f"5{number:047d}" for number in range(miners)]
    async with database.alone("gaia-bench") as connection, connection.transaction():
        await connection.execute(
            "INSERT INTO runs (run_id, init_time, rule_set, opened_at) VALUES ($1, $2, 'gaia-2.9', $2)",
            run_id,
            moment,
        )
        await put_forecasts(connection, run_id, hotkeys, moment)
        await put_scores(connection, run_id, moment, hotkeys)
        await connection.execute(_LEADS, run_id, moment, hotkeys, LEADS)
        await connection.execute(_TOTALS, run_id, moment, hotkeys, LEADS)
        await connection.execute(
            "UPDATE runs SET state = 'completed', completed_at = $2 WHERE run_id = $1", run_id, moment
        )


async def put_forecasts(connection: Connection, run_id: str, hotkeys: list[str], moment: datetime) -> None:
    """Store a scored forecast with a manifest of usual size for each miner."""
    import hashlib

    rows = []
    for number, hotkey in enumerate(hotkeys):
        manifest = a_manifest(f"{run_id}/{hotkey}")
        rows.append((run_id, hotkey, number, moment, hashlib.sha256(manifest).hexdigest(), manifest))
    await connection.executemany(_FORECASTS, rows)


async def size_of(database: Database) -> int:
    """Return the bytes of the database, after a checkpoint."""
    async with database.alone("gaia-bench") as connection:
        await connection.execute("CHECKPOINT")
        return int(await connection.fetchval("SELECT pg_database_size(current_database())"))


def sizes_in(folder: Path) -> Iterator[int]:
    """Yield the bytes on disk of the server's files; some vanish meanwhile."""
    for path in (folder / "postgres" / "cluster").rglob("*"):
        with suppress(OSError):
            yield path.stat().st_blocks * 512
