"""A run whose database is in trouble ends as it would have without."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from structlog.testing import capture_logs

from gaia.tasks.defined_tasks.weather.forecasts.lifecycle import LIVING, Event, State
from gaia.validator.core.database_setup import run_comprehensive_database_setup
from gaia.validator.db import history, queries
from gaia.validator.db.connection import Database
from gaia.validator.db.statements import SQL
from gaia.validator.utils.errors import OwnFailure
from gaia.validator.utils.identities import RunId
from tests.support.story import INIT, Story
from tests.support.wires import Wire

TROUBLED = ("component_scores", "lead_scores", "score_table", "forecasts")
CHOSEN_BY_MINERS = re.compile(r"\b(manifest|signature|evidence)\b(?! =)")
MANIFEST_BYTES = 600_000
Outcomes = list[list[dict[str, Any]]]


@pytest.fixture
async def administrator(empty_dsn: str) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
    connection = await asyncpg.connect(empty_dsn)
    yield connection
    await connection.close()


@pytest.fixture
async def undisturbed(postgres_dsn: str, tmp_path: Path) -> Outcomes:
    """What a run comes to in a database of its own that never fails."""
    name = "undisturbed"
    owner = await asyncpg.connect(postgres_dsn)
    await owner.execute(f"DROP DATABASE IF EXISTS {name}")
    await owner.execute(f"CREATE DATABASE {name}")
    database = await a_database(postgres_dsn.replace("/postgres?", f"/{name}?"))
    story = Story(database, tmp_path / name)
    await story.until_idle()
    found = await outcomes(story)
    await database.close()
    await owner.execute(f"DROP DATABASE {name}")
    await owner.close()
    return found


async def a_database(dsn: str, timeout_s: float = 10.0) -> Database:
    database = await Database.connect(dsn, timeout_s=timeout_s, pool_size=4)
    await run_comprehensive_database_setup(database)
    return database


async def outcomes(story: Story) -> Outcomes:
    """Everything that is scored, and how each forecast ended."""
    return [
        await story.rows(statement)
        for statement in (
            "SELECT run_id, hotkey, state, reason FROM forecasts ORDER BY 1, 2",
            "SELECT run_id, hotkey, kind, lead_hours, score, reason FROM lead_scores ORDER BY 1, 2, 3, 4",
            "SELECT run_id, hotkey, kind, lead_hours, field, rmse FROM component_scores ORDER BY 1, 2, 3, 4, 5",
            "SELECT run_id, hotkey, rule_set, day1, leads, overall, counted FROM score_table ORDER BY 1, 2, 3",
        )
    ]


async def break_writes(administrator: asyncpg.Connection[asyncpg.Record], state: str, every: int) -> None:
    """Have the server answer each so-manieth write of a row with an error."""
    await administrator.execute(
        "CREATE SEQUENCE writes; CREATE FUNCTION trouble() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        f" IF nextval('writes') % {every} = 0 THEN RAISE EXCEPTION 'injected' USING ERRCODE = '{state}';"
        " END IF; RETURN NEW; END $$"
    )
    for table in TROUBLED[:3]:
        await administrator.execute(
            f"CREATE TRIGGER trouble BEFORE INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION trouble()"
        )


@pytest.mark.parametrize("state", ["40001", "40P01"])
async def test_writes_that_others_got_in_the_way_of_are_done_again_and_nobody_notices(
    database: Database,
    tmp_path: Path,
    administrator: asyncpg.Connection[asyncpg.Record],
    undisturbed: Outcomes,
    state: str,
) -> None:
    story = Story(database, tmp_path)
    await break_writes(administrator, state, every=13)

    with capture_logs() as logs:
        await story.until_idle()

    events = [entry["event"] for entry in logs]
    assert events.count("transaction_repeated") >= 2
    assert "step_failed" not in events
    assert await outcomes(story) == undisturbed


async def test_table_locked_for_longer_than_a_statement_may_take_is_waited_for(
    empty_dsn: str, tmp_path: Path, administrator: asyncpg.Connection[asyncpg.Record], undisturbed: Outcomes
) -> None:
    database = await a_database(empty_dsn, timeout_s=1.0)
    story = Story(database, tmp_path)
    first_lead_is_due = INIT + timedelta(hours=24, days=5) + timedelta(hours=6)
    await story.until(first_lead_is_due)
    lock = administrator.transaction()
    await lock.start()
    await administrator.execute("LOCK TABLE component_scores IN ACCESS EXCLUSIVE MODE")

    with capture_logs() as logs:
        try:
            await story.task.advance(story.clock.now())
        except OwnFailure as error:
            logs.append({"event": "tick_ended", "error": str(error)})
    locked = [entry for entry in logs if "no answer within 1 s" in entry.get("error", "")]
    await lock.rollback()
    await story.until_idle()

    assert locked
    assert await outcomes(story) == undisturbed
    await database.close()


async def test_scoring_that_meets_a_locked_table_raises_what_costs_nobody_an_attempt(
    empty_dsn: str, tmp_path: Path, administrator: asyncpg.Connection[asyncpg.Record]
) -> None:
    database = await a_database(empty_dsn, timeout_s=1.0)
    story = Story(database, tmp_path)
    await story.until(INIT.replace(hour=18, minute=5))
    async with database.transaction() as connection:
        forecast, *_ = await queries.due_forecasts(
            connection, RunId("2026-03-25T00Z"), LIVING, story.clock.now() + timedelta(days=1)
        )
    lock = administrator.transaction()
    await lock.start()
    await administrator.execute("LOCK TABLE forecasts IN ACCESS EXCLUSIVE MODE")

    book = story.task._book
    with pytest.raises(OwnFailure, match="GAIA_DATABASE_TIMEOUT_S"):
        await book.close(forecast, Event.MINER_FAILED, "no", story.clock.now())
    left_behind = await administrator.fetchval(
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    )
    await lock.rollback()
    await book.close(forecast, Event.MINER_FAILED, "no", story.clock.now())

    assert left_behind == 0
    assert (await story.rows("SELECT state FROM forecasts WHERE reason = 'no'")) == [{"state": "rejected"}]
    await database.close()


async def test_words_of_a_miner_that_no_database_stores_do_not_keep_it_from_being_rejected(
    database: Database, tmp_path: Path
) -> None:
    story = Story(database, tmp_path)
    await story.until(INIT.replace(hour=18, minute=5))
    async with database.transaction() as connection:
        forecast, *_ = await queries.due_forecasts(
            connection, RunId("2026-03-25T00Z"), LIVING, story.clock.now() + timedelta(days=1)
        )

    await story.task._book.close(
        forecast,
        Event.MINER_FAILED,
        "refused: \x00\ud800" + "x" * 10**6,
        story.clock.now(),
        {"diagnosis": ["\x00" * 10**6, "\udfff", float("nan")]},
    )

    row, *_ = await story.rows(
        "SELECT state, length(reason) AS reason, length(evidence::text) AS evidence FROM forecasts"
        " WHERE reason IS NOT NULL"
    )
    assert row["state"] == "rejected"
    assert row["reason"] < 3_000
    assert row["evidence"] < 10_000


async def test_idle_tick_reads_nothing_whose_size_a_miner_chose(empty_dsn: str, tmp_path: Path) -> None:
    async with Wire(empty_dsn) as wire:
        database = await a_database(wire.dsn)
        story = Story(database, tmp_path)
        for miner in story.miners:
            miner.manifest += b" " * (MANIFEST_BYTES - len(miner.manifest))
        await story.until(INIT + timedelta(days=1))
        before = wire.from_server

        await story.task.advance(story.clock.now())

        assert [row["state"] for row in await story.rows("SELECT state FROM forecasts")] == [
            "scored_day1"
        ] * 3
        assert wire.from_server - before < 20_000
        await database.close()


def test_only_statements_that_ask_for_it_by_name_return_what_miners_chose_the_size_of() -> None:
    selecting = {
        name
        for name, text in SQL.items()
        if text.startswith("SELECT") and CHOSEN_BY_MINERS.search(re.split(r"\sFROM\s", text)[0])
    }

    # An incident's evidence is cut to some hundred letters, and each party has one that is open.
    assert selecting == {"manifests", "signed_forecasts_of_runs", "open_incidents"}


async def test_runs_read_for_a_list_carry_no_manifest_and_those_for_a_replay_do(
    database: Database, tmp_path: Path
) -> None:
    story = Story(database, tmp_path)
    await story.until_idle()

    async with database.transaction() as connection:
        listed, *_ = await history.stored_runs(connection, ["2026-03-25T00Z"])
        signed, *_ = await history.stored_runs(connection, ["2026-03-25T00Z"], with_manifests=True)

    assert [(row.manifest, row.signature) for row in listed.forecasts] == [(None, None)] * 3
    assert {row.manifest for row in signed.forecasts} == {miner.manifest for miner in story.miners}


async def test_one_look_says_which_runs_have_forecasts_that_are_due_in_which_states(
    database: Database, tmp_path: Path
) -> None:
    story = Story(database, tmp_path)
    story.miners[1].polls_until_ready = 10**6
    await story.until(INIT.replace(hour=18, minute=5))
    later = story.clock.now() + timedelta(days=1)

    async with database.transaction() as connection:
        due = await queries.due_states(connection, LIVING, later)
        early = await queries.due_states(connection, LIVING, INIT)
        chosen = await queries.due_states(connection, [State.REQUESTED], later)

    assert due == {"2026-03-25T00Z": {"requested", "scored_day1"}}
    assert early == {}
    assert chosen == {"2026-03-25T00Z": {"requested"}}
