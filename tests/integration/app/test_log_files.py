"""Every process of a validator writes its own log files, also those in a sandbox, and follows SIGHUP."""

from __future__ import annotations

import json
import signal
import stat
from pathlib import Path
from typing import Any

import pytest

from gaia.validator.app.sandbox.confine import Level, survey
from gaia.validator.utils.errors import ExitCode
from tests.support.roles import Supervised, until
from tests.support.supervised import Start, worker_pid


def _events(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def _until_succeeded(supervised: Supervised, worker: int) -> None:
    """Wait for the worker's successor: until it is admitted, the worker serves beyond its last unit."""
    until(lambda: worker not in supervised.board().workers.values(), "a successor")


@pytest.mark.skipif(survey().level < Level.BROKERED, reason="this kernel has no sandbox")
def test_each_process_writes_private_files_and_workers_by_their_seat(start: Start, tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    supervised = start(sandbox="required", worker_max_jobs=1, log_files={"folder": str(logs)})

    for number in range(2):
        worker = worker_pid(supervised)
        supervised.submit(f"job-{number}", "test.bug")
        assert "ZeroDivisionError" in supervised.result(f"job-{number}")["failure"]
        _until_succeeded(supervised, worker)
    exit_code, _, errors = supervised.end()

    assert exit_code == ExitCode.OK
    # Two workers of one seat, one after the other, wrote one file.
    failed = _events(logs / "compute_worker-0-application.log")
    assert {line["job_id"] for line in failed} == {"job-0", "job-1"}
    assert {line["event"] for line in failed} == {"handler_failed"}
    entered = _events(logs / "compute_worker-0-security.log")
    assert {line["event"] for line in entered} == {"sandbox_entered"}
    assert len({line["worker"] for line in entered}) >= 2
    supervisors = [line["event"] for line in _events(logs / "supervisor-application.log")]
    assert (supervisors[0], supervisors[-1]) == ("supervisor_started", "supervisor_ended")
    assert {stat.S_IMODE(path.stat().st_mode) for path in logs.iterdir()} == {0o600}
    assert stat.S_IMODE(logs.stat().st_mode) == 0o700
    # Standard error has every line too.
    assert all(f'"event": "{event}"' in errors for event in ("handler_failed", "supervisor_ended"))


def test_files_move_when_a_signal_says_that_the_settings_changed(start: Start, tmp_path: Path) -> None:
    supervised = start(log_files={"folder": str(tmp_path / "one")})
    first = worker_pid(supervised)
    supervised.change(workers=2, log_files={"folder": str(tmp_path / "other")})
    assert supervised.process is not None

    supervised.process.send_signal(signal.SIGHUP)

    until(lambda: first not in supervised.board().workers.values(), "the worker to be replaced")
    exit_code, _, _ = supervised.end()
    assert exit_code == ExitCode.OK
    before = [line["event"] for line in _events(tmp_path / "one" / "supervisor-application.log")]
    after = [line["event"] for line in _events(tmp_path / "other" / "supervisor-application.log")]
    assert before[-1] == "reload_started"
    assert after[-1] == "supervisor_ended"
    reloaded = _events(tmp_path / "one" / "supervisor-security.log")
    assert [line["event"] for line in reloaded] == ["settings_reloaded"]
    assert (tmp_path / "other" / "compute_worker-0-application.log").exists()
