"""Connections are a bounded number of places: whatever goes wrong with one, its place comes back."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import suppress
from functools import partial
from typing import Any

import asyncpg
import pytest

from gaia.validator.db.connection import Database
from gaia.validator.utils.errors import OwnFailure
from tests.support.patience import patience
from tests.support.places import NEVER_S, PATIENCE_S, SHORT_S, SIZE, long_statement, wired
from tests.support.wires import Wire

Work = Callable[[Database], Coroutine[Any, Any, None]]


@pytest.fixture
async def places(
    empty_dsn: str, administrator: asyncpg.Connection[asyncpg.Record]
) -> AsyncIterator[Database]:
    """A pool of `SIZE`, on a database where commits take a moment."""
    database = await Database.connect(
        empty_dsn, timeout_s=PATIENCE_S, pool_size=SIZE, rebuild_after_s=NEVER_S
    )
    yield database
    await database.close()


async def places_that_come_back(database: Database) -> int:
    """How many transactions can be open at once."""
    reached, enough = 0, asyncio.Event()

    async def hold() -> None:
        nonlocal reached
        with suppress(OwnFailure):
            async with database.transaction() as connection:
                await connection.fetchval("SELECT 1")
                reached += 1
                if reached == SIZE:
                    enough.set()
                with suppress(TimeoutError):
                    await asyncio.wait_for(enough.wait(), 2 * PATIENCE_S)

    await asyncio.gather(*(hold() for _ in range(SIZE)))
    return reached


async def test_places_of_forty_killed_backends_all_come_back(
    places: Database, administrator: asyncpg.Connection[asyncpg.Record]
) -> None:
    killed, done = 0, asyncio.Event()
    escaped = []

    async def work(number: int) -> None:
        while not done.is_set():
            try:
                async with places.transaction() as connection:
                    await connection.execute("SELECT pg_sleep(0.005)")
                    await connection.execute(
                        "INSERT INTO written VALUES ($1) ON CONFLICT DO NOTHING", random.getrandbits(30)
                    )
            except OwnFailure:
                pass
            except Exception as error:  # noqa: BLE001 - which ones there are is the question
                escaped.append(error)

    workers = [asyncio.create_task(work(number)) for number in range(2 * SIZE)]
    async with asyncio.timeout(patience(120)):
        while killed < 40:
            killed += await administrator.fetchval(
                "SELECT count(pg_terminate_backend(pid)) FROM (SELECT pid FROM pg_stat_activity"
                " WHERE application_name = 'gaia-validator' AND state <> 'idle'"
                " AND datname = current_database() ORDER BY random() LIMIT 3) busy"
            )
            await asyncio.sleep(0.02)
    done.set()
    await asyncio.gather(*workers)

    assert escaped == []
    assert await places_that_come_back(places) == SIZE


async def test_backends_killed_in_the_middle_of_their_commits_cost_no_place(
    places: Database, administrator: asyncpg.Connection[asyncpg.Record]
) -> None:
    async def write(number: int) -> None:
        with suppress(OwnFailure):
            async with places.transaction() as connection:
                await connection.execute("INSERT INTO written VALUES ($1)", number)

    async def kill_committing() -> int:
        count: int = await administrator.fetchval(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
            " WHERE query = 'COMMIT;' AND state = 'active' AND datname = current_database()"
        )
        return count

    killed, number = 0, 0
    async with asyncio.timeout(patience(60)):
        while killed < 2 * SIZE:
            writers = [asyncio.create_task(write(number + each)) for each in range(SIZE)]
            number += SIZE
            while not all(writer.done() for writer in writers):
                killed += await kill_committing()
                await asyncio.sleep(0)
            await asyncio.gather(*writers)

    assert await places_that_come_back(places) == SIZE


async def test_wire_cut_after_any_number_of_bytes_costs_no_place_and_no_other_error(
    empty_dsn: str, administrator: asyncpg.Connection[asyncpg.Record]
) -> None:
    async def write(database: Database, key: int) -> None:
        async with database.transaction() as connection:
            await connection.execute("INSERT INTO written VALUES ($1) ON CONFLICT DO NOTHING", key)

    async with wired(empty_dsn) as (database, wire):
        await write(database, 0)
        # Far enough for a new connection, its codec, and a transaction.
        for length in range(1, 1_600, 37):
            wire.cut_at = wire.from_server + length
            while wire.cut_at is not None:
                with suppress(OwnFailure):
                    await write(database, length)
            for attempt in range(3):
                try:
                    await write(database, -length)
                    break
                except OwnFailure:
                    assert attempt < 2  # the cut may first show here

        assert database.connections() == (0, 1)


async def test_server_that_falls_silent_in_a_statement_holds_no_place(
    empty_dsn: str, administrator: asyncpg.Connection[asyncpg.Record]
) -> None:
    async def ask(database: Database, wire: Wire) -> None:
        async with database.transaction() as connection:
            wire.fall_silent()
            await connection.fetchval("SELECT 1")

    async with wired(empty_dsn, timeout_s=SHORT_S) as (database, wire):
        with pytest.raises(OwnFailure, match=r"no answer within 2 s \(GAIA_DATABASE_TIMEOUT_S\)"):
            await asyncio.wait_for(ask(database, wire), patience(60))
        wire.speak()

        async with database.transaction() as connection:
            assert await connection.fetchval("SELECT 1") == 1


async def test_server_that_falls_silent_while_we_connect_holds_no_place(
    empty_dsn: str, administrator: asyncpg.Connection[asyncpg.Record]
) -> None:
    async def connect_anew(database: Database) -> None:
        async with database.transaction():
            pass

    async with wired(empty_dsn, timeout_s=SHORT_S) as (database, wire):
        await _lose_connection(database)
        wire.fall_silent()
        with pytest.raises(OwnFailure, match="no answer"):
            await asyncio.wait_for(connect_anew(database), patience(60))
        wire.speak()

        async with database.transaction() as connection:
            assert await connection.fetchval("SELECT 1") == 1


async def test_server_that_falls_silent_at_any_byte_holds_no_place(
    empty_dsn: str, administrator: asyncpg.Connection[asyncpg.Record]
) -> None:
    async def write(database: Database, key: int) -> None:
        async with database.transaction() as connection:
            await connection.execute("INSERT INTO written VALUES ($1) ON CONFLICT DO NOTHING", key)

    async def silenced_after(length: int) -> tuple[int, int]:
        async with wired(empty_dsn, timeout_s=SHORT_S) as (database, wire):
            await _lose_connection(database)
            wire.silent_at = wire.from_server + length
            with suppress(OwnFailure):
                await asyncio.wait_for(write(database, length), patience(60))
            wire.speak()
            await database.run(partial(touch, key=length))
            return database.connections()

    async def touch(connection: asyncpg.Connection[asyncpg.Record], key: int) -> None:
        await connection.execute("INSERT INTO written VALUES ($1) ON CONFLICT DO NOTHING", key)

    # Through a new connection, its codec, and a transaction.
    found = await asyncio.gather(*(silenced_after(length) for length in range(1, 1_400, 100)))

    assert found == [(0, 1)] * len(found)


async def _lose_connection(database: Database) -> None:
    with suppress(OwnFailure):
        async with database.transaction() as connection:
            connection.terminate()


async def _commit(database: Database) -> None:
    async with database.transaction() as connection:
        await connection.execute("INSERT INTO written SELECT generate_series(1, 10)")


async def _new_connection(database: Database) -> None:
    await _lose_connection(database)
    await long_statement(database)


@pytest.mark.parametrize("work", [long_statement, _commit, _new_connection])
async def test_cancelling_at_any_moment_costs_no_place(
    empty_dsn: str, administrator: asyncpg.Connection[asyncpg.Record], work: Work
) -> None:
    async with wired(empty_dsn) as (database, _):
        for milliseconds in range(0, 60, 3):
            task = asyncio.create_task(work(database))
            await asyncio.sleep(milliseconds / 1e3)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            async with asyncio.timeout(patience(20)), database.transaction() as connection:
                assert await connection.fetchval("SELECT 1") == 1


async def test_cancelling_those_who_wait_costs_no_place(places: Database) -> None:
    async def short() -> None:
        async with places.transaction() as connection:
            await connection.fetchval("SELECT 1")

    rng = random.Random(7)
    for _ in range(30):
        tasks = [asyncio.create_task(short()) for _ in range(4 * SIZE)]
        for task in rng.sample(tasks, SIZE):
            await asyncio.sleep(0)
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    assert await places_that_come_back(places) == SIZE


async def test_error_of_a_body_passes_as_it_is_and_undoes_what_was_written(places: Database) -> None:
    async def write_and_fail() -> None:
        async with places.transaction() as connection:
            await connection.execute("INSERT INTO written VALUES (1)")
            raise KeyError

    with pytest.raises(KeyError):
        await write_and_fail()

    async with places.transaction() as connection:
        assert await connection.fetchval("SELECT count(*) FROM written") == 0
    assert await places_that_come_back(places) == SIZE


async def test_connection_that_cannot_be_made_ready_costs_no_place(
    empty_dsn: str, administrator: asyncpg.Connection[asyncpg.Record]
) -> None:
    failures = [OSError("no"), asyncpg.InternalClientError("no"), EOFError()] * SIZE

    async def opening(_name: str = "") -> asyncpg.Connection[asyncpg.Record]:
        if failures:
            raise failures.pop()
        return await asyncpg.connect(empty_dsn)

    database = Database(opening, opening, timeout_s=PATIENCE_S, pool_size=SIZE)
    for _ in range(len(failures)):
        with pytest.raises(OwnFailure):
            async with database.transaction():
                pass

    assert await places_that_come_back(database) == SIZE
    await database.close()


async def test_place_that_is_not_to_be_had_in_time_says_which_settings_bound_it(
    empty_dsn: str, administrator: asyncpg.Connection[asyncpg.Record]
) -> None:
    async with wired(empty_dsn, timeout_s=SHORT_S) as (database, _), database.transaction():
        with pytest.raises(OwnFailure) as caught:
            async with database.transaction():
                pass

    assert str(caught.value) == (
        "database: all 1 connections (GAIA_DATABASE_POOL_SIZE) were in use for 2 s (GAIA_DATABASE_TIMEOUT_S)"
    )


async def test_connections_are_made_anew_once_everything_failed_while_the_server_answers(
    empty_dsn: str, administrator: asyncpg.Connection[asyncpg.Record]
) -> None:
    has_place = asyncio.Event()

    async def hang(database: Database) -> None:
        async with database.transaction():
            has_place.set()
            await asyncio.Event().wait()

    async def ask(database: Database) -> Any:
        async with database.transaction() as connection:
            return await connection.fetchval("SELECT 1")

    async with wired(empty_dsn, timeout_s=SHORT_S, rebuild_after_s=SHORT_S / 2) as (database, _):
        hung = asyncio.create_task(hang(database))
        await has_place.wait()
        for _ in range(2):
            with pytest.raises(OwnFailure, match="in use"):
                await ask(database)

        assert await ask(database) == 1

        hung.cancel()
        await asyncio.gather(hung, return_exceptions=True)
        assert await ask(database) == 1


async def test_connections_are_left_alone_while_the_server_answers_nobody(
    empty_dsn: str, administrator: asyncpg.Connection[asyncpg.Record]
) -> None:
    async with wired(empty_dsn, timeout_s=SHORT_S, rebuild_after_s=0) as (database, wire):
        before = database._places
        wire.fall_silent()
        with pytest.raises(OwnFailure):
            async with database.transaction():
                pass

        assert database._places is before
