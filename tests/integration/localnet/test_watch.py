"""The view of a rehearsal over a database that an earlier release made, before the validator brings it up to date."""

from __future__ import annotations

import shutil
from pathlib import Path

from gaia.localnet.view.watch import Watch
from gaia.validator.core.database_setup import run_comprehensive_database_setup
from gaia.validator.db.connection import Database
from gaia.validator.db.schema.files import FOLDER as MIGRATION_FOLDER
from tests.support.patience import patience

RUN = "INSERT INTO runs (run_id, init_time, rule_set, opened_at) VALUES ('r', '2026-03-25', 'gaia-2.9', '2026-03-25')"


async def test_tables_of_an_earlier_release_are_looked_at_again_later(empty_dsn: str, tmp_path: Path) -> None:
    for path in MIGRATION_FOLDER.glob("000[1-7]_*.sql"):
        shutil.copy(path, tmp_path)
    database = await Database.connect(empty_dsn, timeout_s=patience(10), pool_size=1)
    await run_comprehensive_database_setup(database, tmp_path)
    async with database.transaction() as connection:
        await connection.execute(RUN)
    watch = Watch(empty_dsn)

    before = await watch.progress()
    await run_comprehensive_database_setup(database)
    after = await watch.progress()

    await watch.close()
    await database.close()
    assert before.runs == ()
    assert [run.run_id for run in after.runs] == ["r"]
