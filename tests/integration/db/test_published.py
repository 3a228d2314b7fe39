"""The rows behind the pages: those of completed runs are read once, those of open runs each time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from gaia.validator.db.connection import Database
from gaia.validator.db.published import NOTHING, Published, read_published
from gaia.validator.utils.identities import RunId
from tests.support.scored_run import record_scored_run
from tests.support.subnet import MINERS
from tests.support.unguarded import UNGUARDED_HERE

NOW = datetime(2026, 11, 28, tzinfo=UTC)
LEAD = (
    "INSERT INTO lead_scores (run_id, hotkey, rule_set, kind, lead_hours, score, scored_at)"
    " VALUES ($1, $2, 'gaia-2.9', 'final', $3, 0.5, now())"
)
FIELD = (
    "INSERT INTO component_scores (run_id, hotkey, rule_set, kind, field, lead_hours, rmse, mse, mae, bias,"
    " forecast_digest, truth_digest, scored_at)"
    " VALUES ($1, $2, 'gaia-2.9', 'final', '2t', 24, 1, 1, 1, 1, 'x', 'x', now())"
)


async def open_a_run(database: Database) -> None:
    """Store an open run of one miner beside the completed run `r`."""
    async with database.transaction() as connection:
        await connection.execute(
            "INSERT INTO runs (run_id, init_time, rule_set, opened_at) VALUES ('open', $1, 'gaia-2.9', $1)",
            NOW,
        )
        await connection.execute(
            "INSERT INTO forecasts (run_id, hotkey, uid, registered_at, opened_at, next_at, changed_at, state,"
            " manifest) VALUES ('open', $1, 1, 0, $2, $2, $2, 'scored_day1', '')",
            MINERS[0],
            NOW,
        )


async def execute(database: Database, statement: str, *values: object) -> None:
    async with database.transaction() as connection:
        await connection.execute(UNGUARDED_HERE)
        await connection.execute(statement, *values)


async def published(database: Database, known: Published = NOTHING) -> Published:
    async with database.transaction() as connection:
        return await read_published(connection, known=known)


async def test_rows_of_a_completed_run_are_taken_from_the_earlier_reading(database: Database) -> None:
    await record_scored_run(database, NOW)
    await execute(database, LEAD, "r", MINERS[0], 24)
    await execute(database, FIELD, "r", MINERS[0])
    first = await published(database)
    for change in (
        "component_scores SET rmse = 9",
        "lead_scores SET score = 0.9",
        "score_table SET overall = 0.9",
        "forecasts SET uid = uid + 8",
    ):
        await execute(database, f"UPDATE {change}")

    again = await published(database, first)
    whole = await published(database)

    rows, new = first.rows[RunId("r")], whole.rows[RunId("r")]
    assert (len(rows.forecasts), len(rows.leads), len(rows.scores), len(first.fields)) == (2, 1, 2, 1)
    assert again == first
    assert again.rows[RunId("r")] is rows
    assert {row.uid for row in new.forecasts} == {9, 10}
    assert {row.score for row in new.leads} == {row.overall for row in new.scores} == {0.9}
    assert {row.rmse for row in whole.fields} == {9}


async def test_rows_of_an_open_run_are_read_again_also_once_it_is_completed(database: Database) -> None:
    await record_scored_run(database, NOW)
    await open_a_run(database)
    first = await published(database)

    await execute(database, LEAD, "open", MINERS[0], 24)
    second = await published(database, first)
    await execute(database, LEAD, "open", MINERS[0], 48)
    for state in ("scored_day1", "scored"):
        await execute(database, f"UPDATE forecasts SET state = '{state}' WHERE run_id = 'open'")
    await execute(
        database, "UPDATE runs SET state = 'completed', completed_at = $1 WHERE run_id = 'open'", NOW
    )
    third = await published(database, second)

    assert [
        [lead.lead_hours for lead in each.rows[RunId("open")].leads] for each in (first, second, third)
    ] == [
        [],
        [24],
        [24, 48],
    ]
    assert [row.state for row in third.rows[RunId("open")].forecasts] == ["scored"]
    assert third == await published(database)


async def test_run_that_is_no_longer_among_the_newest_leaves_no_rows(database: Database) -> None:
    await record_scored_run(database, NOW - timedelta(days=2))
    await open_a_run(database)
    first = await published(database)

    async with database.transaction() as connection:
        newest = await read_published(connection, 1, first)

    assert set(first.rows) == {"r", "open"}
    assert set(newest.rows) == {"open"}
    assert newest.earlier_runs == 1
