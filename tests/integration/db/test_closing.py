"""A database that is closed lets what is under way end, and refuses everybody else."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest

from gaia.validator.db.connection import Database
from gaia.validator.utils.errors import OwnFailure
from tests.support.places import PATIENCE_S, SHORT_S, long_statement


async def test_closed_database_refuses_at_once(empty_dsn: str) -> None:
    database = await Database.connect(empty_dsn, timeout_s=SHORT_S, pool_size=2)
    await database.close()

    with pytest.raises(OwnFailure, match="closed"):
        async with database.transaction():
            pass


async def test_those_who_wait_while_the_connections_are_closed_are_told(empty_dsn: str) -> None:
    database = await Database.connect(empty_dsn, timeout_s=PATIENCE_S, pool_size=1)
    entered, leave = asyncio.Event(), asyncio.Event()

    async def hold() -> None:
        async with database.transaction():
            entered.set()
            await leave.wait()

    async def want() -> None:
        async with database.transaction():
            pass

    holding = asyncio.create_task(hold())
    await entered.wait()
    wanting = asyncio.create_task(want())
    await asyncio.sleep(0)
    closing = asyncio.create_task(database.close())
    await asyncio.sleep(0)
    leave.set()
    await asyncio.gather(holding, closing)

    with pytest.raises(OwnFailure, match="closed"):
        await wanting


async def test_closing_waits_for_a_transaction_under_way_and_ends_one_that_hangs(
    empty_dsn: str, administrator: asyncpg.Connection[asyncpg.Record]
) -> None:
    database = await Database.connect(empty_dsn, timeout_s=SHORT_S, pool_size=2)
    started = asyncio.Event()

    async def write() -> None:
        async with database.transaction() as connection:
            started.set()
            await connection.execute("SELECT pg_sleep(0.2)")
            await connection.execute("INSERT INTO written VALUES (1)")

    writing = asyncio.create_task(write())
    await started.wait()
    hanging = asyncio.create_task(long_statement(database))
    await asyncio.sleep(0.05)
    await database.close()

    await writing
    with pytest.raises(OwnFailure):
        await hanging
    assert await administrator.fetchval("SELECT count(*) FROM written") == 1
