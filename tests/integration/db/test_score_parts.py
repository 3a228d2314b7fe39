"""How the table of scores goes from one part to months to days, and back."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from gaia.validator.core.database_setup import find_drift, run_comprehensive_database_setup
from gaia.validator.db.connection import Database
from gaia.validator.db.failures import StatementRefused
from gaia.validator.db.schema.files import read_migrations
from gaia.validator.db.schema.migrating import Migrator
from tests.support.aged import (
    BEGIN,
    FIRST,
    begin_at,
    clean,
    end_of_first,
    ends,
    fetch,
    put_run,
    retention,
    runs_with_scores,
)
from tests.support.patience import patience

PLAIN = 15
"""The newest migration with all scores of fields in one table."""
MONTHS = 19
"""The newest migration with a part for each month."""


@pytest.fixture
async def plain(empty_dsn: str) -> AsyncIterator[Database]:
    """A database of before the months, with scores of two runs."""
    database = await Database.connect(empty_dsn, timeout_s=patience(10), pool_size=4)
    await run_comprehensive_database_setup(database)
    await Migrator(database, patience(10)).roll_back(PLAIN)
    for days in (0, 40):
        await put_run(database, FIRST + timedelta(days=days))
    yield database
    await database.close()


async def test_scores_go_into_parts_and_back_unchanged(plain: Database) -> None:
    query = "SELECT * FROM component_scores ORDER BY run_id, hotkey"
    before = await fetch(plain, query)

    for _ in range(2):
        setup = await run_comprehensive_database_setup(plain)
        assert [step.version for step in setup.applied] == [
            migration.version for migration in read_migrations() if migration.version > PLAIN
        ]
        assert await fetch(plain, query) == before
        begin = await end_of_first(plain)
        await retention(plain, begin - timedelta(days=1)).remove_old_data()
        await Migrator(plain, patience(10)).roll_back(PLAIN)
        assert await fetch(plain, query) == before
    (row,) = await fetch(plain, "SELECT relkind::text FROM pg_class WHERE relname = 'component_scores'")
    assert row["relkind"] == "r"


async def test_days_become_months_in_the_release_before_and_days_again(database: Database) -> None:
    begin = await begin_at(database)
    await put_run(database, begin - timedelta(days=20))
    for days in range(0, 80, 4):
        await clean(database, begin + timedelta(days=days))
        await put_run(database, begin + timedelta(days=days, hours=6))
    query = "SELECT * FROM component_scores ORDER BY run_id, hotkey"
    before = await fetch(database, query)

    assert len(await ends(database)) > 80
    for _ in range(2):
        await Migrator(database, patience(10)).roll_back(MONTHS)
        assert await fetch(database, query) == before
        rows = await fetch(database, "SELECT * FROM component_scores_parts() ORDER BY month_after")
        assert [tuple(row) for row in rows] == [
            ("component_scores_before", "2026-05"),
            ("component_scores_2026_05", "2026-06"),
            ("component_scores_2026_06", "2026-07"),
            ("component_scores_2026_07", "2026-08"),
            ("component_scores_other", None),
        ]
        await run_comprehensive_database_setup(database)
        await retention(database, begin + timedelta(days=77)).remove_old_data()
        assert await fetch(database, query) == before
        assert not await find_drift(database)


async def test_rows_of_no_part_are_in_a_month_of_the_release_before(database: Database) -> None:
    first = await put_run(database, BEGIN)  # before the job was ever done
    await Migrator(database, patience(10)).roll_back(MONTHS)
    await run_comprehensive_database_setup(database)
    begin = await begin_at(database)
    later = await put_run(database, begin + timedelta(days=45))

    await Migrator(database, patience(10)).roll_back(MONTHS)

    rows = await fetch(
        database, "SELECT DISTINCT run_id, tableoid::regclass::text FROM component_scores ORDER BY run_id"
    )
    assert [row["run_id"] for row in rows] == [first, later]
    assert "component_scores_other" not in {row["tableoid"] for row in rows}


async def test_rows_beyond_the_parts_get_one_beside_rows_of_before_them(database: Database) -> None:
    begin = await begin_at(database)
    await clean(database, begin + timedelta(days=120))
    await clean(database, begin + timedelta(days=121))
    late = await put_run(database, begin - timedelta(days=20))
    early = await put_run(database, begin + timedelta(days=150))

    await clean(database, begin + timedelta(days=122))

    assert await runs_with_scores(database) == [late, early]
    rows = await fetch(database, "SELECT DISTINCT run_id, tableoid::regclass::text FROM component_scores")
    parts = {row["run_id"]: row["tableoid"] for row in rows}
    assert parts[late] == "component_scores_other"
    assert parts[early].startswith("component_scores_until_")


async def test_release_before_makes_months_where_no_part_is_left(database: Database) -> None:
    await Migrator(database, patience(10)).roll_back(MONTHS)

    async with database.transaction() as connection:
        assert await connection.fetchval("SELECT component_scores_make($1)", f"{datetime.now(UTC).year + 2}")
    await run_comprehensive_database_setup(database)
    assert await ends(database) == [None]


async def test_removed_days_stay_away_in_an_earlier_release(plain: Database) -> None:
    await run_comprehensive_database_setup(plain)
    begin = await end_of_first(plain)
    await clean(plain, begin)
    young = await put_run(plain, begin + timedelta(days=12))
    await clean(plain, begin + timedelta(days=100))

    await Migrator(plain, patience(10)).roll_back(PLAIN)

    assert await runs_with_scores(plain) == [young]
    assert await fetch(plain, "SELECT FROM pg_proc WHERE proname LIKE 'component_scores%'") == []
    with pytest.raises(StatementRefused):
        async with plain.transaction() as connection:
            await connection.execute("DELETE FROM component_scores")


async def test_one_step_back_and_forward_again(plain: Database) -> None:
    await run_comprehensive_database_setup(plain)
    await Migrator(plain, patience(10)).roll_back(16)

    setup = await run_comprehensive_database_setup(plain)

    assert setup.applied[0].version == 17
    assert not await find_drift(plain)
