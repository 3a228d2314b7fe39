"""Migrates a database with millions of scores while a validator of the earlier release writes to it."""

from __future__ import annotations

import asyncio
import shutil
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from benchmarks.database import ROOT, connected, server, silence

if TYPE_CHECKING:
    import argparse

    from gaia.validator.db.connection import Database
    from gaia.validator.db.schema.migrating import Step

EARLIER: Final = 12
"""The newest migration of the release that this one follows."""
ROWS: Final = 5_000_000
FIRST: Final = datetime(2026, 1, 1, tzinfo=UTC)
ROWS_OF_A_RUN: Final = 176_640
MINERS: Final = 256
_FIELDS, _LEADS = 69, 10
_PAUSE_S: Final = 0.02
_RUN: Final = "INSERT INTO runs (run_id, init_time, rule_set, opened_at) VALUES ($1, $2, 'gaia-2.9', $2)"
_FORECASTS: Final = """
INSERT INTO forecasts (run_id, hotkey, uid, registered_at, opened_at, next_at, changed_at)
SELECT $1, '5Miner' || uid, uid, 0, $2, $2, $2 FROM generate_series(1, $3::int) AS uid
"""
_SCORES: Final = """
INSERT INTO component_scores (run_id, hotkey, rule_set, kind, field, lead_hours, rmse, mse, mae, bias, acc,
                              forecast_digest, truth_digest, scored_at)
SELECT $1, '5Miner' || uid, 'gaia-2.9', 'final', 'field/' || field, 24 * lead, random(), random(), random(), random(), random(),
       md5(uid || field::text || lead) || md5($1 || uid), md5($1 || field) || md5(lead::text), $2
  FROM generate_series(1, $3::int) AS uid, generate_series(1, $4::int) AS field, generate_series(1, $5::int) AS lead
"""
_ONE_SCORE: Final = """
INSERT INTO component_scores (run_id, hotkey, rule_set, kind, field, lead_hours, rmse, mse, mae, bias,
                              forecast_digest, truth_digest, scored_at)
VALUES ($1, '5Miner1', 'gaia-2.9', 'day1', 'written/' || $2::int, 12, 1, 1, 1, 0, 'd', 't', now())
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rows", type=int, help=f"scores of fields; {ROWS} unless --quick")
    parser.add_argument("--rounds", type=int, default=1, help="how often to go there and back; default: 1")


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Migrate and roll back; return {"ratios", "figures", "violations"}: seconds of each migration, and the writer's waits."""
    sys.path.insert(0, str(ROOT))
    silence()
    rows = arguments.rows or (20_000 if arguments.quick else ROWS)
    with tempfile.TemporaryDirectory(prefix="gaia-migrations-") as folder, server(Path(folder)) as dsn:
        return asyncio.run(measure(dsn, Path(folder), rows, arguments.rounds))


async def measure(dsn: str, folder: Path, rows: int, rounds: int) -> dict[str, Any]:
    from gaia.validator.core.database_setup import run_comprehensive_database_setup
    from gaia.validator.db.schema.migrating import Migrator

    up: dict[str, float] = {}
    down: dict[str, float] = {}
    written = 0
    longest_s = 0.0
    async with connected(dsn) as database:
        await run_comprehensive_database_setup(database, earlier_migrations(folder))
        newest = await fill(database, rows)
        before = await digest(database)
        for _ in range(rounds):
            async with writing(dsn, newest, written) as writer:
                note(up, (await run_comprehensive_database_setup(database)).applied)
                note(down, await Migrator(database, 300.0).roll_back(EARLIER))
            written, longest_s = writer.written, max(longest_s, writer.longest_s)
        after = await digest(database)
        kept = await count(database, "day1")
    violations = [] if kept == written else [f"{written} rows were written, and {kept} are there"]
    violations += [] if before == after else ["scores differ after the way there and back"]
    violations += [f"migration {name} took {seconds} s" for name, seconds in up.items() if seconds > 60.0]
    violations += [f"a write waited {longest_s:.1f} s"] if longest_s > 2.0 else []
    return {
        "ratios": {"rows_kept": kept / written if written else 1.0},
        "figures": {
            "rows": rows,
            "rounds": rounds,
            "seconds_up": up,
            "seconds_down": down,
            "writes_meanwhile": written,
            "longest_wait_of_a_write_s": round(longest_s, 2),
        },
        "violations": violations,
    }


def note(seconds: dict[str, float], steps: list[Step] | Any) -> None:
    """Keep the longest time of each migration."""
    for step in steps:
        name = f"{step.version:04}_{step.name}"
        seconds[name] = max(seconds.get(name, 0.0), step.seconds)


def earlier_migrations(folder: Path) -> Path:
    """Return a folder with the migrations of the earlier release."""
    from gaia.validator.db.schema.files import FOLDER

    target = folder / "earlier"
    target.mkdir()
    for path in FOLDER.glob("*.sql"):
        if int(path.name[:4]) <= EARLIER:
            shutil.copy(path, target)
    return target


async def fill(database: Database, rows: int) -> str:
    """Store runs with all their scores; return the newest one's id."""
    from gaia.tasks.defined_tasks.weather.schedule import run_id_of

    runs = max(1, -(-rows // ROWS_OF_A_RUN))
    miners = min(MINERS, max(1, rows // (_FIELDS * _LEADS)))
    async with database.alone("gaia-bench") as connection:
        for day in range(runs):
            moment = FIRST + timedelta(days=day)
            run_id = run_id_of(moment)
            await connection.execute(_RUN, run_id, moment)
            await connection.execute(_FORECASTS, run_id, moment, miners)
            await connection.execute(_SCORES, run_id, moment, miners, _FIELDS, _LEADS)
        await connection.execute("ANALYZE")
        await connection.execute("CHECKPOINT")
    return str(run_id)


class Writer:
    """A validator of the earlier release, as far as it writes scores; it tries again what fails."""

    def __init__(self, written: int) -> None:
        self.written = written
        self.longest_s = 0.0
        self.is_over = False

    async def write(self, database: Database, run_id: str) -> None:
        from gaia.validator.db.failures import DatabaseFailure

        while not self.is_over:
            begun = time.monotonic()
            try:
                async with database.transaction() as connection:
                    await connection.execute(_ONE_SCORE, run_id, self.written + 1)
            except DatabaseFailure:
                continue
            finally:
                self.longest_s = max(self.longest_s, time.monotonic() - begun)
            self.written += 1
            await asyncio.sleep(_PAUSE_S)


@asynccontextmanager
async def writing(dsn: str, run_id: str, written: int) -> AsyncIterator[Writer]:
    """Let a writer write until the body ends."""
    writer = Writer(written)
    async with connected(dsn) as database:
        task = asyncio.create_task(writer.write(database, run_id))
        try:
            yield writer
        finally:
            writer.is_over = True  # a cancelled write may have been made
            await task


async def digest(database: Database) -> str:
    """Return a sum over the scores that were there before."""
    async with database.alone("gaia-bench") as connection:
        return str(
            await connection.fetchval(
                "SELECT sum(hashtextextended(concat(run_id, hotkey, field, lead_hours, rmse, bias), 0)::numeric)"
                " FROM component_scores WHERE kind = 'final'"
            )
        )


async def count(database: Database, kind: str) -> int:
    """Return the number of scores of one kind."""
    async with database.alone("gaia-bench") as connection:
        return int(await connection.fetchval("SELECT count(*) FROM component_scores WHERE kind = $1", kind))
