"""Connections are a bounded number of places: whatever goes wrong with one, its place comes back."""

import asyncio
import random
from contextlib import asynccontextmanager, suppress
from functools import partial

import asyncpg
import pytest

from gaia.validator.db.connection import Database
from gaia.validator.utils.errors import OwnFailure
from tests.support.patience import patience
from tests.support.wires import Wire

SIZE = 8
PATIENCE_S = 15.0
SHORT_S = 2.0
"""Long enough for what succeeds on a busy machine, short enough to wait for."""
NEVER_S = 3600.0
SLOW_COMMIT = """
CREATE TABLE written (key integer PRIMARY KEY);
CREATE FUNCTION dawdle() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN PERFORM pg_sleep(0.03); RETURN NULL; END $$;
CREATE CONSTRAINT TRIGGER dawdle AFTER INSERT ON written DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION dawdle();
"""


@pytest.fixture
async def administrator(empty_dsn):
    connection = await asyncpg.connect(empty_dsn)
    await connection.execute(SLOW_COMMIT)
    yield connection
    await connection.close()


@pytest.fixture
async def places(empty_dsn, administrator):
    """A pool of `SIZE`, on a database where commits take a moment."""
    database = await Database.connect(
        empty_dsn, timeout_s=PATIENCE_S, pool_size=SIZE, rebuild_after_s=NEVER_S
    )
    yield database
    await database.close()


@asynccontextmanager
async def wired(dsn, **options):
    """A pool of one behind a wire that tests can cut."""
    async with Wire(dsn) as wire:
        options = {"timeout_s": PATIENCE_S, "pool_size": 1, "rebuild_after_s": NEVER_S} | options
        database = await Database.connect(wire.dsn, **options)
        yield database, wire
        await database.close()


async def places_that_come_back(database):
    """How many transactions can be open at once."""
    reached, enough = 0, asyncio.Event()

    async def hold():
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


async def test_places_of_forty_killed_backends_all_come_back(places, administrator):
    killed, done = 0, asyncio.Event()
    escaped = []

    async def work(number):
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


async def test_backends_killed_in_the_middle_of_their_commits_cost_no_place(places, administrator):
    async def write(number):
        with suppress(OwnFailure):
            async with places.transaction() as connection:
                await connection.execute("INSERT INTO written VALUES ($1)", number)

    async def kill_committing():
        return await administrator.fetchval(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
            " WHERE query = 'COMMIT;' AND state = 'active' AND datname = current_database()"
        )

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


async def test_wire_cut_after_any_number_of_bytes_costs_no_place_and_no_other_error(empty_dsn, administrator):
    async def write(database, key):
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


async def test_server_that_falls_silent_in_a_statement_holds_no_place(empty_dsn, administrator):
    async def ask(database, wire):
        async with database.transaction() as connection:
            wire.fall_silent()
            await connection.fetchval("SELECT 1")

    async with wired(empty_dsn, timeout_s=SHORT_S) as (database, wire):
        with pytest.raises(OwnFailure, match=r"no answer within 2 s \(GAIA_DATABASE_TIMEOUT_S\)"):
            await asyncio.wait_for(ask(database, wire), patience(60))
        wire.speak()

        async with database.transaction() as connection:
            assert await connection.fetchval("SELECT 1") == 1


async def test_server_that_falls_silent_while_we_connect_holds_no_place(empty_dsn, administrator):
    async def connect_anew(database):
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


async def test_server_that_falls_silent_at_any_byte_holds_no_place(empty_dsn, administrator):
    async def write(database, key):
        async with database.transaction() as connection:
            await connection.execute("INSERT INTO written VALUES ($1) ON CONFLICT DO NOTHING", key)

    async def silenced_after(length):
        async with wired(empty_dsn, timeout_s=SHORT_S) as (database, wire):
            await _lose_connection(database)
            wire.silent_at = wire.from_server + length
            with suppress(OwnFailure):
                await asyncio.wait_for(write(database, length), patience(60))
            wire.speak()
            await database.run(partial(touch, key=length))
            return database.connections()

    async def touch(connection, key):
        await connection.execute("INSERT INTO written VALUES ($1) ON CONFLICT DO NOTHING", key)

    # Through a new connection, its codec, and a transaction.
    found = await asyncio.gather(*(silenced_after(length) for length in range(1, 1_400, 100)))

    assert found == [(0, 1)] * len(found)


async def _lose_connection(database):
    with suppress(OwnFailure):
        async with database.transaction() as connection:
            connection.terminate()


