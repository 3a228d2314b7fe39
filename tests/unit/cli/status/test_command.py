"""The command status as a probe and as a picture that is drawn again and again."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

from gaia.cli.__main__ import main
from gaia.cli.status.report import StatusReport
from gaia.validator.app.meeting.rendezvous import make_private, run_directory
from tests.support.patience import Deadline, patience
from tests.support.repository import ROOT

REFERENCE = ROOT / "docs" / "reference" / "status-json.md"


@pytest.fixture
def stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A validator that does not run, with a database that nothing answers for."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GAIA_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("GAIA_DATABASE_URL", "postgresql://nobody:canary@127.0.0.1:1/nothing")
    monkeypatch.setenv("GAIA_DATABASE_TIMEOUT_S", "0.2")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    make_private(run_directory(tmp_path / "data"))
    return tmp_path


def test_validator_that_does_not_run_is_exit_code_2(
    stopped: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["status"]) == 2

    said = capsys.readouterr().out
    assert "stuck: the validator does not run" in said
    assert "database    not read: the database cannot be reached" in said


def test_folder_that_was_named_is_named_in_the_commands_that_help(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = tmp_path / "two words"
    cluster = state / "validator" / "postgres" / "cluster"
    cluster.mkdir(parents=True)
    (cluster / "PG_VERSION").write_text("0\n")

    assert main(["status", "--json", "--state", str(state)]) == 2

    (trouble, *_) = json.loads(capsys.readouterr().out)["troubles"]
    assert trouble["remedy"] == f"gaia runbook ValidatorProcessDown --state '{state}'"


def test_object_has_the_members_that_the_reference_page_explains(
    stopped: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["status", "--json"]) == 2

    said = capsys.readouterr().out
    members = [field.name for field in fields(StatusReport)]
    explained = [line.split("`")[1] for line in REFERENCE.read_text().splitlines() if line.startswith("| `")]
    assert list(json.loads(said)) == members == explained
    assert "canary" not in said


@pytest.mark.parametrize("seconds", ["0", "-1", "nan", "x"])
def test_pause_that_makes_no_sense_is_refused(seconds: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["status", "--watch", seconds])

    assert ended.value.code == 2
    assert "--watch" in capsys.readouterr().err


def read_until(descriptor: int, word: bytes, count: int) -> bytes:
    """Return what a process writes until `word` has come `count` times."""
    said = b""
    deadline = Deadline(30)
    while said.count(word) < count:
        assert not deadline.has_passed, said
        if select.select([descriptor], [], [], 0.1)[0]:
            said += os.read(descriptor, 65536)
    return said


def test_ctrl_c_ends_the_watch_with_0_and_leaves_the_last_picture(stopped: Path) -> None:
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "gaia.cli", "status", "--watch", "0.1"],
        stdin=follower, stdout=follower, stderr=follower, env={**os.environ, "TERM": "xterm", "COLUMNS": "80", "LINES": "24"},
        start_new_session=True,
    )  # fmt: skip
    os.close(follower)

    said = read_until(leader, b"does not run", 6)
    process.send_signal(signal.SIGINT)
    code = process.wait(patience(30))
    os.close(leader)

    assert code == 0
    # Drawn in place: the screen is never cleared, so nothing flickers, nor is the picture erased at the end.
    assert b"\x1b[2J" not in said
    assert b"\x1b[1A" in said
    assert b"Traceback" not in said


def test_watch_into_a_pipe_prints_one_object_a_line(stopped: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "gaia.cli", "status", "--watch", "0.1", "--json"], stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(2)]
        process.send_signal(signal.SIGINT)
        assert process.wait(patience(30)) == 0

    assert [json.loads(line)["exit_code"] for line in lines] == [2, 2]
