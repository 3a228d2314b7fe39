"""Status, doctor and runbooks beside a validator with a stopped process, few files, or a database that others hold."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import asyncpg
import psutil
import pytest

from gaia.cli.__main__ import main
from gaia.cli.runbooks import database, shared
from gaia.validator.app.children.embedded_postgres import embedded_dsn
from gaia.validator.app.meeting.rendezvous import Board, board_path, read_board
from tests.support.doctor_machine import Machine
from tests.support.patience import Deadline, patience
from tests.support.repository import ROOT

START_S = 90.0
STOPPED = {
    "io_engine": "ValidatorCriticalEventLoopLag",
    "chain_signer": "ValidatorSubstrateConnectionLost",
    "postgres": "ValidatorDatabaseFailures",
    "compute_worker": "ValidatorPoolSeatsMissing",
}
"""Role -> trouble that status must name while a process of it is stopped."""


@pytest.fixture
def validator(machine: Machine) -> Iterator[Machine]:
    """A validator with an embedded database, which is well."""
    lines = machine.env_file.read_text().splitlines()
    machine.env_file.write_text(
        "".join(f"{line}\n" for line in lines if not line.startswith("GAIA_DATABASE_"))
    )
    machine.write("GAIA_DATABASE_TIMEOUT_S", "2")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    with (machine.folder / "validator.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "gaia.validator.validator"],
            cwd=machine.folder,
            env={**environment, "PYTHONPATH": str(ROOT)},
            stdout=log,
            stderr=log,
        )
    try:
        _until(lambda: bool(board(machine).processes) and troubles(machine) == {}, machine)
        yield machine
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(patience(60))
        process.kill()
        process.wait()


def _until(reached: Callable[[], bool], machine: Machine) -> None:
    deadline = Deadline(START_S)
    while not reached():
        assert not deadline.has_passed, (machine.folder / "validator.log").read_text()[-3000:]
        time.sleep(0.1)


def board(machine: Machine) -> Board:
    return read_board(board_path(machine.data()))


def troubles(machine: Machine) -> dict[str, str]:
    """Return name -> words of what status calls wrong."""
    code = main(["status", "--json"])
    shown = json.loads(machine.capsys.readouterr().out)
    assert code == shown["exit_code"]
    return {trouble["name"]: trouble["problem"] for trouble in shown["troubles"]}


def causes(machine: Machine, alert: str) -> list[str]:
    """Return the causes that a runbook names, the first one first."""
    main(["runbook", alert, "--json"])
    return [finding["cause"] for finding in json.loads(machine.capsys.readouterr().out)["findings"]]


def pid_of(machine: Machine, role: str) -> int:
    found = board(machine)
    return next(iter(found.workers.values())) if role == "compute_worker" else found.processes[role]


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    """Stop a process and its children; those of the database are its sessions."""
    pids = [pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))]
    for each in pids:
        os.kill(each, signal.SIGSTOP)
    try:
        yield
    finally:
        for each in pids:
            with suppress(ProcessLookupError):
                os.kill(each, signal.SIGCONT)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_each_stopped_process_and_each_shortage_of_files_is_named_at_once(validator: Machine) -> None:
    healthy = {name for name, check in validator.doctor().items() if check["result"] == "failure"}
    said, failures = {}, {}
    for role in STOPPED:
        with stopped(pid_of(validator, role)):
            said[role] = troubles(validator)
            checks = validator.doctor("--only", "database")
        failures[role] = {name for name, check in checks.items() if check["result"] == "failure"} - healthy
        _until(lambda: troubles(validator) == {}, validator)
    engine = pid_of(validator, "io_engine")
    before = resource.prlimit(engine, resource.RLIMIT_NOFILE)
    resource.prlimit(engine, resource.RLIMIT_NOFILE, (psutil.Process(engine).num_fds() + 4, before[1]))
    short = troubles(validator)
    resource.prlimit(engine, resource.RLIMIT_NOFILE, before)

    assert {role: "stopped by a signal" in said[role].get(name, "") for role, name in STOPPED.items()} == (
        dict.fromkeys(STOPPED, True)
    ), said
    assert failures == {role: {"database"} if role == "postgres" else set() for role in STOPPED}
    assert "io_engine has" in short["ValidatorOpenFilesHigh"]


async def _take_all(dsn: str, held: list[asyncpg.Connection[asyncpg.Record]]) -> None:
    """Open sessions until the server refuses one."""
    while True:
        try:
            held.append(await asyncpg.connect(dsn, ssl=False))
        except asyncpg.TooManyConnectionsError:
            return


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::ResourceWarning")
async def test_database_that_other_sessions_hold_is_named(validator: Machine) -> None:
    dsn = embedded_dsn(validator.data())
    locking = await asyncpg.connect(dsn, ssl=False)
    async with locking.transaction():
        for row in await locking.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'"):
            await locking.execute(f'LOCK TABLE "{row["tablename"]}"')
        locked = await asyncio.to_thread(troubles, validator)
        checks = await asyncio.to_thread(validator.doctor, "--only", "database")
        blocked = await asyncio.to_thread(causes, validator, "DatabaseFailures")
    held = [locking]
    await _take_all(dsn, held)
    full = await asyncio.to_thread(troubles, validator)
    exhausted = await asyncio.to_thread(causes, validator, "DatabaseConnectionsExhausted")
    for each in held:
        each.terminate()

    assert "no answer" in locked["ValidatorDatabaseFailures"]
    assert checks["database"]["result"] == "failure"
    assert "hold a lock" in checks["database"]["words"]
    assert blocked[0] == shared.BLOCKED.sentence
    assert "too many clients" in full["ValidatorDatabaseFailures"]
    assert exhausted[0] == database.SERVER_FULL.sentence
