"""Real processes, real signals: whoever is killed, the work goes on and nothing is left behind."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncpg
import psutil
import pytest

from gaia.validator.app.children.embedded_postgres import EmbeddedPostgres, embedded_dsn
from gaia.validator.app.children.preload import PARENT_VARIABLE
from gaia.validator.utils.errors import ExitCode
from tests.support.patience import Deadline, patience
from tests.support.repository import ROOT
from tests.support.roles import Supervised, has_ended, until
from tests.support.supervised import Start, pid_of, worker_pid


def test_unit_of_a_killed_worker_runs_again_in_its_successor(start: Start, tmp_path: Path) -> None:
    supervised = start()
    started, gate = tmp_path / "started", tmp_path / "gate"
    supervised.submit("a", "test.gated", started=str(started), gate=str(gate))
    until(lambda: started.exists() and started.read_text(), "the unit to start")
    victim = worker_pid(supervised)

    started.unlink()
    os.kill(victim, signal.SIGKILL)
    until(started.exists, "the unit to start again")
    gate.touch()

    answer = supervised.result("a")
    assert answer["attempt"] == 2
    assert answer["value"]["pid"] != victim
    assert supervised.board().restarts == {"compute_worker": 1}


def test_unit_that_kills_its_workers_is_quarantined_and_others_go_on(start: Start) -> None:
    supervised = start()
    supervised.submit("poison", "test.crash")
    supervised.submit("food", "test.echo", x=1)

    answer = supervised.result("poison")

    assert answer["failure"].startswith("QuarantinedError: test.crash killed 3 workers: attempt 1: signal 11")
    assert answer["failure"].count("in string_at < handlers.py") == 3
    assert answer["attempt"] == 3
    assert supervised.result("food")["value"]["x"] == 1


def test_stopped_worker_is_killed_at_the_deadline_and_replaced(start: Start, tmp_path: Path) -> None:
    supervised = start()
    started = tmp_path / "started"
    supervised.submit("warm", "test.echo")
    supervised.result("warm")
    victim = worker_pid(supervised)

    supervised.submit("a", "test.stop", timeout_s=1.5, started=str(started))

    assert supervised.result("a")["failure"].startswith("DeadlineExceeded: test.stop was in a worker")
    assert started.read_text() == str(victim)
    until(lambda: has_ended(victim), "the worker to be killed")
    supervised.submit("b", "test.echo")
    assert supervised.result("b")["value"]["pid"] != victim
    assert supervised.end()[0] == ExitCode.OK


def test_worker_that_was_stopped_before_it_got_its_unit_is_killed_at_the_deadline(start: Start) -> None:
    supervised = start()
    supervised.submit("warm", "test.echo")
    supervised.result("warm")
    victim = worker_pid(supervised)

    os.kill(victim, signal.SIGSTOP)
    supervised.submit("a", "test.echo", timeout_s=1.0)

    assert supervised.result("a")["failure"].startswith("DeadlineExceeded: test.echo was in a worker")
    until(lambda: has_ended(victim), "the worker to be killed")


def test_worker_brings_its_result_over_the_death_of_the_engine(start: Start, tmp_path: Path) -> None:
    supervised = start()
    started, gate = tmp_path / "started", tmp_path / "gate"
    supervised.submit("a", "test.gated", started=str(started), gate=str(gate))
    until(lambda: started.exists() and started.read_text(), "the unit to start")
    worker, engine = worker_pid(supervised), pid_of(supervised, "io_engine")

    os.kill(engine, signal.SIGKILL)
    gate.touch()

    answer = supervised.result("a")
    assert (answer["value"]["pid"], answer["attempt"]) == (worker, 1)
    assert pid_of(supervised, "io_engine") != engine
    assert supervised.board().restarts == {"io_engine": 1}


def test_engine_killed_again_and_again_loses_and_doubles_nothing(start: Start) -> None:
    supervised = start(workers=2)
    jobs = [f"job{number}" for number in range(60)]
    for job in jobs:
        supervised.submit(job, "test.spin", seconds=0.02)

    for job in jobs[::15]:
        supervised.result(job)
        os.kill(pid_of(supervised, "io_engine"), signal.SIGKILL)

    # A second answer to a job would fail the engine: it links each answer once.
    assert all(supervised.result(job)["failure"] is None for job in jobs)


def test_killed_signer_is_replaced(start: Start) -> None:
    supervised = start()
    victim = pid_of(supervised, "chain_signer")

    os.kill(victim, signal.SIGKILL)

    until(lambda: pid_of(supervised, "chain_signer") != victim, "another signer")


def test_killed_fork_server_takes_its_workers_along_and_both_come_back(start: Start) -> None:
    supervised = start()
    victim = worker_pid(supervised)
    fork_server = psutil.Process(victim).ppid()

    os.kill(fork_server, signal.SIGKILL)

    until(lambda: has_ended(victim), "the worker to end")
    supervised.submit("a", "test.echo")
    assert supervised.result("a")["value"]["pid"] != victim


def children_with(supervised: Supervised, mark: str) -> set[int]:
    """Return the Supervisor's children whose command line has this word."""
    assert supervised.process is not None
    found = set()
    for one in psutil.Process(supervised.process.pid).children():
        with contextlib.suppress(psutil.NoSuchProcess):  # collected since it was listed
            if mark in " ".join(one.cmdline()):
                found.add(one.pid)
    return found


