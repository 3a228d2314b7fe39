"""A database of before the names of migration 8 is brought up to date with all that it holds."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import asyncpg
import pytest

from gaia.validator.core.database_setup import run_comprehensive_database_setup
from gaia.validator.db import gram_matrices, history, queries
from gaia.validator.db.connection import Database
from gaia.validator.db.schema.files import FOLDER as MIGRATION_FOLDER
from gaia.validator.db.schema.files import read_migrations
from gaia.validator.utils.identities import RunId
from tests.support.patience import patience
from tests.support.unguarded import UNGUARDED

INIT = datetime(2026, 3, 25, tzinfo=UTC)
OPENED = INIT.replace(hour=18)
COMMITTED = INIT.replace(hour=19)
LAST_OF_BEFORE = 7
STATES = ("planned", "requested", "verified", "scored_day1", "scored", "rejected", "excused")


@pytest.fixture
async def of_before(empty_dsn: str, tmp_path: Path) -> AsyncIterator[Database]:
    """A database with the first seven migrations, and a forecast in each state of then."""
    for path in MIGRATION_FOLDER.glob("000[1-7]_*.sql"):
        shutil.copy(path, tmp_path)
    database = await Database.connect(empty_dsn, timeout_s=patience(10), pool_size=2)
    await run_comprehensive_database_setup(database, tmp_path)
    async with database.transaction() as connection:
        await connection.execute(
            "INSERT INTO runs (run_id, init_time, rule_set, opened_at) VALUES ('2026-03-25T00Z', $1, 'gaia-2.9', $2)",
            INIT,
            OPENED,
        )
        await connection.executemany(
            "INSERT INTO forecasts (run_id, hotkey, uid, registered_at, state, opened_at, next_at, changed_at,"
            " manifest, signature, manifest_sha256, frozen_at, frozen_round, reason)"
            " VALUES ('2026-03-25T00Z', $1, $2, 0, $3, $4, $4, $4, '\\x7b7d', '\\x00', 'ab', $5, $4, 'why')",
            [(f"5{state}", uid, state, OPENED, COMMITTED) for uid, state in enumerate(STATES)],
        )
        await connection.execute(
            "INSERT INTO lead_scores (run_id, hotkey, rule_set, kind, lead_hours, score, scored_at)"
            " VALUES ('2026-03-25T00Z', '5scored', 'gaia-2.9', 'day1', 12, 0.5, $1)",
            OPENED,
        )
        await connection.execute(
            "INSERT INTO lead_products (run_id, lead_hours, sha256, hotkeys, made_at)"
            " VALUES ('2026-03-25T00Z', 24, 'cd', '[\"5scored\"]', $1)",
            OPENED,
        )
    yield database
    await database.close()


async def test_states_commitments_and_matrices_of_before_are_kept_under_their_new_names(
    of_before: Database,
) -> None:
    names = [migration.name for migration in read_migrations() if migration.version > LAST_OF_BEFORE]
    assert (await run_comprehensive_database_setup(of_before)).names == names

    async with of_before.transaction() as connection:
        (run,) = await history.stored_runs(connection, ["2026-03-25T00Z"], with_manifests=True)
        due = await queries.due_forecasts(connection, RunId("2026-03-25T00Z"), ["frozen"], OPENED)
        after = await gram_matrices.committed_after(connection, ["2026-03-25T00Z"], COMMITTED - OPENED)
        (matrix,) = await gram_matrices.matrices_of(connection, ["2026-03-25T00Z"])
    stood = {row.hotkey: row.state for row in run.forecasts}
    assert stood == {f"5{state}": "frozen" if state == "verified" else state for state in STATES}
    assert {row.committed_at for row in run.forecasts} == {COMMITTED}
    assert [forecast.hotkey for forecast in due] == ["5verified"]
    assert {moment.total_seconds() for moment in after.values()} == {0.0}
    assert (matrix.lead_hours, matrix.sha256, list(matrix.hotkeys)) == (24, "cd", ["5scored"])


@pytest.mark.parametrize(
    ("change", "constraint"),
    [
        ("state = 'verified'", "forecasts_state_check"),
        ("state = 'frozen', manifest = NULL, manifest_sha256 = NULL", "forecasts_manifest_check"),
        ("state = 'rejected', reason = NULL", "forecasts_check1"),
    ],
)
async def test_schema_refuses_the_old_word_and_what_it_refused_before(
    of_before: Database, empty_dsn: str, change: str, constraint: str
) -> None:
    await run_comprehensive_database_setup(of_before)
    connection = await asyncpg.connect(empty_dsn)
    await connection.execute(UNGUARDED)

    with pytest.raises(asyncpg.CheckViolationError, match=f'"{constraint}"'):
        await connection.execute(f"UPDATE forecasts SET {change} WHERE hotkey = '5verified'")

    await connection.close()
