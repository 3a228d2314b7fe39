"""What is removed once it is old, what stays, and how the large table goes from one part to many and back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from structlog.testing import capture_logs

from gaia.validator.core.background.retention import MOST_LOG_BYTES, Retention
from gaia.validator.core.database_setup import find_drift, run_comprehensive_database_setup
from gaia.validator.db.connection import Database
from gaia.validator.db.failures import Conflict, StatementRefused
from gaia.validator.db.retention import month_of, remove_manifests
from gaia.validator.db.schema.files import read_migrations
from gaia.validator.db.schema.migrating import Migrator
from gaia.validator.utils.identities import RunId
from gaia.validator.utils.settings.files import FilesSettings
from gaia.validator.utils.settings.weights import WeightsSettings
from tests.support.fakes import FakeClock
from tests.support.patience import patience

FIRST = datetime(2026, 1, 15, tzinfo=UTC)
DAYS_TO_COMPLETE = 15
PLAIN = 15
"""The newest migration with all scores of fields in one table."""


async def put_run(database: Database, init_time: datetime, state: str = "completed") -> RunId:
    """Store a run of two miners, with a manifest and a score of a field each."""
    run_id = RunId(f"{init_time:%Y-%m-%dT%HZ}")
    moment = [run_id, init_time]
    async with database.transaction() as connection:
        await connection.execute(
            "INSERT INTO runs (run_id, init_time, rule_set, opened_at) VALUES ($1, $2, 'gaia-2.9', $2)",
            *moment,
        )
        await connection.execute(
            "INSERT INTO forecasts (run_id, hotkey, uid, registered_at, state, opened_at, next_at, changed_at,"
            " manifest, signature, manifest_sha256) SELECT $1, '5Miner' || uid, uid, 0, 'scored', $2, $2, $2, 'ab', 'cd',"
            " encode(sha256('ab'), 'hex') FROM generate_series(1, 2) AS uid",
            *moment,
        )
        await connection.execute(
            "INSERT INTO component_scores (run_id, hotkey, rule_set, kind, field, lead_hours, rmse, mse, mae, bias,"
            " forecast_digest, truth_digest, scored_at) SELECT $1, '5Miner' || uid, 'gaia-2.9', 'final', '2t', 24, uid, 1,"
            " 1, 0, 'd', 't', $2 FROM generate_series(1, 2) AS uid",
            *moment,
        )
        if state == "completed":
            await connection.execute(
                "UPDATE runs SET state = 'completed', completed_at = $2 WHERE run_id = $1",
                run_id,
                init_time + timedelta(days=DAYS_TO_COMPLETE),
            )
    return run_id


async def fetch(database: Database, query: str) -> list[asyncpg.Record]:
    async with database.reading() as connection:
        return list(await connection.fetch(query))


async def runs_with_scores(database: Database) -> list[str]:
    return [
        row["run_id"]
        for row in await fetch(database, "SELECT DISTINCT run_id FROM component_scores ORDER BY 1")
    ]


async def months(database: Database) -> list[str | None]:
    """The month after each part but the first, whose end depends on the day of the test."""
    rows = await fetch(
        database, "SELECT part, month_after FROM component_scores_parts() ORDER BY month_after"
    )
    return [row["month_after"] for row in rows if row["part"] != "component_scores_before"]


async def clean(database: Database, now: datetime) -> None:
    """Do the job at a moment at which a run was opened."""
    async with database.transaction() as connection:
        await connection.execute(
            "INSERT INTO runs (run_id, init_time, rule_set, opened_at, state, completed_at)"
            " VALUES ($1, $2, 'gaia-2.9', $2, 'completed', $2) ON CONFLICT DO NOTHING",
            f"{now:%Y-%m-%dT%HZ}",
            now,
        )
    await retention(database, now).remove_old_data()


def retention(database: Database, now: datetime, data_dir: Path = Path("/nowhere")) -> Retention:
    return Retention(FilesSettings(data_dir=data_dir), WeightsSettings(), database, FakeClock(now))


async def end_of_first(database: Database) -> datetime:
    """The moment at which the first part ends."""
    (first,) = await fetch(
        database, "SELECT month_after FROM component_scores_parts() WHERE part = 'component_scores_before'"
    )
    return datetime.strptime(first["month_after"], "%Y-%m").replace(tzinfo=UTC)


async def test_parts_are_made_ahead_and_rows_go_into_their_month(database: Database) -> None:
    begin = await end_of_first(database)
    await retention(database, begin).remove_old_data()

    assert await months(database) == [month_of(begin, 1), month_of(begin, 2), month_of(begin, 3), None]
    await put_run(database, begin + timedelta(days=40))
    (row,) = await fetch(
        database, "SELECT tableoid::regclass::text AS part, count(*) AS rows FROM component_scores GROUP BY 1"
    )
    assert (row["part"], row["rows"]) == (f"component_scores_{month_of(begin, 1).replace('-', '_')}", 2)
    assert not await find_drift(database)


async def test_scores_and_manifests_of_old_runs_are_removed_and_their_totals_stay(database: Database) -> None:
    begin = await end_of_first(database)
    await clean(database, begin)
    old = await put_run(database, begin - timedelta(days=20))
    middle = await put_run(database, begin + timedelta(days=20))
    young = await put_run(database, begin + timedelta(days=50))

    with capture_logs() as lines:
        await clean(database, begin + timedelta(days=100))

    assert await runs_with_scores(database) == [middle, young]
    (line,) = [line for line in lines if line["event"] == "old_data_removed"]
    assert (line["months_removed"], line["runs_without_manifests"]) == (["component_scores_before"], 3)
    rows = await fetch(
        database, "SELECT run_id, manifest, signature, manifest_sha256 FROM forecasts ORDER BY run_id"
    )
    assert {row["run_id"] for row in rows} == {old, middle, young}
    assert all(row["manifest"] is row["signature"] is None for row in rows)
    assert all(row["manifest_sha256"] for row in rows)
    assert len(await fetch(database, "SELECT FROM score_table")) == 0
    assert len(await fetch(database, "SELECT FROM forecasts")) == 6


@pytest.mark.parametrize(
    ("settings", "weights", "days"),
    [
        ({}, {}, 30),
        ({"keep_manifests_days": 20}, {}, 20),
        ({"keep_manifests_days": 5}, {}, 15),
        ({"keep_manifests_days": 5}, {"weights_window_days": 25}, 25),
        ({"keep_inputs_days": 15}, {}, 30),
        ({"keep_inputs_days": 50}, {}, 50 + DAYS_TO_COMPLETE),
    ],
)
async def test_manifests_stay_as_long_as_chunks_and_weights_may_need_them(
    database: Database, settings: dict[str, Any], weights: dict[str, Any], days: int
) -> None:
    begin = await end_of_first(database)
    old = await put_run(database, begin)
    now = begin + timedelta(days=days, hours=1)
    young = await put_run(database, now - timedelta(days=days))
    newest = await put_run(database, now, "open")
    keeper = Retention(FilesSettings(**settings), WeightsSettings(**weights), database, FakeClock(now))

    await keeper.remove_old_data()

    rows = await fetch(
        database, "SELECT DISTINCT run_id FROM forecasts WHERE manifest IS NOT NULL ORDER BY 1"
    )
    assert [row["run_id"] for row in rows] == [young, newest]
    assert await runs_with_scores(database) == [old, young, newest]


async def test_month_with_an_open_run_stays(database: Database) -> None:
    begin = await end_of_first(database)
    await clean(database, begin)
    living = await put_run(database, begin - timedelta(days=20), "open")

    await clean(database, begin + timedelta(days=400))

    assert await runs_with_scores(database) == [living]
    assert len(await fetch(database, "SELECT FROM forecasts WHERE manifest IS NOT NULL")) == 2


async def test_rows_before_their_month_was_made_get_a_part_that_can_be_removed(database: Database) -> None:
    begin = await end_of_first(database)
    early = await put_run(database, begin + timedelta(days=70))

    await clean(database, begin)

    assert await runs_with_scores(database) == [early]
    (row,) = await fetch(database, "SELECT DISTINCT tableoid::regclass::text AS part FROM component_scores")
    assert row["part"].startswith("component_scores_until_")
    await clean(database, begin + timedelta(days=300))
    assert await runs_with_scores(database) == []


async def test_upkeep_that_meets_a_long_reader_waits_for_a_moment_and_fails(
    database: Database, empty_dsn: str
) -> None:
    begin = await end_of_first(database)
    reader = await asyncpg.connect(empty_dsn)
    reading = reader.transaction()
    await reading.start()
    await reader.execute("LOCK TABLE forecasts IN ROW EXCLUSIVE MODE")
    upkeep = asyncio.create_task(retention(database, begin).remove_old_data())

    with pytest.raises(Conflict, match="lock timeout"):
        await upkeep

    await reading.rollback()
    await reader.close()
    await retention(database, begin).remove_old_data()


async def test_copies_of_matrices_go_after_two_windows_of_the_weights(database: Database) -> None:
    for days in (0, 1):
        run_id = await put_run(database, FIRST + timedelta(days=days))
        async with database.transaction() as connection:
            await connection.execute(
                "INSERT INTO gram_matrices (run_id, lead_hours, sha256, hotkeys, made_at, content)"
                " VALUES ($1, 24, 'ab', '[]', now(), 'numbers')",
                run_id,
            )

    await clean(database, FIRST + timedelta(days=30, hours=1))

    rows = await fetch(database, "SELECT content FROM gram_matrices ORDER BY run_id")
    assert [row["content"] for row in rows] == [None, b"numbers"]


@pytest.mark.parametrize(
    "change",
    [
        "manifest = 'other'",
        "manifest = NULL",
        "manifest = NULL, signature = NULL, manifest_sha256 = 'other'",
        "manifest_sha256 = NULL",
    ],
)
async def test_manifest_is_removed_whole_or_not_at_all(database: Database, change: str) -> None:
    await put_run(database, FIRST)

    with pytest.raises(StatementRefused, match="is kept as it was written"):
        async with database.transaction() as connection:
            await connection.execute(f"UPDATE forecasts SET {change}")


async def test_manifest_of_an_open_run_is_not_removed(database: Database) -> None:
    run_id = await put_run(database, FIRST, "open")

    with pytest.raises(StatementRefused, match="is kept as it was written"):
        async with database.transaction() as connection:
            await remove_manifests(connection, run_id)


async def test_manifest_that_was_removed_is_not_replaced(database: Database) -> None:
    run_id = await put_run(database, FIRST)
    async with database.transaction() as connection:
        await remove_manifests(connection, run_id)

    with pytest.raises(StatementRefused, match="is kept as it was written"):
        async with database.transaction() as connection:
            await connection.execute("UPDATE forecasts SET manifest = 'other', manifest_sha256 = 'other'")


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


async def test_removed_months_stay_away_in_an_earlier_release(plain: Database) -> None:
    await run_comprehensive_database_setup(plain)
    begin = await end_of_first(plain)
    await clean(plain, begin)
    young = await put_run(plain, begin + timedelta(days=1))
    await clean(plain, begin + timedelta(days=100))

    await Migrator(plain, patience(10)).roll_back(PLAIN)

    assert await runs_with_scores(plain) == [young]
    assert await fetch(plain, "SELECT FROM pg_proc WHERE proname LIKE 'component_scores%'") == []
    with pytest.raises(StatementRefused):
        async with plain.transaction() as connection:
            await connection.execute("DELETE FROM component_scores")


async def test_large_log_of_the_server_begins_anew(database: Database, tmp_path: Path) -> None:
    path = tmp_path / "postgres" / "postgres.log"
    path.parent.mkdir()
    with path.open("ab") as writer:
        writer.write(b"x" * (MOST_LOG_BYTES + 1))
        writer.flush()
        await retention(database, FIRST, tmp_path).remove_old_data()
        writer.write(b"after")
        writer.flush()

    assert path.read_bytes() == b"after"
    assert path.with_name("postgres.log.1").stat().st_size == MOST_LOG_BYTES


async def test_wrong_clock_removes_nothing_that_is_young(database: Database) -> None:
    begin = await end_of_first(database)
    young = await put_run(database, begin - timedelta(days=1))

    await retention(database, begin + timedelta(days=3650)).remove_old_data()

    assert await runs_with_scores(database) == [young]
    assert len(await fetch(database, "SELECT FROM forecasts WHERE manifest IS NOT NULL")) == 2


async def test_rows_of_a_month_whose_part_is_gone_stay_and_stop_nothing(database: Database) -> None:
    begin = await end_of_first(database)
    await put_run(database, begin + timedelta(days=130))
    await clean(database, begin + timedelta(days=130))
    late = await put_run(database, begin - timedelta(days=20))

    await clean(database, begin + timedelta(days=131))

    assert late in await runs_with_scores(database)


async def test_one_step_back_and_forward_again(plain: Database) -> None:
    await run_comprehensive_database_setup(plain)
    await Migrator(plain, patience(10)).roll_back(16)

    setup = await run_comprehensive_database_setup(plain)

    assert setup.applied[0].version == 17
    assert not await find_drift(plain)