def test_fork_server_killed_while_it_starts_does_not_take_the_supervisor_along(start: Start) -> None:
    supervised = start()
    killed: set[int] = set()

    for _ in range(3):
        # It loads libraries first, and the Supervisor waits for its answer meanwhile.
        victim = until(lambda: children_with(supervised, "forkserver") - killed, "a fork server").pop()
        os.kill(victim, signal.SIGKILL)
        killed.add(victim)

    supervised.submit("a", "test.echo")
    assert supervised.result("a")["failure"] is None


@pytest.mark.parametrize("embedded_database", [False, True])
def test_killed_supervisor_leaves_no_process_behind(start: Start, *, embedded_database: bool) -> None:
    supervised = start(workers=2, embedded_database=embedded_database)
    supervised.submit("a", "test.echo")
    supervised.result("a")
    supervised.submit("b", "test.spin", seconds=60.0)
    family = supervised.family()
    assert any("postgres" in process.name() for process in family) == embedded_database

    family[0].kill()

    supervised.ended()
    until(lambda: all(has_ended(process.pid) for process in family), "the family to end", timeout_s=5.0)


def test_orderly_end_answers_what_runs_and_leaves_nothing(start: Start) -> None:
    supervised = start(embedded_database=True)
    supervised.submit("a", "test.echo")
    supervised.result("a")
    family = supervised.family()

    exit_code, _, errors = supervised.end()

    assert exit_code == ExitCode.OK
    assert "Traceback" not in errors
    assert "child_killed" not in errors
    until(lambda: all(has_ended(process.pid) for process in family), "the family to end", timeout_s=5.0)
    assert not (supervised.data_dir / "run" / "board").exists()
    assert not (supervised.data_dir / "run" / "pool.sock").exists()


def test_ctrl_c_reaches_all_and_ends_in_order(start: Start) -> None:
    supervised = start()
    worker_pid(supervised)
    assert supervised.process is not None

    os.killpg(supervised.process.pid, signal.SIGINT)

    exit_code, _, errors = supervised.ended()
    assert exit_code == ExitCode.OK
    assert "KeyboardInterrupt" not in errors


def test_second_signal_ends_patience(start: Start, tmp_path: Path) -> None:
    supervised = start(drain_timeout_s=3600.0)
    started = tmp_path / "started"
    supervised.submit("a", "test.hang", timeout_s=3600.0, started=str(started))
    until(started.exists, "the unit to start")
    worker, engine = worker_pid(supervised), pid_of(supervised, "io_engine")
    assert supervised.process is not None

    os.kill(worker, signal.SIGSTOP)
    os.kill(engine, signal.SIGSTOP)
    supervised.process.terminate()
    until(lambda: "SIGTERM" in supervised.line(), "the first signal to be heeded")
    supervised.process.terminate()

    assert supervised.ended()[0] == ExitCode.OK
    assert has_ended(worker)


def test_configuration_error_of_a_child_ends_all_with_its_sentence_and_code(start: Start) -> None:
    supervised = start(settings={"sentence": True})

    exit_code, _, errors = supervised.ended()

    assert exit_code == ExitCode.HOTKEY_NOT_REGISTERED
    assert errors.splitlines()[-1] == "GAIA_NETUID: is odd; make it even."
    assert errors.count("GAIA_NETUID: is odd; make it even.\n") == 1
    (halt,) = (json.loads(line) for line in errors.splitlines() if "halt_ordered" in line)
    assert halt["reason"] == "GAIA_NETUID: is odd; make it even."
    assert "Traceback" not in errors


def test_engine_that_cannot_live_ends_the_validator(start: Start) -> None:
    supervised = start(settings={"crash": True}, workers=0, crash_limit=4)

    exit_code, _, errors = supervised.ended()

    assert exit_code == ExitCode.CRASH_LOOP
    assert errors.count('"child": "io_engine"') >= 8
    assert (
        errors.splitlines()[-1] == "io_engine died 4 times in a row; read the last log lines and report them."
    )


