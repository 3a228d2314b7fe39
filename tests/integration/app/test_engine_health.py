"""What the engine finds out about a real database."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import asyncpg
import pytest

from gaia.validator.app.observation import engine_health
from gaia.validator.app.observation.engine_health import EngineHealth
from gaia.validator.app.observation.probes import READY, Check
from gaia.validator.db.connection import Database
from gaia.validator.db.schema.files import read_migrations
from gaia.validator.db.schema.migrating import missing_migrations
from tests.support.patience import patience


@pytest.fixture
def health(monkeypatch: pytest.MonkeyPatch) -> EngineHealth:
    monkeypatch.setattr(engine_health, "_ASK_DATABASE_S", 0.01)
    return EngineHealth(tick_interval_s=5.0, metagraph_interval_s=300.0, chain_timeout_s=60.0)


def check(health: EngineHealth, name: str) -> Check:
    (found,) = (check for check in health.probes()[READY]() if check.name == name)
    return found


async def wait_for(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(patience(20)):
        while not condition():
            await asyncio.sleep(0.01)


@asynccontextmanager
async def asking(health: EngineHealth, database: Database) -> AsyncIterator[None]:
    """Yield once the database was found well."""
    task = asyncio.create_task(health.ask(database))
    await wait_for(lambda: check(health, "database").is_well and check(health, "migrations").is_well)
    yield
    task.cancel()


async def test_migrated_database_lacks_no_migration_and_an_older_one_lacks_the_last(
    database: Database,
) -> None:
    last = read_migrations()[-1]
    async with database.transaction() as connection:
        assert await missing_migrations(connection, read_migrations()) == []
        await connection.execute("DELETE FROM schema_migrations WHERE version = $1", last.version)
        assert [each.name for each in await missing_migrations(connection, read_migrations())] == [last.name]


async def test_schema_that_is_set_back_under_a_running_engine_is_found(
    health: EngineHealth, database: Database
) -> None:
    async with asking(health, database):
        async with database.transaction() as connection:
            await connection.execute("DELETE FROM schema_migrations")
        await wait_for(lambda: not check(health, "migrations").is_well)

        assert check(health, "database").is_well


async def test_schema_of_another_release_is_no_failure_of_the_database(
    health: EngineHealth, database: Database
) -> None:
    async with asking(health, database):
        async with database.transaction() as connection:
            await connection.execute("UPDATE schema_migrations SET sha256 = 'of another release'")
        await wait_for(lambda: not check(health, "migrations").is_well)

        assert "in a form this program does not know" in check(health, "migrations").reason
        assert check(health, "database").is_well


async def test_database_that_is_gone_is_found(
    health: EngineHealth, database: Database, postgres_dsn: str, empty_dsn: str
) -> None:
    name = empty_dsn.partition("?")[0].rpartition("/")[2]
    administrator = await asyncpg.connect(postgres_dsn)
    async with asking(health, database):
        await administrator.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        await administrator.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", name
        )
        await wait_for(lambda: not check(health, "database").is_well)
        await administrator.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
        await wait_for(lambda: check(health, "database").is_well)
    await administrator.close()
