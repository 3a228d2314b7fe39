"""`gaia upgrade plan` says what the next start changes, and changes nothing itself."""

from __future__ import annotations

import asyncio
import json
import shutil
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from gaia.cli.__main__ import main
from gaia.validator.core.database_setup import run_comprehensive_database_setup
from gaia.validator.db.connection import Database
from gaia.validator.db.schema.files import FOLDER, read_migrations
from tests.support.backups import put_backup
from tests.support.patience import patience

Gaia = Callable[..., tuple[int, str, str]]
NEWEST = read_migrations()[-1].version
RUN = (
    "INSERT INTO runs (run_id, init_time, rule_set, opened_at) VALUES"
    " ('2026-03-25T00Z', '2026-03-25', 'gaia-0.1', '2026-03-25')"
)


async def fetch(dsn: str, statement: str) -> list[asyncpg.Record]:
    connection = await asyncpg.connect(dsn)
    try:
        return await connection.fetch(statement)
    finally:
        await connection.close()


def sql(dsn: str, statement: str) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in asyncio.run(fetch(dsn, statement))]


def backup(data_dir: Path, age_s: float = 0.0) -> None:
    put_backup(data_dir / "backups", datetime.now(UTC) - timedelta(seconds=age_s))


@pytest.fixture
def dsn(postgres_dsn: str) -> str:
    """URL of an empty database."""
    name = f"upgrade_{uuid.uuid4().hex[:12]}"
    sql(postgres_dsn, f"CREATE DATABASE {name}")
    return postgres_dsn.replace("/postgres?", f"/{name}?")


def migrate(dsn: str, folder: Path = FOLDER) -> None:
    async def run() -> None:
        database = await Database.connect(dsn, timeout_s=patience(10), pool_size=1)
        await run_comprehensive_database_setup(database, folder)
        await database.close()

    asyncio.run(run())


@pytest.fixture
def behind(dsn: str, tmp_path: Path) -> str:
    """URL of a database that lacks the newest migration."""
    folder = tmp_path / "migrations"
    folder.mkdir()
    for path in FOLDER.glob("*.sql"):
        if not path.name.startswith(f"{NEWEST:04}_"):
            shutil.copy(path, folder)
    migrate(dsn, folder)
    return dsn


@pytest.fixture
def gaia(
    dsn: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Gaia:
    """Plan as an operator would; return (exit code, standard output, standard error)."""
    monkeypatch.setenv("GAIA_DATABASE_URL", dsn)
    monkeypatch.setenv("GAIA_DATA_DIR", str(tmp_path))
    monkeypatch.chdir(tmp_path)

    def run(*words: object) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main(["upgrade", "plan", *(str(word) for word in words)])
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


def test_missing_migrations_are_told_and_not_applied(gaia: Gaia, behind: str, tmp_path: Path) -> None:
    backup(tmp_path)
    before = sql(behind, "SELECT * FROM schema_migrations ORDER BY version")

    code, said, _ = gaia("--json")

    found = json.loads(said)
    assert (code, found["actions"], found["stored"]["fit"]) == (0, [], "behind")
    assert [row["version"] for row in found["stored"]["missing"]] == [NEWEST]
    assert [row["version"] for row in found["stored"]["applied"]] == list(range(1, NEWEST))
    assert all(row["seconds"] >= 0 for row in found["stored"]["applied"])
    assert sql(behind, "SELECT * FROM schema_migrations ORDER BY version") == before
    assert "the start applies 1 migration\n" in gaia()[1]
    assert gaia()[1].endswith("Nothing needs you before the start.\n")


def test_each_thing_that_needs_the_operator_is_numbered(
    gaia: Gaia, dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    migrate(dsn)
    sql(dsn, RUN)
    backup(tmp_path, age_s=50 * 3600)
    monkeypatch.setenv("GAIA_GONE", "1")

    code, said, _ = gaia()

    assert code == 1
    todo = said.partition("Before you start this release:\n")[2].splitlines()
    assert [line[:5] for line in todo] == ["  1. ", "  2. ", "  3. "]
    assert todo[0].startswith("  1. GAIA_GONE: is not a setting")
    assert "complete 2026-03-25T00Z: this release does not know the rules gaia-0.1" in todo[1]
    assert "The newest backup is 50 hours old. Make one with `gaia backup create`." in todo[2]
    assert "the schema is current; the start applies no migration" in said


def test_database_of_a_later_release_needs_the_operator(gaia: Gaia, dsn: str, tmp_path: Path) -> None:
    migrate(dsn)
    backup(tmp_path)
    sql(dsn, f"INSERT INTO schema_migrations (version, name, sha256) VALUES ({NEWEST + 1}, 'later', 'ab')")

    code, said, _ = gaia("--json")

    (sentence,) = json.loads(said)["actions"]
    assert code == 1
    assert "a later release has migrated the database" in sentence
    assert "gaia db rollback" in sentence


def test_empty_database_needs_no_backup(gaia: Gaia, dsn: str) -> None:
    code, said, _ = gaia()

    assert code == 0
    assert f"empty; the start makes its tables by {NEWEST} migrations" in said


def test_database_that_cannot_be_read_is_one_of_the_sentences(
    gaia: Gaia, monkeypatch: pytest.MonkeyPatch, dsn: str
) -> None:
    monkeypatch.setenv("GAIA_DATABASE_URL", dsn.replace("/upgrade_", "/absent_"))

    code, said, complaint = gaia("--json")

    found = json.loads(said)
    assert (code, complaint, found["stored"]) == (1, "", None)
    assert found["actions"][0].startswith("Let the database be read, and plan again: GAIA_DATABASE_URL: ")


def test_plan_is_made_beside_a_validator_that_writes(gaia: Gaia, dsn: str, tmp_path: Path) -> None:
    migrate(dsn)
    backup(tmp_path)
    sql(
        dsn,
        "UPDATE lease SET token = 7, name = 'first-machine:/data', expires_at = now() + interval '1 hour'",
    )

    async def beside() -> tuple[int, str, str]:
        writer = await asyncpg.connect(dsn)
        try:
            # A validator's open transaction, which a reader must neither wait for nor see.
            async with writer.transaction():
                await writer.execute(RUN)
                return await asyncio.to_thread(gaia, "--json")
        finally:
            await writer.close()

    code, said, _ = asyncio.run(beside())

    found = json.loads(said)
    assert (code, found["stored"]["open_runs"]) == (0, [])
    assert found["stored"]["holder"] == "first-machine:/data"
    assert "active     first-machine:/data writes to the database now" in gaia()[1]


def test_release_that_is_named_but_not_here_is_told(gaia: Gaia, dsn: str, tmp_path: Path) -> None:
    migrate(dsn)
    backup(tmp_path)

    code, said, _ = gaia("--from", "0.0.1")

    assert code == 0
    assert "before     0.0.1\n" in said
    assert "names      not compared: " in said