async def _statement(database):
    async with database.transaction() as connection:
        await connection.execute("SELECT pg_sleep(30)")


async def _commit(database):
    async with database.transaction() as connection:
        await connection.execute("INSERT INTO written SELECT generate_series(1, 10)")


async def _new_connection(database):
    await _lose_connection(database)
    await _statement(database)


@pytest.mark.parametrize("work", [_statement, _commit, _new_connection])
async def test_cancelling_at_any_moment_costs_no_place(empty_dsn, administrator, work):
    async with wired(empty_dsn) as (database, _):
        for milliseconds in range(0, 60, 3):
            task = asyncio.create_task(work(database))
            await asyncio.sleep(milliseconds / 1e3)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            async with asyncio.timeout(patience(20)), database.transaction() as connection:
                assert await connection.fetchval("SELECT 1") == 1


async def test_cancelling_those_who_wait_costs_no_place(places):
    async def short():
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


async def test_error_of_a_body_passes_as_it_is_and_undoes_what_was_written(places):
    async def write_and_fail():
        async with places.transaction() as connection:
            await connection.execute("INSERT INTO written VALUES (1)")
            raise KeyError

    with pytest.raises(KeyError):
        await write_and_fail()

    async with places.transaction() as connection:
        assert await connection.fetchval("SELECT count(*) FROM written") == 0
    assert await places_that_come_back(places) == SIZE


async def test_connection_that_cannot_be_made_ready_costs_no_place(empty_dsn, administrator):
    failures = [OSError("no"), asyncpg.InternalClientError("no"), EOFError()] * SIZE

    async def opening():
        if failures:
            raise failures.pop()
        return await asyncpg.connect(empty_dsn)

    database = Database(opening, timeout_s=PATIENCE_S, pool_size=SIZE)
    for _ in range(len(failures)):
        with pytest.raises(OwnFailure):
            async with database.transaction():
                pass

    assert await places_that_come_back(database) == SIZE
    await database.close()


async def test_place_that_is_not_to_be_had_in_time_says_which_settings_bound_it(empty_dsn, administrator):
    async with wired(empty_dsn, timeout_s=SHORT_S) as (database, _), database.transaction():
        with pytest.raises(OwnFailure) as caught:
            async with database.transaction():
                pass

    assert str(caught.value) == (
        "database: all 1 connections (GAIA_DATABASE_POOL_SIZE) were in use for 2 s (GAIA_DATABASE_TIMEOUT_S)"
    )


async def test_connections_are_made_anew_once_everything_failed_while_the_server_answers(
    empty_dsn, administrator
):
    has_place = asyncio.Event()

    async def hang(database):
        async with database.transaction():
            has_place.set()
            await asyncio.Event().wait()

    async def ask(database):
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


async def test_connections_are_left_alone_while_the_server_answers_nobody(empty_dsn, administrator):
    async with wired(empty_dsn, timeout_s=SHORT_S, rebuild_after_s=0) as (database, wire):
        before = database._places
        wire.fall_silent()
        with pytest.raises(OwnFailure):
            async with database.transaction():
                pass

        assert database._places is before


async def test_closed_database_refuses_at_once(empty_dsn):
    database = await Database.connect(empty_dsn, timeout_s=SHORT_S, pool_size=2)
    await database.close()

    with pytest.raises(OwnFailure, match="closed"):
        async with database.transaction():
            pass


async def test_those_who_wait_while_the_connections_are_closed_are_told(empty_dsn):
    database = await Database.connect(empty_dsn, timeout_s=PATIENCE_S, pool_size=1)
    entered, leave = asyncio.Event(), asyncio.Event()

    async def hold():
        async with database.transaction():
            entered.set()
            await leave.wait()

    async def want():
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


async def test_closing_waits_for_a_transaction_under_way_and_ends_one_that_hangs(empty_dsn, administrator):
    database = await Database.connect(empty_dsn, timeout_s=SHORT_S, pool_size=2)
    started = asyncio.Event()

    async def write():
        async with database.transaction() as connection:
            started.set()
            await connection.execute("SELECT pg_sleep(0.2)")
            await connection.execute("INSERT INTO written VALUES (1)")

    writing = asyncio.create_task(write())
    await started.wait()
    hanging = asyncio.create_task(_statement(database))
    await asyncio.sleep(0.05)
    await database.close()

    await writing
    with pytest.raises(OwnFailure):
        await hanging
    assert await administrator.fetchval("SELECT count(*) FROM written") == 1
