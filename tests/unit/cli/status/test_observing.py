"""A validator is observed from outside by its lock, board, heartbeats, note, metrics and disk."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from gaia.cli.source import Source
from gaia.cli.status.observing import observe
from gaia.validator.app.meeting import rendezvous
from gaia.validator.app.meeting.engine_note import EngineNotes
from gaia.validator.app.meeting.heartbeat import Heart
from gaia.validator.app.meeting.rendezvous import Board, DeathReport
from gaia.validator.app.observation.pages.outside import holder_of, processes_of
from gaia.validator.app.startup.preflight import claim_data_dir
from gaia.validator.core.clock import RealClock, SimulatedClock
from gaia.validator.core.status.facts import Facts, Processes
from gaia.validator.core.status.troubles import troubles_of
from gaia.validator.utils.chain.consensus import Prediction
from gaia.validator.utils.config import Settings
from gaia.validator.utils.identities import WorkerId
from tests.support.builders import a_consensus_view, a_metagraph, a_neuron
from tests.support.repository import ROOT

NOBODY = 2**22 + 1
"""A pid that no process has."""
HOLDER = """
import sys
from pathlib import Path
from gaia.validator.app.startup.preflight import claim_data_dir
lock = claim_data_dir(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""
METRICS = """# HELP gaia_task_overdue 1 if late.
gaia_task_overdue{task="main_scoring"} 0.0
gaia_task_overdue{task="refresh_and_set_weights"} 1.0
gaia_last_success_timestamp_seconds{task="main_scoring"} 1.7745e+09
gaia_errors_total{kind="x"} 3.0
"""


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    rendezvous.make_private(rendezvous.run_directory(folder))
    return folder


@pytest.fixture
def held(data_dir: Path) -> Iterator[int]:
    """The pid of another process that holds the data folder."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, data_dir],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)},
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process.pid
        process.kill()


def settings_of(data_dir: Path, **changes: Any) -> Settings:
    values: dict[str, Any] = {
        "data_dir": data_dir,
        "metrics_port": 0,
        "compute_workers": 2,
        # Nothing listens there.
        "database_url": "postgresql://nobody@127.0.0.1:1/nothing",
        "database_timeout_s": 0.2,
    }
    return Settings(**values | changes)


def _processes(settings: Settings) -> Processes:
    return processes_of(settings.pool, settings.database, settings.data_dir)


def seen(settings: Settings) -> Facts:
    return observe(Source(settings), may_start_database=False)


def test_folder_that_nobody_holds_has_no_holder(data_dir: Path) -> None:
    assert holder_of(data_dir) is None
    os.close(claim_data_dir(data_dir))
    assert holder_of(data_dir) is None


def test_holder_of_the_folder_is_found_without_a_lock_of_our_own(data_dir: Path, held: int) -> None:
    assert holder_of(data_dir) == held


def test_processes_on_the_board_are_counted_if_they_live(data_dir: Path, held: int) -> None:
    board = Board(
        workers={WorkerId("0.1"): os.getpid(), WorkerId("1.2"): NOBODY},
        processes={"io_engine": os.getpid(), "chain_signer": NOBODY},
        restarts={"compute_worker": 2, "io_engine": 1},
        deaths=[DeathReport(role="io_engine", pid=1, exit_code=-9, cause="signal 9", at=1.0, lived_s=2.0)],
    )
    rendezvous.publish(board, rendezvous.board_path(data_dir))

    found = _processes(settings_of(data_dir))

    assert found.is_running
    assert found.is_published
    assert found.living == {"compute_worker": 1, "io_engine": 1, "chain_signer": 0}
    assert found.expected == {"compute_worker": 2, "io_engine": 1, "chain_signer": 1}
    assert found.restarts == 3
    assert [death.cause for death in found.deaths] == ["signal 9 in io_engine"]


def test_seat_that_never_had_a_process_is_no_trouble_while_the_validator_starts(
    data_dir: Path, held: int
) -> None:
    def looked(**board: Any) -> Processes:
        living = {"io_engine": os.getpid(), "chain_signer": os.getpid()}
        rendezvous.publish(Board(processes=living, **board), rendezvous.board_path(data_dir))
        return _processes(settings_of(data_dir))

    def complaints() -> list[str]:
        facts = seen(settings_of(data_dir))
        return [trouble.problem for trouble in troubles_of(facts) if "compute_worker" in trouble.problem]

    tried = {"io_engine": 1, "chain_signer": 1}
    missing = "0 of 2 processes of compute_worker live"

    assert looked(seats_tried=tried, began_at=time.time()).starting == ["compute_worker"]
    assert complaints() == []
    # A worker that was started and died is missing, and so is one that does not come.
    assert looked(seats_tried={**tried, "compute_worker": 2}, began_at=time.time()).starting == []
    assert complaints() == [missing]
    assert looked(seats_tried=tried, began_at=time.time() - 600).starting == []
    assert complaints() == [missing]


def test_process_that_its_parent_has_not_reaped_does_not_live(data_dir: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        board = Board(processes={"io_engine": process.pid})
        rendezvous.publish(board, rendezvous.board_path(data_dir))

        assert _processes(settings_of(data_dir)).living["io_engine"] == 0


def test_reason_of_a_halt_is_a_trouble(data_dir: Path, held: int) -> None:
    board = Board(processes={"io_engine": os.getpid()}, halt="GAIA_WALLET_NAME is wrong; correct it.")
    rendezvous.publish(board, rendezvous.board_path(data_dir))

    problems = [trouble.problem for trouble in troubles_of(seen(settings_of(data_dir)))]

    assert "the validator ends: GAIA_WALLET_NAME is wrong; correct it" in problems


def test_embedded_database_is_expected_and_workers_of_a_cluster_are_not(data_dir: Path) -> None:
    embedded = settings_of(data_dir, database_url="")
    cluster = settings_of(data_dir, compute_backend="dask", dask_scheduler="tcp://host:1", sandbox="off")

    assert _processes(embedded).expected["postgres"] == 1
    assert "compute_worker" not in _processes(cluster).expected


def test_process_that_a_signal_stopped_is_seen_until_it_goes_on(data_dir: Path, held: int) -> None:
    rendezvous.publish(Board(processes={"io_engine": held}), rendezvous.board_path(data_dir))
    settings = settings_of(data_dir)
    assert _processes(settings).stopped == {}

    os.kill(held, signal.SIGSTOP)
    os.waitpid(held, os.WUNTRACED)  # until it has stopped
    assert _processes(settings).stopped == {held: "io_engine"}

    os.kill(held, signal.SIGCONT)
    os.waitpid(held, os.WCONTINUED)
    assert _processes(settings).stopped == {}


def test_open_files_are_counted_against_the_limit_of_their_process(data_dir: Path, held: int) -> None:
    rendezvous.publish(
        Board(processes={"io_engine": held, "chain_signer": NOBODY}), rendezvous.board_path(data_dir)
    )
    resource.prlimit(held, resource.RLIMIT_NOFILE, (64, 64))

    (files,) = _processes(settings_of(data_dir)).files

    assert (files.role, files.limit) == ("io_engine", 64)
    # The three standard streams, and the lock.
    assert 4 <= files.used < 64


def test_silence_is_the_time_since_the_last_heartbeat_of_the_process_on_the_board(data_dir: Path) -> None:
    rendezvous.publish(Board(processes={"io_engine": os.getpid()}), rendezvous.board_path(data_dir))
    assert _processes(settings_of(data_dir)).silent_s == {}

    heart = Heart(rendezvous.heartbeat_path(data_dir))
    heart.beat()
    beaten_at = time.monotonic()
    silent_s = _processes(settings_of(data_dir)).silent_s["io_engine"]
    heart.close()

    assert 0.0 <= silent_s <= time.monotonic() - beaten_at + 1.0


def test_without_a_database_the_rest_is_known_and_the_reason_is_said(data_dir: Path, held: int) -> None:
    rendezvous.publish(Board(processes={"io_engine": held}), rendezvous.board_path(data_dir))

    facts = seen(settings_of(data_dir))

    assert facts.work is None
    assert "the database cannot be reached" in facts.database_error
    assert facts.processes.living["io_engine"] == 1
    assert facts.disk is not None
    names = [trouble.name for trouble in troubles_of(facts)]
    assert "ValidatorDatabaseFailures" in names


def test_database_of_a_stopped_validator_is_left_alone_while_it_is_watched(data_dir: Path) -> None:
    facts = seen(settings_of(data_dir, database_url=""))

    assert facts.work is None
    assert facts.database_error == "it is not read while the validator does not run"


def test_chain_is_known_from_the_note_of_the_engine(data_dir: Path) -> None:
    own = a_neuron(0, hotkey="5Validator", stake=7.5, validator_permit=True, last_update=950)
    EngineNotes(data_dir, RealClock()).write(a_metagraph([own], own_dividends=0.25, own_emission=1.5))

    chain = seen(settings_of(data_dir, weights_interval_blocks=20)).chain

    assert chain is not None
    assert (chain.uid, chain.stake, chain.has_permit, chain.age_blocks) == (0, 7.5, True, 50)
    assert (chain.dividends, chain.emission) == (0.25, 1.5)
    # The chain's own rate limit wins.
    assert chain.due_blocks == 50
    assert datetime.now(UTC) - chain.read_at < timedelta(minutes=5)


def test_trust_is_known_from_the_note_of_the_engine(data_dir: Path) -> None:
    view = a_consensus_view(validator_trust=0.95, proposed=Prediction(validator_trust=0.75, dividends=0.1))
    EngineNotes(data_dir, RealClock(), lambda _: view).write(a_metagraph())

    chain = seen(settings_of(data_dir)).chain

    assert chain is not None
    assert (chain.validator_trust, chain.next_trust, chain.permit_margin) == (0.95, 0.75, 1000.0)


def test_time_in_a_rehearsal_is_that_of_its_clock(data_dir: Path, tmp_path: Path) -> None:
    moment = datetime(2026, 3, 30, tzinfo=UTC)
    SimulatedClock.create(tmp_path / "clock.json", moment, moment)
    settings = settings_of(data_dir, clock_file=tmp_path / "clock.json")
    EngineNotes(data_dir, SimulatedClock(tmp_path / "clock.json")).write(a_metagraph())

    assert (seen(settings).now, seen(settings).is_simulated) == (moment, True)
    (tmp_path / "clock.json").unlink()
    assert seen(settings).now == moment


@pytest.fixture
def metrics_port() -> Iterator[int]:
    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/metrics" else 404)
            self.end_headers()
            self.wfile.write(METRICS.encode())

        def log_message(self, *arguments: object) -> None:
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def test_overdue_jobs_are_read_from_the_metrics(data_dir: Path, held: int, metrics_port: int) -> None:
    facts = seen(settings_of(data_dir, metrics_host="0.0.0.0", metrics_port=metrics_port))

    assert facts.metrics_error == ""
    assert facts.jobs is not None
    assert [(job.name, job.is_overdue) for job in facts.jobs] == [
        ("main_scoring", False),
        ("refresh_and_set_weights", True),
    ]
    assert facts.jobs[0].last_success_at == datetime.fromtimestamp(1.7745e9, UTC)


def test_metrics_that_are_no_numbers_are_said_to_be_away(
    data_dir: Path, held: int, metrics_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules[__name__], "METRICS", 'gaia_task_overdue{task="main_scoring"} soon\n')

    facts = seen(settings_of(data_dir, metrics_port=metrics_port))

    assert facts.jobs is None
    assert "soon" in facts.metrics_error


def test_metrics_that_nobody_serves_are_said_to_be_away(data_dir: Path, held: int) -> None:
    facts = seen(settings_of(data_dir, metrics_port=1))

    assert facts.jobs is None
    assert "refused" in facts.metrics_error
    assert "ValidatorMetricsAbsent" in [trouble.name for trouble in troubles_of(facts)]
