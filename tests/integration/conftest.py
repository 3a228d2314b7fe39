"""A real PostgreSQL for the tests that need one: one server a session, one database a test."""

import os
import signal
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest

from gaia.validator.app.children.embedded_postgres import EmbeddedPostgres, embedded_dsn
from gaia.validator.core.database_setup import run_comprehensive_database_setup
from gaia.validator.db.connection import Database
from tests.support.patience import patience
from tests.support.signers import SignerProcess


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let files with slow tests begin first, so that no process has a long one left when the others are done."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(scope="session")
def postgres_dsn(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a server that lives as long as the session, or of the one that TEST_DATABASE_URL names."""
    if given := os.environ.get("TEST_DATABASE_URL"):
        yield given
        return
    data_dir = tmp_path_factory.mktemp("postgres")
    server = EmbeddedPostgres(data_dir)
    server.prepare()
    process = server.start()
    while not server.is_ready():
        assert process.poll() is None, (data_dir / "postgres" / "postgres.log").read_text()
        time.sleep(0.01)
    yield embedded_dsn(data_dir)
    # Connections that a test left open are no reason to wait.
    process.send_signal(signal.SIGINT)
    process.wait(patience(30))


@pytest.fixture
async def empty_dsn(postgres_dsn: str) -> AsyncIterator[str]:
    """URL of a new, empty database."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    administrator = await asyncpg.connect(postgres_dsn)
    await administrator.execute(f"CREATE DATABASE {name}")
    yield urlsplit(postgres_dsn)._replace(path=f"/{name}").geturl()
    await administrator.execute(f"DROP DATABASE {name} WITH (FORCE)")
    await administrator.close()


@pytest.fixture
async def database(empty_dsn: str) -> AsyncIterator[Database]:
    """A pool on a new database with the schema in it."""
    database = await Database.connect(empty_dsn, timeout_s=patience(10), pool_size=4)
    await run_comprehensive_database_setup(database)
    yield database
    await database.close()


@pytest.fixture
async def signer(tmp_path: Path) -> AsyncIterator[SignerProcess]:
    """A chain signer that a test starts; its folder is the test's."""
    signer = SignerProcess(tmp_path)
    yield signer
    await signer.close()
