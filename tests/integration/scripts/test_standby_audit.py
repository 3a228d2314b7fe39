"""The triggers of the campaign with two validators notice each row that is written without the lease."""

from __future__ import annotations

from collections.abc import AsyncIterator

import asyncpg
import pytest
from campaigns.standby_faults import audit

from gaia.validator.core.database_setup import find_drift
from gaia.validator.db.connection import Database
from gaia.validator.db.statements import SQL

ROLES = ("campaign_one", "campaign_two")
WRITE = "INSERT INTO weight_inputs (sha256, content) VALUES ($1, '')"
TAKE = "UPDATE lease SET token = token + 1"
RENEW = "UPDATE lease SET expires_at = clock_timestamp()"


@pytest.fixture
async def sessions(database: Database, empty_dsn: str) -> AsyncIterator[list[audit.Connection]]:
    """A session of each of two validators, and one of ours, in a database with the triggers."""
    ours = await asyncpg.connect(empty_dsn, ssl=False)
    await audit.install(ours, ROLES)
    theirs = [await asyncpg.connect(empty_dsn, user=role, ssl=False) for role in ROLES]
    yield [*theirs, ours]
    for connection in theirs:
        await connection.close()
    for role in ROLES:
        await ours.execute(f"DROP ROLE {role}")
    await ours.close()


async def test_rows_of_the_holder_are_no_violation_also_beside_a_renewal(
    sessions: list[audit.Connection],
) -> None:
    one, renewing, ours = sessions
    await one.execute(TAKE)
    take = await audit.newest_take(ours)
    assert take is not None
    async with one.transaction():
        await one.fetchval(SQL["hold_lease"], take.token)
        await one.execute(WRITE, "first")
        await renewing.execute(RENEW)
        await one.execute(WRITE, "second")

    rows, lines = await audit.written(ours)

    assert (take.who, lines) == (ROLES[0], [])
    assert rows == {"rows": 2, "tables": 1, "under_old_token": 0, "without_lease": 0}


async def test_row_that_is_written_without_a_look_at_the_lease_is_noticed(
    sessions: list[audit.Connection],
) -> None:
    one, _, ours = sessions
    await one.execute(TAKE)
    await one.execute(WRITE, "a")

    rows, (line,) = await audit.written(ours)

    assert rows == {"rows": 1, "tables": 1, "under_old_token": 0, "without_lease": 1}
    assert "lease held: False" in line


async def test_rows_of_a_former_holder_are_noticed_also_if_it_lost_the_lease_before_its_commit(
    sessions: list[audit.Connection],
) -> None:
    one, two, ours = sessions
    await one.execute(TAKE)
    async with one.transaction():
        await one.execute(WRITE, "before")
        await two.execute(TAKE)
    await one.execute(WRITE, "after")

    rows, lines = await audit.written(ours)

    assert (rows["rows"], rows["under_old_token"], rows["without_lease"]) == (2, 2, 2)
    assert [f"by {ROLES[0]}" in line for line in lines] == [True, True]


async def test_the_validator_sees_nothing_of_the_triggers(
    sessions: list[audit.Connection], database: Database
) -> None:
    assert not await find_drift(database)
