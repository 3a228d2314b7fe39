"""The command line of a local subnet: what it prints, how it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest

from gaia.localnet import __main__ as command
from gaia.localnet.children import ChildFailed
from gaia.localnet.options import Options
from gaia.localnet.population import Behaviour
from gaia.localnet.view.watch import Progress
from tests.support import staged_subnet
from tests.support.localnet import RUN_ID, a_run, some_weights
from tests.support.patience import patience
from tests.support.repository import ROOT
from tests.support.roles import until
from tests.support.staged_subnet import ClingingSubnet, EndlessSubnet, StagedSubnet, StubbornSubnet

Staged = Callable[..., type[StagedSubnet]]
CommandOf = Callable[[type[StagedSubnet]], subprocess.Popen[str]]


@pytest.fixture
def staged(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Staged:
    """Plays `StagedSubnet`, changed as the test wants, and returns the class that was played."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(command, "_WATCH_S", 0.001)

    def play(**changes: Any) -> type[StagedSubnet]:
        played = type("Played", (StagedSubnet,), changes)
        monkeypatch.setattr(command, "LocalSubnet", played)
        return played

    return play


@pytest.fixture
def command_of(tmp_path: Path) -> Iterator[CommandOf]:
    """Starts the command line of a staged subnet in a process of its own, and waits until it watches."""
    started = []

    def start(subnet: type[StagedSubnet]) -> subprocess.Popen[str]:
        program = [sys.executable, "-m", staged_subnet.__name__, subnet.__name__]
        process = subprocess.Popen(
            [*program, "--once", "--json", "--state", "here"],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        until((tmp_path / "watched").exists, "the command to watch")
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_json_is_one_object_on_standard_output_and_progress_goes_to_standard_error(
    staged: Staged, capsys: pytest.CaptureFixture[str]
) -> None:
    staged()

    code = command.main(["--once", "--json", "--state", "here"])

    output = capsys.readouterr()
    report = json.loads(output.out)
    assert code == 0
    assert report["run_ids"] == [RUN_ID]
    assert report["seconds"]["total"] > 0
    assert "done" in output.err


def test_person_gets_a_table_and_the_folder(staged: Staged, capsys: pytest.CaptureFixture[str]) -> None:
    staged()

    assert command.main(["--once"]) == 0
    output = capsys.readouterr().out
    assert "Set in block 99" in output
    assert ".localnet" in output
    # A file has room for every column, however narrow the terminal of others is.
    assert "hotkey" in output


def test_options_reach_the_subnet(staged: Staged) -> None:
    played = staged()

    command.main(
        [
            "--once",
            "--days",
            "2",
            "--miners",
            "20",
            "--grid",
            "0.25",
            "--seed",
            "5",
            "--state",
            "here",
            "--recast",
            "3=drip",
            "--recast",
            "19=no_tls",
            "--metrics-port",
            "19090",
        ]
    )

    recast = {3: Behaviour.DRIP, 19: Behaviour.NO_TLS}
    assert played.started == Options(
        miners=20, days=2, grid="0.25", seed=5, recast=recast, metrics_port=19090
    )


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("12=drip", "numbered 0 to 11"),
        ("3=saint", "does not have the form 8="),
        ("drip", "does not have the form 8="),
    ],
)
def test_miner_that_cannot_be_recast_is_named(
    staged: Staged, capsys: pytest.CaptureFixture[str], text: str, reason: str
) -> None:
    staged()

    with pytest.raises(SystemExit):
        command.main(["--once", "--recast", text])
    assert reason in capsys.readouterr().err


def test_once_is_one_day_and_otherwise_three(staged: Staged) -> None:
    three_runs = ("2026-03-25T00Z", "2026-03-26T00Z", "2026-03-27T00Z")
    weights = some_weights(run_ids=three_runs, completed_ids=three_runs)
    runs = tuple(a_run(day, completed=True) for day in range(3))
    played = staged(story=(Progress(runs=runs, weights=weights),))

    command.main(["--once", "--state", "here"])
    assert played.started is not None
    assert played.started.days == 1
    command.main(["--state", "here"])
    assert played.started.days == 3


def test_folder_is_continued_with_as_many_runs_as_it_was_made_for(
    staged: Staged, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    staged()
    made = tmp_path / "made"
    made.mkdir()
    Options(days=1).save(made)

    assert command.main(["--state", str(made)]) == 0
    with pytest.raises(SystemExit):
        command.main(["--state", str(made), "--days", "2"])
    assert "was made for 1, so it opens no more runs" in capsys.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_drains_and_says_so(command_of: CommandOf, number: signal.Signals) -> None:
    process = command_of(EndlessSubnet)

    process.send_signal(number)

    output, error = process.communicate(timeout=patience(30))
    assert process.returncode == 0
    assert output == ""
    assert "drained cleanly" in error


def test_validator_that_had_to_be_killed_is_a_failure(command_of: CommandOf) -> None:
    process = command_of(StubbornSubnet)

    process.send_signal(signal.SIGINT)

    assert "had to be killed" in process.communicate(timeout=patience(30))[1]
    assert process.returncode == 1


def test_second_ctrl_c_ends_it_at_once(command_of: CommandOf) -> None:
    process = command_of(ClingingSubnet)
    process.send_signal(signal.SIGINT)
    error = process.stderr
    assert error is not None
    until(lambda: "Ctrl-C again" in error.readline(), "the first to be heeded")

    process.send_signal(signal.SIGINT)

    assert process.wait(patience(30)) == -signal.SIGINT


def test_validator_that_does_not_end_cleanly_after_the_work_is_a_failure(
    staged: Staged, capsys: pytest.CaptureFixture[str]
) -> None:
    staged(drains=False)

    assert command.main(["--once", "--json", "--state", "here"]) == 1
    assert "did not end cleanly" in capsys.readouterr().err


def test_process_that_dies_ends_the_subnet_with_its_last_words(
    staged: Staged, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(self: StagedSubnet) -> NoReturn:
        raise ChildFailed("validator ended unexpectedly, exit code 14\nlast words")

    played = staged(check=fail)

    assert command.main(["--once", "--state", "here"]) == 1
    error = capsys.readouterr().err
    assert "exit code 14" in error
    assert "last words" in error
    assert "Traceback" not in error
    assert played.stops >= 1


def test_folder_that_cannot_be_made_is_one_sentence(
    staged: Staged, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    staged()
    (tmp_path / "file").write_text("")

    assert command.main(["--once", "--state", "file/below"]) == 1
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["--miners", "0"], ["--days", "x"], ["--grid", "2"], ["--seed", "-1"]])
def test_bad_argument_is_refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        command.main(arguments)

    assert ended.value.code == 2
    assert arguments[0] in capsys.readouterr().err
