"""The commands about the database: what it has, what it lacks, how it goes back, and whether it is whole."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import asyncpg
import pytest

from gaia.cli.__main__ import main
from gaia.cli.database.verifying import CHECKS
from gaia.validator.db.connection import Database
from gaia.validator.db.schema.files import read_migrations
from gaia.validator.utils.errors import ExitCode
from tests.support.patience import patience
from tests.support.unguarded import UNGUARDED

Gaia = Callable[..., tuple[int, str, str]]
RUN = "INSERT INTO runs (run_id, init_time, rule_set, opened_at) VALUES ('r', '2026-03-25', 'gaia-2.9', '2026-03-25')"
FORECAST = (
    "INSERT INTO forecasts (run_id, hotkey, uid, registered_at, state, opened_at, next_at, changed_at, manifest,"
    " manifest_sha256) VALUES ('r', '5Miner', 1, 0, 'scored', '2026-03-25', '2026-03-25', '2026-03-25', 'ab',"
    " encode(sha256('ab'), 'hex'))"
)
LEAD = (
    "INSERT INTO lead_scores (run_id, hotkey, rule_set, kind, lead_hours, score, scored_at)"
    " VALUES ('r', '5Miner', 'gaia-2.9', 'final', 24, 0.5, '2026-03-25')"
)
SCORE = (
    "INSERT INTO score_table (run_id, hotkey, rule_set, leads, overall, counted, updated_at)"
    " VALUES ('r', '5Miner', 'gaia-2.9', '{}', 0.5, true, '2026-03-25')"
)


def sql(dsn: str, *statements: str) -> None:
    async def run() -> None:
        connection = await asyncpg.connect(dsn)
        for statement in statements:
            await connection.execute(statement)
        await connection.close()

    asyncio.run(run())


@pytest.fixture
def dsn(postgres_dsn: str) -> str:
    """URL of an empty database, for tests that are not asynchronous."""
    name = f"cli_{Path(__file__).stem}_{id(object())}"
    sql(postgres_dsn, f"DROP DATABASE IF EXISTS {name} WITH (FORCE)", f"CREATE DATABASE {name}")
    return postgres_dsn.replace("/postgres?", f"/{name}?")


@pytest.fixture
def gaia(
    dsn: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Gaia:
    """Run a command as an operator would; return (exit code, standard output, standard error)."""
    monkeypatch.setenv("GAIA_DATABASE_URL", dsn)
    monkeypatch.setenv("GAIA_DATA_DIR", str(tmp_path))
    monkeypatch.chdir(tmp_path)

    def run(*words: object) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main(["db", *(str(word) for word in words)])
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


def test_status_of_an_empty_database_lists_what_is_missing(gaia: Gaia) -> None:
    code, said, _ = gaia("status", "--json")

    found = json.loads(said)
    assert (code, found["fit"], found["tables"]) == (ExitCode.OK, "empty", [])
    assert [row["name"] for row in found["migrations"]] == [each.name for each in read_migrations()]
    assert not any(row["is_applied"] for row in found["migrations"])


def test_migrate_applies_what_is_missing_once(gaia: Gaia) -> None:
    code, said, _ = gaia("migrate", "--json")
    assert (code, len(json.loads(said)["migrations"])) == (ExitCode.OK, len(read_migrations()))

    assert gaia("migrate")[1] == "There is nothing to do.\n"

    code, said, _ = gaia("status", "--json")
    found = json.loads(said)
    assert (code, found["fit"], found["drift"]) == (ExitCode.OK, "current", "")
    assert all(row["is_applied"] and row["seconds"] >= 0 for row in found["migrations"])
    assert {"runs", "forecasts"} < {row["table"] for row in found["tables"]}


def test_status_of_a_database_of_an_earlier_release_lists_what_it_has(gaia: Gaia, dsn: str) -> None:
    gaia("migrate")
    sql(dsn, "ALTER TABLE schema_migrations DROP COLUMN down, DROP COLUMN seconds")

    found = json.loads(gaia("status", "--json")[1])

    assert [row["name"] for row in found["migrations"]] == [each.name for each in read_migrations()]
    assert {(row["is_applied"], row["can_be_taken_back"]) for row in found["migrations"]} == {(True, False)}


def test_rollback_says_what_it_would_do_and_does_it_when_told(gaia: Gaia, dsn: str) -> None:
    gaia("migrate")
    newest = read_migrations()[-1].version + 1
    sql(
        dsn,
        f"INSERT INTO schema_migrations (version, name, sha256, down) VALUES ({newest}, 'later', 'ab', 'DROP TABLE x')",
        "CREATE TABLE x (a integer)",
    )
    code, said, _ = gaia("status")
    assert code == ExitCode.DATABASE_MISFIT
    assert "a later release has migrated the database" in said

    assert f"{newest:04} later: would be taken back; add --yes\n" == gaia("rollback", "--to", newest - 1)[1]
    assert gaia("status")[0] == ExitCode.DATABASE_MISFIT
    code, said, _ = gaia("rollback", "--to", newest - 1, "--yes")

    assert (code, said) == (ExitCode.OK, f"{newest:04} later: taken back\n")
    assert gaia("status")[0] == ExitCode.OK


def test_schema_is_not_changed_under_a_validator(gaia: Gaia, dsn: str) -> None:
    async def beside() -> None:
        database = await Database.connect(dsn, timeout_s=patience(10), pool_size=1)
        try:
            code, _, said = await asyncio.to_thread(gaia, "migrate")
            assert (code, said.partition(" (")[0]) == (1, "a validator uses the database")
            code, _, said = await asyncio.to_thread(gaia, "rollback", "--to", 0, "--yes")
            assert (code, said.partition(" (")[0]) == (1, "a validator uses the database")
        finally:
            await database.close()

    asyncio.run(beside())


def test_verify_finds_a_whole_database_whole(gaia: Gaia, dsn: str) -> None:
    gaia("migrate")
    sql(dsn, RUN, FORECAST, LEAD, SCORE)

    assert gaia("verify") == (0, f"The schema and what it holds are whole ({len(CHECKS)} checks).\n", "")


@pytest.mark.parametrize(
    ("statement", "check"),
    [
        ("UPDATE forecasts SET manifest_sha256 = 'ab'", "manifests"),
        ("DELETE FROM lead_scores", "lead_scores"),
        ("DELETE FROM score_table", "overall_scores"),
        ("UPDATE score_table SET overall = 'NaN'", "numbers"),
        ("INSERT INTO weight_inputs VALUES ('ab', 'content')", "weight_inputs"),
    ],
)
def test_verify_names_what_is_not_whole(gaia: Gaia, dsn: str, statement: str, check: str) -> None:
    gaia("migrate")
    component = (
        "INSERT INTO component_scores (run_id, hotkey, rule_set, kind, field, lead_hours, rmse, mse, mae, bias,"
        " forecast_digest, truth_digest, scored_at) VALUES ('r', '5Miner', 'gaia-2.9', 'final', '2t', 24, 1, 1, 1,"
        " 0, 'ab', 'cd', '2026-03-25')"
    )
    unchecked = "ALTER TABLE score_table DROP CONSTRAINT score_table_overall_check"
    sql(dsn, unchecked, RUN, FORECAST, LEAD, SCORE, component, UNGUARDED, statement)

    code, said, _ = gaia("verify", "--json")

    (violation,) = json.loads(said)["violations"]
    assert (code, violation["check"], violation["rows"]) == (1, check, 1)
    (what,) = [each.what for each in CHECKS if each.name == check]
    assert what in gaia("verify")[1]


def test_verify_lists_how_the_schema_was_changed(gaia: Gaia, dsn: str) -> None:
    gaia("migrate")
    sql(dsn, "DROP INDEX forecasts_by_state", "ALTER TABLE runs ADD COLUMN mine text")

    code, said, _ = gaia("verify")

    assert code == 1
    assert said.splitlines() == [
        "runs: column mine was added",
        "forecasts: index forecasts_by_state is missing or has another form; statements are slower",
    ]
