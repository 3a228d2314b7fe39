"""A postmaster that answers nobody is replaced; one that is busy, full or recovering is left alone."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path

import asyncpg
import psutil
import pytest

from gaia.validator.app.children.embedded_postgres import EmbeddedPostgres, embedded_dsn, server_socket
from gaia.validator.app.children.postgres_ping import PostgresPing
from tests.support.patience import Deadline, patience
from tests.support.roles import Supervised, has_ended, until
from tests.support.supervised import Start, pid_of

QUESTIONS = 20
CONNECTIONS = 10


def supervised_database(start: Start) -> tuple[Supervised, int]:
    """Return a Supervisor whose database is ready, and the pid of the postmaster."""
    supervised = start(
        embedded_database=True, workers=0, engine_silence_s=60.0, signer_silence_s=8.0, database_silence_s=3.0
    )
    pid_of(supervised, "io_engine")  # it starts once the database is ready
    return supervised, pid_of(supervised, "postgres")


async def commit(dsn: str) -> None:
    connection = await asyncpg.connect(dsn)
    await connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
    await connection.close()


async def kept(dsn: str) -> int:
    """Return what `commit` has written, once the server lets us in."""
    deadline = Deadline(30.0)
    while not deadline.has_passed:
        try:
            connection = await asyncpg.connect(dsn)
        except (OSError, asyncpg.PostgresError):
            await asyncio.sleep(0.05)
        else:
            answer = await connection.fetchval("SELECT answer FROM kept")
            await connection.close()
            return int(answer)
    raise AssertionError("the database did not come")


def replaced(supervised: Supervised, victim: int) -> None:
    """Wait until another server is there, and see that it is the only one that was replaced, for its silence."""
    until(lambda: supervised.board().processes.get("postgres", victim) != victim, "another server")
    board = supervised.board()
    assert [(report.role, report.cause) for report in board.deaths] == [("postgres", "silent")]
    assert board.restarts == {"postgres": 1}


def test_stopped_database_is_replaced_and_keeps_what_was_committed(start: Start) -> None:
    supervised, victim = supervised_database(start)
    asyncio.run(commit(embedded_dsn(supervised.data_dir)))
    family = [victim, *(child.pid for child in psutil.Process(victim).children())]
    engine = pid_of(supervised, "io_engine")

    os.kill(victim, signal.SIGSTOP)

    replaced(supervised, victim)
    assert all(has_ended(pid) for pid in family)
    assert asyncio.run(kept(embedded_dsn(supervised.data_dir))) == 42
    assert pid_of(supervised, "io_engine") == engine


def test_database_that_is_stopped_with_all_its_processes_is_replaced(start: Start) -> None:
    supervised, victim = supervised_database(start)
    asyncio.run(commit(embedded_dsn(supervised.data_dir)))
    family = [victim, *(child.pid for child in psutil.Process(victim).children())]

    for pid in family:
        os.kill(pid, signal.SIGSTOP)

    replaced(supervised, victim)
    assert all(has_ended(pid) for pid in family)
    assert asyncio.run(kept(embedded_dsn(supervised.data_dir))) == 42


def test_database_that_runs_and_can_be_reached_by_nobody_is_replaced(start: Start) -> None:
    supervised, victim = supervised_database(start)

    server_socket(supervised.data_dir).unlink()

    replaced(supervised, victim)
    assert has_ended(victim)


def test_database_that_was_stopped_for_a_moment_is_left_alone(start: Start) -> None:
    supervised, victim = supervised_database(start)
    signer = pid_of(supervised, "chain_signer")
    os.kill(victim, signal.SIGSTOP)
    os.kill(victim, signal.SIGCONT)

    # The signer is given longer than the database, so its end says that the database had its time.
    os.kill(signer, signal.SIGSTOP)
    until(lambda: has_ended(signer), "the signer to be replaced")

    assert pid_of(supervised, "postgres") == victim


def test_database_that_is_busy_and_full_is_left_alone(start: Start) -> None:
    supervised, victim = supervised_database(start)
    signer = pid_of(supervised, "chain_signer")

    async def keep_busy() -> None:
        async with AsyncExitStack() as stack:
            working = await occupy(embedded_dsn(supervised.data_dir), 40, stack)
            os.kill(signer, signal.SIGSTOP)
            await asyncio.to_thread(until, lambda: has_ended(signer), "the signer to be replaced")
            for task in working:
                task.cancel()

    asyncio.run(keep_busy())

    assert pid_of(supervised, "postgres") == victim
    assert supervised.board().restarts.get("postgres", 0) == 0


async def occupy(dsn: str, connections: int, stack: AsyncExitStack) -> list[asyncio.Task[str]]:
    """Take so many connections and let two of them compute; return their statements."""
    taken = [await asyncpg.connect(dsn) for _ in range(connections)]
    for connection in taken:
        stack.callback(connection.terminate)
    with pytest.raises(asyncpg.TooManyConnectionsError):
        await asyncpg.connect(dsn)
    work = "SELECT count(*) FROM generate_series(1, 1000000000000)"
    return [
        asyncio.create_task(connection.execute(work, timeout=patience(3600.0))) for connection in taken[:2]
    ]


def answers(ping: PostgresPing, questions: int) -> None:
    """Wait until the server has answered so many questions, one after the other."""
    for number in range(questions):
        ping.look(float(number))

        def is_answered(number: int = number) -> bool:
            ping.look(number + 0.5)
            return ping.unanswered_s(number + 0.5) == 0.0

        until(is_answered, f"answer {number}")


@contextmanager
def running(server: EmbeddedPostgres) -> Iterator[subprocess.Popen[bytes]]:
    process = server.start()
    try:
        yield process
    finally:
        process.send_signal(signal.SIGQUIT)
        process.wait(timeout=patience(30))
        until(lambda: server.is_free(time.monotonic()), "its processes to end")


def test_server_without_a_free_connection_answers_each_question(tmp_path: Path) -> None:
    server = EmbeddedPostgres(tmp_path, max_connections=CONNECTIONS)
    server.prepare()
    ping = PostgresPing(server_socket(tmp_path), every_s=1.0)
    with running(server):
        until(server.is_ready, "the server")

        async def ask() -> None:
            async with AsyncExitStack() as stack:
                for task in await occupy(embedded_dsn(tmp_path), CONNECTIONS, stack):
                    task.cancel()
                await asyncio.to_thread(answers, ping, QUESTIONS)

        asyncio.run(ask())
    ping.close()


def test_server_that_recovers_answers_each_question(tmp_path: Path) -> None:
    server = EmbeddedPostgres(tmp_path)
    server.prepare()
    cluster = tmp_path / "postgres" / "cluster"
    # It waits for a file of its journal, and lets nobody in meanwhile.
    (cluster / "recovery.signal").touch()
    with (cluster / "postgresql.auto.conf").open("a") as file:
        file.write("restore_command = 'sleep 3600; false'\nhot_standby = off\n")
    ping = PostgresPing(server_socket(tmp_path), every_s=1.0)
    with running(server):
        until(server_socket(tmp_path).exists, "the server to listen")
        answers(ping, QUESTIONS)

        with pytest.raises(asyncpg.CannotConnectNowError, match="starting up"):
            asyncio.run(asyncpg.connect(embedded_dsn(tmp_path)))
        assert not server.is_ready()
    ping.close()
