"""A database that does not fit ends the validator at its first start: one sentence, one exit code, no loop."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import asyncpg
import pytest

from gaia.validator.app.children.embedded_postgres import EmbeddedPostgres, embedded_dsn
from gaia.validator.core.database_setup import run_comprehensive_database_setup
from gaia.validator.db.connection import Database
from gaia.validator.utils.errors import ExitCode
from tests.integration.app.test_last_words import Ended, require_last_sentence, run
from tests.support.patience import patience

LATER = "INSERT INTO schema_migrations SELECT max(version) + 1, 'later', 'ab' FROM schema_migrations"


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """Data folder with a current database, whose server has stopped."""
    data_dir = tmp_path / "data"
    change(data_dir)
    return data_dir


def change(data_dir: Path, *statements: str) -> None:
    """Bring the database up to date while no validator runs, and execute the statements."""

    async def act() -> None:
        database = await Database.connect(embedded_dsn(data_dir), timeout_s=patience(30), pool_size=2)
        await run_comprehensive_database_setup(database)
        await database.close()
        connection = await asyncpg.connect(embedded_dsn(data_dir))
        for statement in statements:
            await connection.execute(statement)
        await connection.close()

    server = EmbeddedPostgres(data_dir)
    server.prepare()
    process = server.start()
    try:
        asyncio.run(act())
    finally:
        process.terminate()
        process.wait(patience(30))


def starts(ended: Ended, child: str) -> int:
    events = [json.loads(line) for line in ended.lines[:-1]]
    return sum(each["event"] == "child_started" and each.get("child") == child for each in events)


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        (LATER, "a later release has migrated the database"),
        ("DELETE FROM schema_migrations WHERE version = 2", "the record of migrations is damaged"),
        ("ALTER TABLE forecasts DROP COLUMN evidence", "the schema was changed by hand"),
        ("DROP TABLE schema_migrations", "the database holds tables that this program did not make"),
    ],
)
def test_misfit_of_the_embedded_database_is_one_sentence_after_one_start(
    made: Path, tmp_path: Path, statement: str, told: str
) -> None:
    change(made, statement)

    ended = run(tmp_path)

    require_last_sentence(ended, ExitCode.DATABASE_MISFIT, f"GAIA_DATABASE_URL: {told}")
    assert (starts(ended, "io_engine"), starts(ended, "postgres")) == (1, 1)


def test_cluster_of_another_major_version_is_one_sentence_before_any_start(
    made: Path, tmp_path: Path
) -> None:
    (made / "postgres" / "cluster" / "PG_VERSION").write_text("13\n")

    ended = run(tmp_path)

    assert ended.exit_code == ExitCode.DATABASE_MISFIT
    assert ended.lines[-1].startswith("GAIA_DATA_DIR: the database there was made by PostgreSQL 13")
    assert starts(ended, "postgres") == 0
