"""What a real server can answer, and that transactions others got in the way of are done again."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg
import pytest
from structlog.testing import capture_logs

from gaia.validator.core.database_setup import run_comprehensive_database_setup
from gaia.validator.db.connection import ATTEMPTS, Database
from gaia.validator.db.failures import Conflict, ConnectionLost, DatabaseFailure, StatementRefused
from gaia.validator.db.schema.files import read_migrations
from gaia.validator.utils.borders import UNFORESEEN, Party
from gaia.validator.utils.errors import ConfigurationError, ExitCode

STATES = sorted({kind.sqlstate for kind in vars(asyncpg).values() if getattr(kind, "sqlstate", None)})
REFUSABLE = [state for state in STATES if not state.startswith(("00", "01", "02"))]
"""Of success, warnings and "no data" a server makes no errors."""
MANY_DEATHS = 5


async def sql(database: Database, statement: str, *arguments: object) -> Any:
    async with database.transaction() as connection:
        return await connection.fetchval(statement, *arguments)


async def test_no_sqlstate_a_server_can_answer_escapes_untyped(database: Database) -> None:
    assert len(REFUSABLE) > 200
    for state in REFUSABLE:
        with capture_logs(), pytest.raises(DatabaseFailure) as caught:
            await sql(database, f"DO $$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = '{state}'; END $$")
        assert caught.value.sqlstate == state


async def test_no_error_of_the_driver_that_a_body_meets_escapes_untyped(database: Database) -> None:
    known = [kind for kind in vars(asyncpg).values() if isinstance(kind, type)]
    kinds = [kind for kind in known if issubclass(kind, Exception)]
    kinds = [kind for kind in kinds if not issubclass(kind, asyncpg.PostgresLogMessage)]  # never raised

    async def meet(kind: type[Exception]) -> None:
        async with database.transaction():
            raise kind("no")

    for kind in kinds:
        with capture_logs(), pytest.raises(DatabaseFailure):
            await meet(kind)
    assert await sql(database, "SELECT 1") == 1


async def test_statement_the_server_will_never_take_is_logged_as_a_bug_with_its_sqlstate(
    database: Database,
) -> None:
    before = UNFORESEEN[Party.DATABASE]

    with capture_logs() as logs, pytest.raises(StatementRefused):
        await sql(database, "SELECT * FROM no_such_table")

    assert [(entry["event"], entry["log_level"], entry["sqlstate"]) for entry in logs] == [
        ("statement_refused", "error", "42P01")
    ]
    assert UNFORESEEN[Party.DATABASE] == before + 1


async def test_unnamed_error_of_a_driver_whose_connection_broke_is_ours_and_counted(
    database: Database,
) -> None:
    before = UNFORESEEN[Party.DATABASE]

    async def meet() -> None:
        async with database.transaction() as connection:
            connection.terminate()
            raise AttributeError("'NoneType' object has no attribute 'query'")

    with capture_logs(), pytest.raises(DatabaseFailure, match="AttributeError"):
        await meet()

    assert UNFORESEEN[Party.DATABASE] == before + 1


async def test_two_who_wait_for_each_other_both_write_at_last(database: Database) -> None:
    async with database.transaction() as connection:
        await connection.execute("CREATE TABLE pair (key text PRIMARY KEY, writes integer DEFAULT 0)")
        await connection.execute("INSERT INTO pair VALUES ('a'), ('b')")
    bodies, met = [], asyncio.Barrier(2)

    async def write_in(order: str) -> None:
        async def body(connection: asyncpg.Connection[asyncpg.Record]) -> None:
            bodies.append(order)
            is_first = bodies.count(order) == 1
            for place, key in enumerate(order):
                await connection.execute("UPDATE pair SET writes = writes + 1 WHERE key = $1", key)
                if is_first and place == 0:
                    await met.wait()

        await database.run(body)

    with capture_logs() as logs:
        await asyncio.gather(write_in("ab"), write_in("ba"))

    assert len(bodies) == 3
    assert [entry["event"] for entry in logs] == ["transaction_repeated"]
    assert await sql(database, "SELECT array_agg(writes ORDER BY key) FROM pair") == [2, 2]


async def test_transaction_whose_connection_is_killed_is_done_again(database: Database) -> None:
    killed: list[asyncpg.Connection[asyncpg.Record]] = []

    async def body(connection: asyncpg.Connection[asyncpg.Record]) -> Any:
        if not killed:
            killed.append(connection)
            await connection.execute("SELECT pg_terminate_backend(pg_backend_pid())")
        return await connection.fetchval("SELECT 7")

    assert await database.run(body) == 7


async def test_commit_whose_answer_was_lost_may_be_repeated_for_writes_have_keys(database: Database) -> None:
    await sql(database, "CREATE TABLE kept (key integer PRIMARY KEY)")
    calls = 0

    async def body(connection: asyncpg.Connection[asyncpg.Record]) -> None:
        nonlocal calls
        calls += 1
        await connection.execute("INSERT INTO kept VALUES (1) ON CONFLICT DO NOTHING")
        if calls == 1:
            await connection.execute("COMMIT")  # done, and then the answer is lost
            connection.terminate()

    await database.run(body)

    assert calls == 2
    assert await sql(database, "SELECT count(*) FROM kept") == 1


@pytest.mark.parametrize(("state", "kind"), [("40001", Conflict), ("40P01", Conflict), ("55P03", Conflict)])
async def test_conflict_that_does_not_end_is_raised_after_the_last_attempt(
    database: Database, state: str, kind: type[Exception]
) -> None:
    calls = []

    async def body(connection: asyncpg.Connection[asyncpg.Record]) -> None:
        calls.append(connection)
        await connection.execute(f"DO $$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = '{state}'; END $$")

    with pytest.raises(kind):
        await database.run(body)

    assert len(calls) == ATTEMPTS


@pytest.mark.parametrize("state", ["57014", "53200", "42P01", "23505", "22021"])
async def test_what_would_fail_again_is_not_repeated(database: Database, state: str) -> None:
    calls = []

    async def body(connection: asyncpg.Connection[asyncpg.Record]) -> None:
        calls.append(connection)
        await connection.execute(f"DO $$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = '{state}'; END $$")

    with pytest.raises(DatabaseFailure):
        await database.run(body)

    assert len(calls) == 1


async def test_error_of_a_body_that_is_not_the_databases_is_not_repeated(database: Database) -> None:
    calls = []

    async def body(connection: asyncpg.Connection[asyncpg.Record]) -> None:
        calls.append(connection)
        raise KeyError

    with pytest.raises(KeyError):
        await database.run(body)

    assert len(calls) == 1


async def test_role_that_is_locked_out_while_we_run_is_waited_for(empty_dsn: str) -> None:
    """An operator changes a password: what runs waits, and goes on once it is right again."""
    administrator = await asyncpg.connect(empty_dsn)
    role = "r_" + empty_dsn.partition("/test_")[2].partition("?")[0]
    await administrator.execute(f"CREATE ROLE {role} LOGIN")
    dsn = empty_dsn.replace("postgres@", f"{role}@")
    database = await Database.connect(dsn, timeout_s=10, pool_size=2)
    await administrator.execute(f"ALTER ROLE {role} NOLOGIN")
    with pytest.raises(DatabaseFailure):
        await sql(database, "SELECT pg_terminate_backend(pg_backend_pid())")

    with pytest.raises(DatabaseFailure) as caught:
        await sql(database, "SELECT 1")
    await administrator.execute(f"ALTER ROLE {role} LOGIN")

    assert caught.value.sqlstate == "28000"
    assert await sql(database, "SELECT 1") == 1
    await database.close()
    await administrator.execute(f"DROP ROLE {role}")
    await administrator.close()


async def test_role_that_is_locked_out_at_start_is_a_sentence_for_the_operator(empty_dsn: str) -> None:
    with pytest.raises(ConfigurationError, match="GAIA_DATABASE_URL") as caught:
        await Database.connect(empty_dsn.replace("postgres@", "nobody_here@"), timeout_s=10, pool_size=2)

    assert caught.value.exit_code is ExitCode.DATABASE_UNREACHABLE


@pytest.mark.parametrize(
    "dsn",
    [
        "postgresql://u:secret@host:port/x",
        "postgresql://u:secret@127.0.0.1:1/x?sslmode=never",
        "postgresql://u:secret@127.0.0.1:1/x?sslrootcert=/nowhere&sslmode=verify-full",
    ],
)
async def test_address_that_cannot_be_read_is_a_sentence_without_the_password(dsn: str) -> None:
    with pytest.raises(ConfigurationError, match="cannot be reached") as caught:
        await Database.connect(dsn, timeout_s=0.1, pool_size=2)

    assert "secret" not in str(caught.value)


async def test_database_of_another_program_is_a_sentence_for_the_operator(empty_dsn: str) -> None:
    database = await Database.connect(empty_dsn, timeout_s=10, pool_size=2)
    await sql(database, "CREATE TABLE score_table (id integer)")

    with pytest.raises(ConfigurationError, match="score_table"):
        await run_comprehensive_database_setup(database)

    assert await sql(database, "SELECT to_regclass('runs')") is None
    await database.close()


async def test_database_that_ends_connections_while_tables_are_made_is_waited_out(empty_dsn: str) -> None:
    database = await Database.connect(empty_dsn, timeout_s=10, pool_size=2)
    administrator = await asyncpg.connect(empty_dsn)
    # Before the setup begins, or it would be done before there is anything to end.
    await administrator.execute("SELECT pg_advisory_lock(5701)")
    others = "datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
    ended: set[int] = set()

    async def end_connections() -> None:
        """End each connection that waits for the lock of the migrations, which this one holds meanwhile."""
        while len(ended) < MANY_DEATHS:
            rows = await administrator.fetch(
                f"SELECT pid, pg_terminate_backend(pid) FROM pg_stat_activity WHERE {others}"
                " AND wait_event = 'advisory'"
            )
            ended.update(row["pid"] for row in rows)
        await administrator.execute("SELECT pg_advisory_unlock(5701)")

    ending = asyncio.create_task(end_connections())
    with capture_logs() as lines:
        setup = await run_comprehensive_database_setup(database)
    await ending

    assert len(setup.applied) == len(read_migrations())
    repeated = [line for line in lines if line["event"] == "database_setup_repeated"]
    assert len(repeated) == MANY_DEATHS
    await database.close()
    await administrator.close()


async def test_database_that_always_fails_ends_the_setup(empty_dsn: str) -> None:
    database = await Database.connect(empty_dsn, timeout_s=0.1, pool_size=2)
    administrator = await asyncpg.connect(empty_dsn)
    await administrator.execute("SELECT pg_advisory_lock(5701)")

    with pytest.raises(DatabaseFailure, match="holds the lock of migrations"):
        await run_comprehensive_database_setup(database, patience_s=0.5)

    await administrator.close()
    await database.close()


async def test_role_that_may_not_make_tables_is_a_sentence_for_the_operator(empty_dsn: str) -> None:
    administrator = await asyncpg.connect(empty_dsn)
    role = "r_" + empty_dsn.partition("/test_")[2].partition("?")[0]
    await administrator.execute(f"CREATE ROLE {role} LOGIN; REVOKE CREATE ON SCHEMA public FROM PUBLIC")
    database = await Database.connect(empty_dsn.replace("postgres@", f"{role}@"), timeout_s=10, pool_size=2)

    with pytest.raises(ConfigurationError, match="grant it CREATE"):
        await run_comprehensive_database_setup(database)

    await database.close()
    await administrator.execute(f"DROP ROLE {role}")
    await administrator.close()


async def test_killed_connection_is_told_from_a_conflict(database: Database) -> None:
    with pytest.raises(ConnectionLost):
        await sql(database, "SELECT pg_terminate_backend(pg_backend_pid())")