def test_killed_database_comes_back_with_what_was_committed(start: Start) -> None:
    supervised = start(embedded_database=True, workers=0)
    dsn = embedded_dsn(supervised.data_dir)

    async def connect() -> asyncpg.Connection[Any]:
        deadline = Deadline(30.0)
        while not deadline.has_passed:
            try:
                return await asyncpg.connect(dsn)
            except (OSError, asyncpg.PostgresError):
                await asyncio.sleep(0.05)
        raise AssertionError("the database did not come")

    async def write_kill_and_read(victim: int) -> int:
        connection = await connect()
        await connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
        os.kill(victim, signal.SIGKILL)
        until(lambda: has_ended(victim), "the server to die")
        connection.terminate()
        connection = await connect()
        answer = await connection.fetchval("SELECT answer FROM kept")
        await connection.close()
        return int(answer)

    victim = pid_of(supervised, "postgres")
    assert asyncio.run(write_kill_and_read(victim)) == 42
    assert pid_of(supervised, "postgres") != victim
    assert supervised.board().restarts == {"postgres": 1}
    assert supervised.end()[0] == ExitCode.OK


def test_engine_loads_while_its_database_is_made(start: Start) -> None:
    supervised = start(embedded_database=True, workers=0)

    engine = psutil.Process(pid_of(supervised, "io_engine"))
    said = (supervised.data_dir / "postgres" / "postgres.log").read_text().splitlines()
    (ready,) = (line for line in said if line.endswith("database system is ready to accept connections"))

    ready_at = datetime.strptime(ready.split(" UTC ")[0], "%Y-%m-%d %H:%M:%S.%f").replace(tzinfo=UTC)
    assert engine.create_time() < ready_at.timestamp()


def test_backends_that_outlive_their_server_are_ended_before_another_starts(tmp_path: Path) -> None:
    server = EmbeddedPostgres(tmp_path)
    server.prepare()
    assert server.is_free(now=0.0)
    process = server.start()
    until(server.is_ready, "the server")

    assert not server.is_free(now=0.0)
    assert not server.is_free(now=5.1)

    assert process.wait(timeout=patience(10)) == -signal.SIGKILL
    until(lambda: server.is_free(now=5.2), "its backends to end")


@pytest.mark.parametrize(
    ("comment", "exit_code"),
    [
        pytest.param("multiprocessing.forkserver gaia.validator.app.children.preload", 1, id="fork server"),
        pytest.param("another child", 0, id="another"),
    ],
)
def test_fork_server_whose_parent_died_before_it_loaded_anything_ends(comment: str, exit_code: int) -> None:
    program = f"import gaia.validator.app.children.preload  # {comment}"
    somebody_else = {**os.environ, PARENT_VARIABLE: "1"}

    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, env=somebody_else, timeout=patience(60))

    assert done.returncode == exit_code


def test_next_start_after_a_killed_supervisor_finds_the_place_free(start: Start) -> None:
    first = start(embedded_database=True)
    first.submit("a", "test.echo")
    first.result("a")
    assert first.process is not None
    first.process.kill()
    first.process.wait()  # else its own engine may still answer the next unit

    second = start(embedded_database=True)
    second.submit("b", "test.echo")

    assert second.result("b")["failure"] is None
    assert second.end()[0] == ExitCode.OK


def test_entry_point_becomes_the_supervisor_and_refuses_a_second_one(tmp_path: Path) -> None:
    wallet = tmp_path / "wallets" / "default" / "hotkeys" / "default"
    wallet.parent.mkdir(parents=True)
    wallet.write_text("no key")
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "GAIA_DATA_DIR": str(tmp_path / "data"),
        "GAIA_WALLET_PATH": str(tmp_path / "wallets"),
        "GAIA_METRICS_PORT": "0",
        "GAIA_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none",
        "GAIA_DATABASE_TIMEOUT_S": "1",
    }
    command = [sys.executable, "-m", "gaia.validator.validator"]

    with subprocess.Popen(command, env=environment, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as first:
        assert first.stderr is not None
        assert '"starting"' in first.stderr.readline()
        assert '"supervisor_started"' in first.stderr.readline()
        second = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True)
        _, errors = first.communicate(timeout=patience(60))

    assert second.returncode == ExitCode.DATA_DIR_IN_USE
    assert f"in use by process {first.pid}; stop that validator" in second.stderr
    # The wallet is no wallet and the database no database: whichever child says so first ends all.
    assert first.returncode in (ExitCode.HOTKEY_MISSING, ExitCode.DATABASE_UNREACHABLE)
    assert "Traceback" not in errors
