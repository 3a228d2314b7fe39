"""A database that an earlier release left behind is read without being changed."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import asyncpg
import pytest

from gaia.cli.source import open_source
from gaia.validator.app.children.embedded_postgres import EmbeddedPostgres, embedded_dsn
from gaia.validator.core.database_setup import run_comprehensive_database_setup
from gaia.validator.db import history, queries
from gaia.validator.db.connection import Database
from gaia.validator.db.schema.files import FOLDER as MIGRATION_FOLDER
from gaia.validator.utils.errors import ConfigurationError
from tests.support.patience import patience

RUN = "INSERT INTO runs (run_id, init_time, rule_set, opened_at) VALUES ('r', '2026-03-25', 'gaia-2.9', '2026-03-25')"
FORECAST = (
    "INSERT INTO forecasts (run_id, hotkey, uid, registered_at, state, opened_at, next_at, changed_at, manifest)"
    " VALUES ('r', '5Miner', 1, 0, 'verified', '2026-03-25', '2026-03-25', '2026-03-25', '{}')"
)


@pytest.fixture
def earlier(tmp_path: Path) -> Path:
    """Data folder of a validator whose database has the first seven migrations, and is not running."""
    data_dir, migrations = tmp_path / "data", tmp_path / "migrations"
    migrations.mkdir()
    for path in MIGRATION_FOLDER.glob("000[1-7]_*.sql"):
        shutil.copy(path, migrations)

    async def fill(dsn: str) -> None:
        database = await Database.connect(dsn, timeout_s=patience(30), pool_size=1)
        await run_comprehensive_database_setup(database, migrations)
        async with database.transaction() as connection:
            await connection.execute(RUN)
            await connection.execute(FORECAST)
        await database.close()

    server = EmbeddedPostgres(data_dir)
    server.prepare()
    process = server.start()
    try:
        asyncio.run(fill(embedded_dsn(data_dir)))
    finally:
        process.terminate()
        process.wait(patience(30))
    return data_dir


def test_database_of_an_earlier_release_is_read_and_left_as_it_is(earlier: Path) -> None:
    async def now() -> tuple[int, str]:
        connection = await asyncpg.connect(embedded_dsn(earlier))
        try:
            version = await connection.fetchval("SELECT max(version) FROM schema_migrations")
            return version, await connection.fetchval("SELECT state FROM forecasts")
        finally:
            await connection.close()

    with open_source(earlier) as source:
        (run,) = source.read(lambda connection: history.stored_runs(connection, ["r"]))
        counts = source.read(queries.count_forecasts)

        assert asyncio.run(now()) == (7, "verified")
    assert run.forecasts[0].state == "frozen"
    assert counts == {"frozen": 1}


def test_nothing_can_be_written_while_reading(earlier: Path) -> None:
    with open_source(earlier) as source, pytest.raises(Exception, match="read-only transaction"):
        source.read(lambda connection: connection.execute("DELETE FROM forecasts"))


def test_database_of_a_later_release_is_refused_in_a_sentence(earlier: Path) -> None:
    async def advance() -> None:
        connection = await asyncpg.connect(embedded_dsn(earlier))
        await connection.execute(
            "INSERT INTO schema_migrations (version, name, sha256) VALUES (8, 'other', 'ab')"
        )
        await connection.close()

    with open_source(earlier) as source:
        asyncio.run(advance())
        with pytest.raises(ConfigurationError, match="migration 8 in a form this program does not know"):
            source.read(history.run_summaries)
