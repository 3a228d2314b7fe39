"""The commands about backups, as an operator gives them: made, listed, verified, restored, removed."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import asyncpg
import pytest

from gaia.cli.__main__ import main
from gaia.validator.app.children.embedded_postgres import EmbeddedPostgres
from gaia.validator.db.backup.folders import ARCHIVE, MANIFEST
from gaia.validator.utils.errors import ExitCode
from tests.support.backups import ROWS
from tests.support.patience import patience
from tests.support.repository import ROOT
from tests.support.unguarded import UNGUARDED

Gaia = Callable[..., tuple[int, str, str]]
SPOIL = "UPDATE lead_scores SET score = 0"
BEST = "SELECT max(score) FROM lead_scores"


def sql(dsn: str, *statements: str) -> object:
    """Execute statements; return the value of the last one."""

    async def run() -> object:
        connection = await asyncpg.connect(dsn)
        try:
            return [await connection.fetchval(statement) for statement in statements][-1]
        finally:
            await connection.close()

    return asyncio.run(run())


@pytest.fixture
def dsn(postgres_dsn: str) -> str:
    """URL of an empty database, for tests that are not asynchronous."""
    name = f"backup_{id(object())}"
    sql(postgres_dsn, f"DROP DATABASE IF EXISTS {name} WITH (FORCE)", f"CREATE DATABASE {name}")
    return postgres_dsn.replace("/postgres?", f"/{name}?")


@pytest.fixture
def gaia(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Gaia:
    """Run a command as an operator would; return (exit code, standard output, standard error)."""
    monkeypatch.setenv("GAIA_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("GAIA_DATABASE_TIMEOUT_S", str(patience(20)))
    monkeypatch.chdir(tmp_path)

    def run(*words: object) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main([str(word) for word in words])
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


@pytest.fixture
def filled(gaia: Gaia, dsn: str, monkeypatch: pytest.MonkeyPatch) -> Gaia:
    """The commands, on a database with one run of twenty miners."""
    monkeypatch.setenv("GAIA_DATABASE_URL", dsn)
    assert gaia("db", "migrate")[0] == ExitCode.OK
    sql(dsn, *ROWS)
    return gaia


def made(gaia: Gaia) -> str:
    code, said, _ = gaia("backup", "create", "--json")
    assert code == ExitCode.OK
    name: str = json.loads(said)["name"]
    return name


def test_restore_brings_back_what_was_saved_and_keeps_what_it_replaces(filled: Gaia, dsn: str) -> None:
    best = sql(dsn, BEST)
    name = made(filled)
    sql(dsn, UNGUARDED, SPOIL)

    assert filled("backup", "restore", name) == (
        0,
        f"{name} would replace database {dsn.split('/')[3].split('?', maxsplit=1)[0]}; add --yes\n",
        "",
    )
    assert sql(dsn, BEST) == 0

    code, said, _ = filled("backup", "restore", "last", "--yes", "--json")

    done = json.loads(said)
    assert (code, done["done"], sql(dsn, BEST)) == (0, True, best)
    replaced = done["replaced"]
    assert sql(dsn.replace(done["database"], replaced), BEST) == 0
    assert [each["name"] for each in json.loads(filled("backup", "list", "--json")[1])["replaced"]] == [
        replaced
    ]
    assert filled("backup", "discard", replaced, "--yes")[1] == f"{replaced}: removed\n"
    assert json.loads(filled("backup", "list", "--json")[1])["replaced"] == []


def test_verify_restores_compares_and_leaves_the_database_alone(filled: Gaia, dsn: str) -> None:
    name = made(filled)
    sql(dsn, UNGUARDED, SPOIL)

    code, said, _ = filled("backup", "verify", "--json")

    found = json.loads(said)
    assert (found["name"], found["is_whole"], code) == (name, True, 0), said
    assert found["rows"] > 40
    assert sql(dsn, BEST) == 0
    assert sql(dsn, "SELECT count(*) FROM pg_database WHERE datname LIKE 'gaia_scratch_%'") == 0


def test_verify_finds_what_the_validator_would_not_have_written(filled: Gaia, dsn: str) -> None:
    sql(dsn, UNGUARDED, "UPDATE forecasts SET manifest_sha256 = 'of another' WHERE uid = 3")
    made(filled)

    code, said, _ = filled("backup", "verify")

    assert code == 1
    assert "a frozen manifest has another digest than the one stored with it: 1 row" in said


def test_damaged_backup_is_neither_verified_nor_restored(filled: Gaia, dsn: str, tmp_path: Path) -> None:
    name = made(filled)
    archive = tmp_path / "backups" / name / ARCHIVE
    content = bytearray(archive.read_bytes())
    content[len(content) // 2] ^= 1
    archive.write_bytes(content)

    for words in (("verify",), ("restore", name, "--yes")):
        code, _, problem = filled("backup", *words)
        assert (code, problem) == (1, f"the archive of {name} is damaged; take an earlier backup.\n")
    assert sql(dsn, BEST) is not None


def test_archive_that_is_not_what_the_manifest_says_is_not_restored(
    filled: Gaia, dsn: str, tmp_path: Path
) -> None:
    name = made(filled)
    path = tmp_path / "backups" / name / MANIFEST
    manifest = json.loads(path.read_text())
    manifest["tables"]["forecasts"]["digest"] = "7"
    path.write_text(json.dumps(manifest))
    before = sql(dsn, "SELECT oid FROM pg_database WHERE datname = current_database()")

    code, _, problem = filled("backup", "restore", name, "--yes")

    assert code == 1
    assert "table forecasts has as many rows as were saved, and other values" in problem
    assert sql(dsn, "SELECT oid FROM pg_database WHERE datname = current_database()") == before


def test_database_in_use_is_not_replaced(filled: Gaia, dsn: str) -> None:
    name = made(filled)

    async def with_session(application: str) -> tuple[int, str, str]:
        connection = await asyncpg.connect(dsn, server_settings={"application_name": application})
        try:
            return await asyncio.to_thread(filled, "backup", "restore", name, "--yes")
        finally:
            await connection.close()

    code, _, problem = asyncio.run(with_session("gaia-validator"))
    assert (code, "a validator uses the database (sessions " in problem) == (1, True)
    code, _, problem = asyncio.run(with_session("psql"))
    assert (code, "another program uses database " in problem) == (1, True)
    assert sql(dsn, "SELECT count(*) FROM pg_database WHERE datname LIKE 'gaia_scratch_%'") == 0


def test_empty_database_has_nothing_to_save(
    gaia: Gaia, dsn: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("GAIA_DATABASE_URL", dsn)

    code, _, problem = gaia("backup", "create")

    assert (code, problem) == (
        1,
        "the database holds no tables of the validator, so there is nothing to save.\n",
    )
    assert list((tmp_path / "backups").iterdir()) == []


def test_answer_for_programs_holds_no_line_of_the_log(filled: Gaia, tmp_path: Path) -> None:
    # In a process of its own, because the tests of this one have a log already.
    command = [sys.executable, "-m", "gaia.cli", "backup", "create", "--json"]

    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=patience(60))

    assert (tmp_path / "backups" / json.loads(done.stdout)["name"]).is_dir()
    assert "backup_made" in done.stderr


def test_unknown_names_say_what_there_is(filled: Gaia) -> None:
    assert filled("backup", "verify", "yesterday")[2].startswith("no backup is called yesterday; ")
    name = made(filled)
    assert filled("backup", "restore", "yesterday")[2] == (
        f"no backup is called yesterday; the newest is {name}.\n"
    )
    assert filled("backup", "discard", "yesterday")[2] == (
        "neither a backup nor a replaced database is called yesterday; see `gaia backup list`.\n"
    )
    assert filled("backup", "discard", name)[1] == f"{name}: would be removed; add --yes\n"
    assert filled("backup", "discard", name, "--yes")[1] == f"{name}: removed\n"
    assert filled("backup", "verify")[0] == 1


def test_embedded_database_is_restored_on_a_machine_that_has_none(
    gaia: Gaia, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    EmbeddedPostgres(tmp_path).prepare()
    assert gaia("db", "migrate")[0] == 0
    name = made(gaia)
    other = tmp_path / "other"
    other.mkdir()
    (tmp_path / "backups").rename(other / "backups")
    monkeypatch.setenv("GAIA_DATA_DIR", str(other))

    code, said, _ = gaia("backup", "restore", name, "--yes")

    assert (code, said.splitlines()[0]) == (0, f"{name} is restored as database postgres")
    assert json.loads(gaia("db", "status", "--json")[1])["fit"] == "current"
    assert gaia("backup", "verify")[0] == 0
