"""A role that owns its database and may do nothing else is enough; to restore, it must be able to make databases."""

from __future__ import annotations

import os
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import asyncpg
import pytest

from gaia.validator.core.background.retention import Retention
from gaia.validator.core.database_setup import find_drift, run_comprehensive_database_setup
from gaia.validator.db.access.lease import Lease, holder_of
from gaia.validator.db.backup.folders import Reason
from gaia.validator.db.backup.making import Destination, make_backup
from gaia.validator.db.backup.restoring import Server
from gaia.validator.db.connection import Database
from gaia.validator.db.schema.migrating import Migrator
from gaia.validator.utils.errors import ConfigurationError
from gaia.validator.utils.settings.files import FilesSettings
from gaia.validator.utils.settings.weights import WeightsSettings
from tests.support.backups import ROWS
from tests.support.fakes import FakeClock
from tests.support.patience import patience

NOW = datetime(2026, 3, 26, 8, tzinfo=UTC)


class Owned(NamedTuple):
    """A database whose owner may log in, and nothing else."""

    dsn: str
    role: str


@pytest.fixture
async def owned(postgres_dsn: str) -> AsyncIterator[Owned]:
    """A new database and its owner, who is no superuser and may make neither databases nor roles."""
    name = f"least_{uuid.uuid4().hex[:12]}"
    administrator = await asyncpg.connect(postgres_dsn)
    await administrator.execute(f"CREATE ROLE {name} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION")
    await administrator.execute(f"CREATE DATABASE {name} OWNER {name}")
    parts = urlsplit(postgres_dsn)
    yield Owned(parts._replace(netloc=f"{name}@", path=f"/{name}").geturl(), name)
    await administrator.execute(f"DROP DATABASE {name} WITH (FORCE)")
    await administrator.execute(f"DROP ROLE {name}")
    await administrator.close()


@pytest.fixture
async def database(owned: Owned) -> AsyncIterator[Database]:
    """A pool of the owner's."""
    database = await Database.connect(owned.dsn, timeout_s=patience(10), pool_size=4)
    await run_comprehensive_database_setup(database)
    yield database
    await database.close()


async def test_owner_migrates_writes_removes_and_goes_back(
    database: Database, owned: Owned, tmp_path: Path
) -> None:
    active = await Database.connect(owned.dsn, timeout_s=patience(10), pool_size=2)
    lease = Lease(active, holder_of(tmp_path))
    await lease.take(lambda _: None)
    async with active.transaction() as connection:
        for statement in ROWS:
            await connection.execute(statement)
    await Retention(
        FilesSettings(data_dir=tmp_path), WeightsSettings(), active, FakeClock(NOW)
    ).remove_old_data()
    await lease.release()
    await active.close()

    assert not await find_drift(database)
    await Migrator(database, patience(10)).roll_back(12)
    assert len((await run_comprehensive_database_setup(database)).applied) > 3


async def test_owner_saves_and_with_the_right_to_make_databases_restores(
    database: Database, owned: Owned, postgres_dsn: str, tmp_path: Path
) -> None:
    async with database.transaction() as connection:
        for statement in ROWS:
            await connection.execute(statement)
    backup = await make_backup(database, owned.dsn, Destination(tmp_path, 0), Reason.REQUEST, NOW)
    server, scratch = Server(owned.dsn, patience(10)), f"scratch_{os.getpid()}"

    with pytest.raises(ConfigurationError, match="the role may not make a database"):
        async with server.restored(backup, scratch):
            pass

    administrator = await asyncpg.connect(postgres_dsn)
    await administrator.execute(f"ALTER ROLE {owned.role} CREATEDB")
    await administrator.close()
    async with server.restored(backup, scratch) as dsn:
        assert dsn.startswith(f"postgresql://{owned.role}@/{scratch}?")
