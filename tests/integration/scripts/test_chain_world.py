"""The world of chain campaigns writes to its database only when nothing of the engine is in its way."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import asyncpg
from campaigns.chain_faults.world import record_run, until_migrated

from gaia.validator.core.database_setup import run_comprehensive_database_setup
from gaia.validator.db.connection import Database
from gaia.validator.db.schema.files import FOLDER, read_migrations
from tests.support.patience import patience


async def test_run_is_recorded_after_the_last_migration(empty_dsn: str, tmp_path: Path) -> None:
    last = f"{read_migrations()[-1].version:04d}_*"
    shutil.copytree(FOLDER, tmp_path / "earlier", ignore=shutil.ignore_patterns(last, "*.py"))
    database = await Database.connect(empty_dsn, timeout_s=patience(10), pool_size=2)
    beside = await asyncpg.connect(empty_dsn)
    try:
        await run_comprehensive_database_setup(database, tmp_path / "earlier")
        waiting = asyncio.create_task(until_migrated(beside))
        done, _ = await asyncio.wait([waiting], timeout=patience(0.3))
        assert not done

        await run_comprehensive_database_setup(database)

        await asyncio.wait_for(waiting, patience(10))
        await record_run(beside, ["one", "two"], "2026-04-10T00Z")
        assert await beside.fetchval("SELECT count(*) FROM score_table") == 2
    finally:
        await beside.close()
        await database.close()
