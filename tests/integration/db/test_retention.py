"""What is removed once it is old, and what stays."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from structlog.testing import capture_logs

from gaia.validator.core.background.retention import MOST_LOG_BYTES, Retention
from gaia.validator.core.database_setup import find_drift
from gaia.validator.db.connection import Database
from gaia.validator.db.failures import Conflict, StatementRefused
from gaia.validator.db.retention import day_of, remove_manifests
from gaia.validator.utils.settings.files import FilesSettings
from gaia.validator.utils.settings.weights import WeightsSettings
from tests.support.aged import (
    DAYS_TO_COMPLETE,
    FIRST,
    begin_at,
    clean,
    ends,
    fetch,
    put_run,
    retention,
    runs_with_scores,
)
from tests.support.fakes import FakeClock


async def test_parts_are_made_ahead_and_rows_go_into_their_day(database: Database) -> None:
    begin = await begin_at(database)

    assert await ends(database) == [*(day_of(begin + timedelta(days=day)) for day in range(15)), None]
    await put_run(database, begin + timedelta(days=5))
    (row,) = await fetch(
        database, "SELECT tableoid::regclass::text AS part, count(*) AS rows FROM component_scores GROUP BY 1"
    )
    assert (row["part"], row["rows"]) == ("component_scores_2026_04_15", 2)
    assert not await find_drift(database)


async def test_scores_and_manifests_of_old_runs_are_removed_and_their_totals_stay(database: Database) -> None:
    begin = await begin_at(database)
    await clean(database, begin)
    old = await put_run(database, begin - timedelta(days=20))
    middle = await put_run(database, begin + timedelta(days=20))
    young = await put_run(database, begin + timedelta(days=50))

    with capture_logs() as lines:
        await clean(database, begin + timedelta(days=100))

    assert await runs_with_scores(database) == [middle, young]
    (line,) = [line for line in lines if line["event"] == "old_data_removed"]
    days = [f"component_scores_2026_04_{day}" for day in range(10, 20)]
    assert line["parts_removed"] == ["component_scores_before", *days]
    assert line["runs_without_manifests"] == 3
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
    begin = await begin_at(database)
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


async def test_days_of_a_long_pause_share_a_part(database: Database) -> None:
    begin = await begin_at(database)
    await clean(database, begin + timedelta(days=1000))

    passed = [end for end in await ends(database) if end and end > day_of(begin + timedelta(days=14))]
    assert passed == [day_of(begin + timedelta(days=1000 + day)) for day in range(15)]


async def test_day_with_an_open_run_stays(database: Database) -> None:
    begin = await begin_at(database)
    await clean(database, begin)
    living = await put_run(database, begin - timedelta(days=20), "open")

    await clean(database, begin + timedelta(days=400))

    assert await runs_with_scores(database) == [living]
    assert len(await fetch(database, "SELECT FROM forecasts WHERE manifest IS NOT NULL")) == 2


async def test_rows_before_their_day_was_made_get_a_part_that_can_be_removed(database: Database) -> None:
    begin = await begin_at(database)
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
    begin = await begin_at(database)
    reader = await asyncpg.connect(empty_dsn)
    reading = reader.transaction()
    await reading.start()
    await reader.execute("LOCK TABLE forecasts IN ROW EXCLUSIVE MODE")
    later = begin + timedelta(days=3)
    upkeep = asyncio.create_task(retention(database, later).remove_old_data())

    with pytest.raises(Conflict, match="lock timeout"):
        await upkeep

    await reading.rollback()
    await reader.close()
    await retention(database, later).remove_old_data()
    assert day_of(later + timedelta(days=14)) in await ends(database)


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
    begin = await begin_at(database)
    young = await put_run(database, begin - timedelta(days=1))

    await retention(database, begin + timedelta(days=3650)).remove_old_data()

    assert await runs_with_scores(database) == [young]
    assert len(await fetch(database, "SELECT FROM forecasts WHERE manifest IS NOT NULL")) == 2


async def test_rows_of_a_day_whose_part_is_gone_stay_and_stop_nothing(database: Database) -> None:
    begin = await begin_at(database)
    await put_run(database, begin + timedelta(days=130))
    await clean(database, begin + timedelta(days=130))
    late = await put_run(database, begin - timedelta(days=20))

    await clean(database, begin + timedelta(days=131))

    assert late in await runs_with_scores(database)
