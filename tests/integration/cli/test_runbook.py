"""`gaia runbook` sees real faults: stopped and dead processes, closed ports, locks, memory and files."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import psutil
import pytest
from prometheus_client import CollectorRegistry, Gauge, start_http_server

from gaia.cli.__main__ import main
from gaia.cli.runbooks import processes, shared
from gaia.cli.runbooks.branch import Branch
from gaia.validator.app.meeting.rendezvous import Board, board_path, publish
from gaia.validator.core.database_setup import run_comprehensive_database_setup
from gaia.validator.db.connection import Database
from gaia.validator.utils.identities import WorkerId
from tests.support.patience import patience

Child = Callable[[str], "subprocess.Popen[bytes]"]
Gaia = Callable[..., tuple[int, Any]]


@pytest.fixture(autouse=True)
def validator(empty_dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[CollectorRegistry]:
    """Settings, an empty database with the schema, and an endpoint that serves metrics."""
    registry = CollectorRegistry()
    Gauge("gaia_substrate_connection_status", "Chain.", registry=registry).set(1)
    server, thread = start_http_server(0, addr="127.0.0.1", registry=registry)
    monkeypatch.setenv("GAIA_DATABASE_URL", empty_dsn)
    monkeypatch.setenv("GAIA_DATABASE_TIMEOUT_S", str(patience(5)))
    monkeypatch.setenv("GAIA_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("GAIA_METRICS_PORT", str(server.server_port))
    monkeypatch.chdir(tmp_path)

    async def set_up() -> None:
        database = await Database.connect(empty_dsn, timeout_s=patience(10), pool_size=1)
        await run_comprehensive_database_setup(database)
        await database.close()

    asyncio.run(set_up())
    yield registry
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def child(tmp_path: Path) -> Iterator[Child]:
    """Start a process that runs some code and then waits; the board calls it the IO-Engine."""
    started: list[subprocess.Popen[bytes]] = []

    def start(code: str) -> subprocess.Popen[bytes]:
        text = textwrap.dedent(code) + "\nprint('ready', flush=True)\nimport time\ntime.sleep(600)\n"
        process = subprocess.Popen([sys.executable, "-c", text], stdout=subprocess.PIPE)
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        board_path(tmp_path).parent.mkdir(exist_ok=True)
        board = Board(
            workers={WorkerId("0.0"): process.pid},
            processes={"io_engine": process.pid, "chain_signer": process.pid},
        )
        publish(board, board_path(tmp_path))
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


@pytest.fixture
def gaia(capsys: pytest.CaptureFixture[str]) -> Gaia:
    """Run the command; return its exit code, and cause -> evidence."""

    def run(alert: str, *words: str) -> tuple[int, Any]:
        code = main(["runbook", alert, "--json", *words])
        said = json.loads(capsys.readouterr().out)
        return code, {finding["cause"]: finding["evidence"] for finding in said["findings"]}

    return run


def test_nothing_holds_in_a_validator_that_is_well(child: Child, gaia: Gaia) -> None:
    child("")

    assert gaia("SubstrateConnectionLost", "--metrics-url", _endpoint())[1].keys() <= {
        shared.CHAIN_CLOSED.sentence  # this machine may have no way to the public node
    }
    assert gaia("VerificationFailures") == (0, {})


def test_process_that_is_stopped_is_named(child: Child, gaia: Gaia) -> None:
    process = child("")
    process.send_signal(signal.SIGSTOP)
    while psutil.Process(process.pid).status() != psutil.STATUS_STOPPED:
        os.sched_yield()

    code, found = gaia("NoRecentActivity")

    assert code == 1
    assert f"pid {process.pid}" in found[shared.FROZEN.sentence]


def test_validator_whose_processes_are_dead_does_not_run(child: Child, gaia: Gaia) -> None:
    process = child("")
    process.kill()
    process.wait()

    assert shared.STOPPED.sentence in gaia("WeightsStale")[1]


def test_younger_process_with_the_same_number_is_not_ours(child: Child, gaia: Gaia, tmp_path: Path) -> None:
    child("")
    os.utime(board_path(tmp_path), (1.0, 1.0))

    assert shared.STOPPED.sentence in gaia("MetricsAbsent")[1]


def test_endpoint_that_is_closed_is_named(child: Child, gaia: Gaia) -> None:
    child("")
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}/metrics"

    assert url in gaia("MetricsAbsent", "--metrics-url", url)[1][shared.ENDPOINT_SILENT.sentence]


def test_folder_without_a_database_is_a_finding_too(
    child: Child, gaia: Gaia, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    child("")
    monkeypatch.delenv("GAIA_DATABASE_URL")

    assert f"there is no database in {tmp_path}" in gaia("WeightsStale")[1][shared.DATABASE_AWAY.sentence]


def test_database_that_is_away_is_named(child: Child, gaia: Gaia, monkeypatch: pytest.MonkeyPatch) -> None:
    child("")
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setenv(
            "GAIA_DATABASE_URL", f"postgresql://nobody@127.0.0.1:{server.getsockname()[1]}/none"
        )

    assert gaia("DatabaseFailures")[1][shared.DATABASE_AWAY.sentence]


def test_silent_database_is_named_in_a_few_seconds(
    child: Child, gaia: Gaia, monkeypatch: pytest.MonkeyPatch
) -> None:
    child("")
    monkeypatch.setenv("GAIA_DATABASE_TIMEOUT_S", "300")
    # It accepts connections, and says nothing.
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setenv(
            "GAIA_DATABASE_URL", f"postgresql://nobody@127.0.0.1:{server.getsockname()[1]}/none"
        )

        assert "no answer in 5 s" in gaia("DatabaseFailures")[1][shared.DATABASE_AWAY.sentence]


async def test_session_that_others_wait_for_is_named(child: Child, gaia: Gaia, empty_dsn: str) -> None:
    child("")
    holder, waiter = await asyncpg.connect(empty_dsn), await asyncpg.connect(empty_dsn)
    try:
        async with holder.transaction():
            await holder.execute("LOCK TABLE runs")
            waiting = asyncio.create_task(waiter.fetch("SELECT 1 FROM runs"))
            pid = holder.get_server_pid()
            look = "SELECT count(*) FROM pg_locks WHERE NOT granted"
            async with asyncio.timeout(patience(10)):
                while not await holder.fetchval(look):
                    await asyncio.sleep(0.01)
            found = (await asyncio.to_thread(gaia, "DatabaseConnectionsHigh"))[1]
        await waiting
    finally:
        await holder.close()
        await waiter.close()

    assert f"on pid {pid}" in found[shared.BLOCKED.sentence]


def test_process_that_holds_much_memory_is_named(child: Child, gaia: Gaia) -> None:
    child(f"held = b'x' * {processes.MUCH_MEMORY + 2**27}")

    assert "holds 2." in gaia("HighMemoryUsage")[1][processes.BIG_WORKER.sentence]


@pytest.mark.parametrize(
    ("limit", "opened", "branch"), [(64, 60, processes.LOW_LIMIT), (4200, 4100, processes.LEAK)]
)
def test_process_with_many_open_files_is_named(
    child: Child, gaia: Gaia, limit: int, opened: int, branch: Branch
) -> None:
    child(
        f"""
        import os, resource
        resource.setrlimit(resource.RLIMIT_NOFILE, ({limit}, {limit}))
        held = [os.dup(1) for _ in range({opened} - len(os.listdir('/proc/self/fd')))]
        """
    )

    assert f"of {limit} open" in gaia("OpenFilesHigh")[1][branch.sentence]


def test_person_reads_cause_evidence_and_remedy(child: Child, capsys: pytest.CaptureFixture[str]) -> None:
    child("").kill()

    code = main(["runbook", "validatorweightsstale"])

    lines = capsys.readouterr().out.splitlines()
    assert code == 1
    assert lines[0] == "ValidatorWeightsStale"
    at = lines.index(shared.STOPPED.sentence)
    assert lines[at + 1].startswith("  seen    no process")
    assert lines[at + 2].startswith("  remedy  Start it.")
    assert "](" not in "".join(lines)


def test_name_that_nearly_fits_is_suggested(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["runbook", "ValidatorWeightStale"]) == 1

    assert capsys.readouterr().err == "no alert is called ValidatorWeightStale; did you mean WeightsStale?.\n"


def test_without_a_name_every_alert_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["runbook"]) == 0

    assert len(capsys.readouterr().out.splitlines()) > 40


def _endpoint() -> str:
    return f"http://127.0.0.1:{os.environ['GAIA_METRICS_PORT']}/metrics"
