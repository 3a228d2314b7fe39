"""A schema that does not fit, or that hands have changed, is found at the start and named."""

from __future__ import annotations

import asyncpg
import pytest
from generate.data.catalogue import render
from structlog.testing import capture_logs

from gaia.validator.core.database_setup import run_comprehensive_database_setup
from gaia.validator.db.connection import Database
from gaia.validator.db.schema.catalogue import EXPECTED
from gaia.validator.utils.errors import ConfigurationError, ExitCode
from tests.support.patience import patience


async def alter(dsn: str, *statements: str) -> None:
    connection = await asyncpg.connect(dsn)
    for statement in statements:
        await connection.execute(statement)
    await connection.close()


async def test_catalogue_in_the_repository_is_what_the_migrations_make(empty_dsn: str) -> None:
    assert await render(empty_dsn) == EXPECTED.read_text(), "run `python scripts/generate/data/catalogue.py`"


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        (
            "ALTER TABLE lead_scores DROP CONSTRAINT lead_scores_pkey",
            "lacks lead_scores: constraint lead_scores_pkey",
        ),
        ("ALTER TABLE forecasts DROP COLUMN evidence", "lacks forecasts: column evidence"),
        ("ALTER TABLE runs ALTER COLUMN rule_set DROP NOT NULL", "changed runs: column rule_set"),
        ("ALTER TABLE runs ADD COLUMN mine text NOT NULL DEFAULT ''", "added runs: column mine"),
        (
            "ALTER TABLE runs ADD CHECK (rule_set <> 'x') NOT VALID",
            "added runs: constraint runs_rule_set_check",
        ),
        ("DROP TABLE weight_inputs", "lacks weight_inputs: column content"),
        ("DROP INDEX incidents_open", "lacks incidents: unique index incidents_open"),
    ],
)
async def test_schema_changed_by_hand_is_one_sentence_that_names_what(
    database: Database, empty_dsn: str, statement: str, told: str
) -> None:
    await alter(empty_dsn, statement)

    with pytest.raises(ConfigurationError) as caught:
        await run_comprehensive_database_setup(database)

    assert caught.value.exit_code is ExitCode.DATABASE_MISFIT
    assert told in str(caught.value)


async def test_what_others_add_without_harm_is_left_alone(database: Database, empty_dsn: str) -> None:
    await alter(empty_dsn, "CREATE TABLE of_mine (a integer)", "CREATE INDEX of_mine_too ON runs (rule_set)")

    setup = await run_comprehensive_database_setup(database)

    assert (setup.applied, setup.slow) == ([], ())


async def test_missing_index_is_told_and_stops_nothing(database: Database, empty_dsn: str) -> None:
    await alter(empty_dsn, "DROP INDEX forecasts_by_state")

    with capture_logs() as lines:
        setup = await run_comprehensive_database_setup(database)

    assert setup.slow == ("forecasts: index forecasts_by_state",)
    (line,) = [line for line in lines if line["event"] == "schema_lacks_indexes"]
    assert (line["log_level"], line["indexes"]) == ("error", ["forecasts: index forecasts_by_state"])


@pytest.mark.parametrize(
    ("statements", "told"),
    [
        (
            ["INSERT INTO schema_migrations SELECT max(version) + 1, 'later', 'ab' FROM schema_migrations"],
            "a later release has migrated the database",
        ),
        (
            ["DELETE FROM schema_migrations WHERE version = 3"],
            "the record of migrations is damaged: it lacks 3",
        ),
        (
            ["DELETE FROM schema_migrations WHERE version >= 13"],
            "does not fit",
        ),
        (["DELETE FROM schema_migrations"], "the record of migrations is damaged"),
        (["UPDATE schema_migrations SET sha256 = 'ab' WHERE version = 2"], "migration 2 in a form"),
        (["DROP TABLE schema_migrations"], "tables that this program did not make, such as"),
        (
            ["DROP TABLE schema_migrations", "CREATE TABLE weather_miner_responses (id integer)"],
            "a database of the original validator",
        ),
    ],
)
async def test_database_that_does_not_fit_is_refused_and_left_as_it_is(
    database: Database, empty_dsn: str, statements: list[str], told: str
) -> None:
    await alter(empty_dsn, *statements)
    before = await record(empty_dsn)

    with pytest.raises(ConfigurationError) as caught:
        await run_comprehensive_database_setup(database, patience_s=patience(10))

    assert caught.value.exit_code is ExitCode.DATABASE_MISFIT
    assert told in str(caught.value)
    assert await record(empty_dsn) == before


async def record(dsn: str) -> list[tuple[int, str]] | None:
    connection = await asyncpg.connect(dsn)
    try:
        if await connection.fetchval("SELECT to_regclass('schema_migrations') IS NULL"):
            return None
        return [tuple(row) for row in await connection.fetch("SELECT version, sha256 FROM schema_migrations")]
    finally:
        await connection.close()
