"""Migrations on a real server: long ones, blocked ones, interrupted ones, and how they are taken back."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest
from structlog.testing import capture_logs

from gaia.validator.core.database_setup import run_comprehensive_database_setup
from gaia.validator.db.connection import Database
from gaia.validator.db.failures import StatementRefused
from gaia.validator.db.schema.files import read_migrations
from gaia.validator.db.schema.migrating import SESSION, Migrator
from gaia.validator.utils.errors import ConfigurationError, ExitCode
from tests.support.patience import patience

PATIENCE_S = 60.0


@pytest.fixture
async def impatient(empty_dsn: str) -> AsyncIterator[Database]:
    """A pool whose statements may take a fifth of a second only."""
    database = await Database.connect(empty_dsn, timeout_s=patience(10), pool_size=2)
    database._timeout_s = 0.2
    yield database
    database._timeout_s = patience(10)
    await database.close()


@pytest.fixture
async def beside(empty_dsn: str) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
    """A session of somebody else."""
    connection = await asyncpg.connect(empty_dsn)
    yield connection
    await connection.close()


def write(folder: Path, **scripts: str) -> None:
    for name, sql in scripts.items():
        (folder / f"{name.removeprefix('m').replace('_DOWN', '.down')}.sql").write_text(sql)


async def test_migration_that_takes_longer_than_a_statement_may_is_applied(
    impatient: Database, tmp_path: Path
) -> None:
    write(tmp_path, m0001_slow="CREATE TABLE a (b integer); SELECT pg_sleep(1);")

    setup = await run_comprehensive_database_setup(impatient, tmp_path)

    (step,) = setup.applied
    assert (step.name, setup.names) == ("slow", ["slow"])
    assert step.seconds >= 1.0


async def test_blocked_migration_lets_others_pass_and_goes_on_when_the_table_is_free(
    impatient: Database, beside: asyncpg.Connection[asyncpg.Record], empty_dsn: str, tmp_path: Path
) -> None:
    write(tmp_path, m0001_first="CREATE TABLE a (b integer)")
    await run_comprehensive_database_setup(impatient, tmp_path)
    write(tmp_path, m0002_second="ALTER TABLE a ADD COLUMN c integer")
    reader = await asyncpg.connect(empty_dsn)
    reading = reader.transaction()
    await reading.start()
    await reader.fetch("SELECT * FROM a")

    with capture_logs() as lines:
        migrating = asyncio.create_task(Migrator(impatient, PATIENCE_S).migrate(read_migrations(tmp_path)))
        waits = []
        while not [line for line in lines if line["event"] == "database_setup_waits"]:
            begun = time.monotonic()
            await beside.execute("INSERT INTO a VALUES (1)")
            waits.append(time.monotonic() - begun)
            await asyncio.sleep(0.01)
        assert not migrating.done()
        await reading.rollback()
        (step,) = await migrating

    assert step.name == "second"
    assert max(waits) < patience(2.5)
    await reader.close()


async def test_script_that_fails_half_way_leaves_whole_migrations(
    impatient: Database, beside: asyncpg.Connection[asyncpg.Record], tmp_path: Path
) -> None:
    write(
        tmp_path,
        m0001_first="CREATE TABLE a (b integer)",
        m0002_bad="CREATE TABLE c (d integer); SELECT 1/0;",
    )

    with pytest.raises(StatementRefused, match="division by zero"):
        await run_comprehensive_database_setup(impatient, tmp_path)

    assert await beside.fetchval("SELECT to_regclass('c')") is None
    write(tmp_path, m0002_bad="CREATE TABLE c (d integer)")
    assert (await run_comprehensive_database_setup(impatient, tmp_path)).names == ["bad"]


async def test_migration_whose_session_is_killed_is_begun_again(
    impatient: Database, beside: asyncpg.Connection[asyncpg.Record], tmp_path: Path
) -> None:
    write(
        tmp_path,
        m0001_first="CREATE TABLE a (b integer)",
        m0002_slow="SELECT pg_sleep(1); CREATE TABLE c (d integer);",
    )
    running = f"application_name = '{SESSION}' AND query LIKE '%pg_sleep%' AND datname = current_database()"

    migrating = asyncio.create_task(run_comprehensive_database_setup(impatient, tmp_path))
    while not await beside.fetchval(
        f"SELECT bool_or(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE {running}"
    ):
        await asyncio.sleep(0.01)
    setup = await migrating

    assert setup.names == ["first", "slow"]
    assert await beside.fetchval("SELECT count(*) FROM schema_migrations") == 2


async def test_eight_starts_at_once_apply_each_migration_once(empty_dsn: str) -> None:
    databases = [await Database.connect(empty_dsn, timeout_s=patience(20), pool_size=2) for _ in range(8)]

    setups = await asyncio.gather(*(run_comprehensive_database_setup(each) for each in databases))

    assert sorted(len(setup.applied) for setup in setups) == [0] * 7 + [len(read_migrations())]
    for each in databases:
        await each.close()


async def test_index_that_an_interruption_left_invalid_is_built_anew(
    impatient: Database, beside: asyncpg.Connection[asyncpg.Record], tmp_path: Path
) -> None:
    write(tmp_path, m0001_first="CREATE TABLE a (b integer); INSERT INTO a VALUES (1), (1);")
    await run_comprehensive_database_setup(impatient, tmp_path)
    with pytest.raises(asyncpg.UniqueViolationError):
        await beside.execute("CREATE UNIQUE INDEX CONCURRENTLY a_b ON a (b)")
    assert not await beside.fetchval("SELECT indisvalid FROM pg_index WHERE indexrelid = 'a_b'::regclass")
    await beside.execute("DELETE FROM a WHERE ctid = (SELECT min(ctid) FROM a)")

    write(
        tmp_path,
        m0002_index="-- concurrently\nCREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS a_b ON a (b);\n",
    )
    setup = await run_comprehensive_database_setup(impatient, tmp_path)

    assert setup.names == ["index"]
    assert await beside.fetchval("SELECT indisvalid FROM pg_index WHERE indexrelid = 'a_b'::regclass")


async def test_migrations_are_taken_back_by_a_program_that_does_not_have_them(
    impatient: Database, beside: asyncpg.Connection[asyncpg.Record], tmp_path: Path
) -> None:
    write(
        tmp_path,
        m0001_first="CREATE TABLE a (b integer)",
        m0002_second="ALTER TABLE a ADD COLUMN c integer",
        m0002_second_DOWN="ALTER TABLE a DROP COLUMN c",
        m0003_third="CREATE TABLE d (e integer)",
        m0003_third_DOWN="DROP TABLE d",
    )
    await run_comprehensive_database_setup(impatient, tmp_path)
    earlier = read_migrations(tmp_path)[:1]
    with pytest.raises(ConfigurationError, match=r"it has 2 \(second\), 3 \(third\); this program knows 1"):
        await Migrator(impatient, PATIENCE_S).migrate(earlier)

    steps = await Migrator(impatient, PATIENCE_S).roll_back(1)

    assert [step.version for step in steps] == [3, 2]
    assert await Migrator(impatient, PATIENCE_S).migrate(earlier) == []
    assert await beside.fetchval("SELECT to_regclass('d')") is None
    assert [
        row["attname"]
        for row in await beside.fetch(
            "SELECT attname::text FROM pg_attribute WHERE attrelid = 'a'::regclass AND attnum > 0 AND NOT attisdropped"
        )
    ] == ["b"]


async def test_migration_without_a_script_is_not_taken_back_and_neither_are_those_after_it(
    impatient: Database, beside: asyncpg.Connection[asyncpg.Record], tmp_path: Path
) -> None:
    write(
        tmp_path,
        m0001_first="CREATE TABLE a (b integer)",
        m0002_second="CREATE TABLE c (d integer)",
        m0002_second_DOWN="DROP TABLE c",
    )
    await run_comprehensive_database_setup(impatient, tmp_path)

    with pytest.raises(ConfigurationError, match=r"migration 1 \(first\) cannot be taken back"):
        await Migrator(impatient, PATIENCE_S).roll_back(0)

    assert await beside.fetchval("SELECT to_regclass('c') IS NOT NULL")


async def test_record_of_an_earlier_release_learns_to_keep_scripts(
    impatient: Database, beside: asyncpg.Connection[asyncpg.Record], tmp_path: Path
) -> None:
    write(tmp_path, m0001_first="CREATE TABLE a (b integer)")
    await run_comprehensive_database_setup(impatient, tmp_path)
    await beside.execute("ALTER TABLE schema_migrations DROP COLUMN down, DROP COLUMN seconds")
    with pytest.raises(ConfigurationError, match="keeps no script") as caught:
        await Migrator(impatient, PATIENCE_S).roll_back(0)
    assert caught.value.exit_code is ExitCode.DATABASE_MISFIT

    write(tmp_path, m0002_second="CREATE TABLE c (d integer)", m0002_second_DOWN="DROP TABLE c")
    await run_comprehensive_database_setup(impatient, tmp_path)

    assert [step.name for step in await Migrator(impatient, PATIENCE_S).roll_back(1)] == ["second"]
