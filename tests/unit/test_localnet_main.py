"""The command line of a local subnet: what it prints, how it ends."""

from __future__ import annotations

import json
import os
import signal

import pytest

from gaia.localnet import __main__ as command
from gaia.localnet.children import ChildFailed
from gaia.localnet.options import Options
from gaia.localnet.population import Behaviour
from gaia.localnet.subnet import LocalSubnet
from gaia.localnet.watch import Progress
from tests.support.localnet import RUN_ID, a_finished_run, a_run

REPORT = {
    "run_ids": [RUN_ID],
    "miners": [],
    "chain": {"block": 99, "extrinsic": "99-1", "vector": []},
    "seconds": {},
}


class StagedSubnet(LocalSubnet):
    """Starts nothing; its database tells a prepared story."""

    story = (Progress(), Progress(runs=(a_run(),)), a_finished_run())
    drains = True
    started: Options | None = None
    stops = 0

    async def start(self) -> None:
        type(self).started = self.options
        self._scenes = iter(self.story)

    def check(self) -> None:
        """All is well."""

    async def progress(self) -> Progress:
        self.last_progress = next(self._scenes, self.last_progress)
        return self.last_progress

    async def report(self, progress, seconds):
        return REPORT | {"seconds": dict(seconds)}

    async def stop(self) -> bool:
        type(self).stops += 1
        return self.drains


@pytest.fixture
def staged(monkeypatch, tmp_path):
    """Plays `StagedSubnet`, changed as the test wants, and returns the class that was played."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(command, "_WATCH_S", 0.001)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def play(**changes) -> type[StagedSubnet]:
        played = type("Played", (StagedSubnet,), changes)
        monkeypatch.setattr(command, "LocalSubnet", played)
        return played

    yield play
    for number, handler in handlers.items():
        signal.signal(number, handler)


def test_json_is_one_object_on_standard_output_and_progress_goes_to_standard_error(staged, capsys):
    staged()

    code = command.main(["--once", "--json", "--state", "here"])

    output = capsys.readouterr()
    report = json.loads(output.out)
    assert code == 0
    assert report["run_ids"] == [RUN_ID]
    assert report["seconds"]["total"] > 0
    assert "done" in output.err


def test_person_gets_a_table_and_the_folder(staged, capsys):
    staged()

    assert command.main(["--once"]) == 0
    output = capsys.readouterr().out
    assert "Set in block 99" in output
    assert ".localnet" in output


def test_options_reach_the_subnet(staged):
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
        ]
    )

    recast = {3: Behaviour.DRIP, 19: Behaviour.NO_TLS}
    assert played.started == Options(miners=20, days=2, grid="0.25", seed=5, recast=recast)


@pytest.mark.parametrize(
    ("text", "reason"),
    [("12=drip", "numbered 0 to 11"), ("3=saint", "is not like 8="), ("drip", "is not like 8=")],
)
def test_miner_that_cannot_be_recast_is_named(staged, capsys, text, reason):
    staged()

    with pytest.raises(SystemExit):
        command.main(["--once", "--recast", text])
    assert reason in capsys.readouterr().err


def test_once_is_one_day_and_otherwise_three(staged):
    finished = a_finished_run()
    played = staged(story=(finished,))
    command.main(["--once", "--state", "here"])
    assert played.started.days == 1

    def stop_now(self):
        os.kill(os.getpid(), signal.SIGTERM)

    played = staged(story=(finished,), check=stop_now)
    command.main(["--state", "here"])
    assert played.started.days == 3


def test_ctrl_c_drains_and_says_so(staged, capsys):
    def interrupt(self):
        os.kill(os.getpid(), signal.SIGINT)

    played = staged(check=interrupt, story=(Progress(),))

    assert command.main(["--once", "--json", "--state", "here"]) == 0
    output = capsys.readouterr()
    assert output.out == ""
    assert "drained cleanly" in output.err
    assert played.stops >= 1


def test_validator_that_had_to_be_killed_is_a_failure(staged, capsys):
    def interrupt(self):
        os.kill(os.getpid(), signal.SIGINT)

    staged(check=interrupt, story=(Progress(),), drains=False)

    assert command.main(["--once", "--state", "here"]) == 1
    assert "had to be killed" in capsys.readouterr().err


def test_validator_that_does_not_end_cleanly_after_the_work_is_a_failure(staged, capsys):
    staged(drains=False)

    assert command.main(["--once", "--json", "--state", "here"]) == 1
    assert "did not end cleanly" in capsys.readouterr().err


def test_process_that_dies_ends_the_subnet_with_its_last_words(staged, capsys):
    def fail(self):
        raise ChildFailed("validator ended unexpectedly, exit code 14\nlast words")

    played = staged(check=fail)

    assert command.main(["--once", "--state", "here"]) == 1
    error = capsys.readouterr().err
    assert "exit code 14" in error
    assert "last words" in error
    assert "Traceback" not in error
    assert played.stops >= 1


def test_folder_that_cannot_be_made_is_one_sentence(staged, capsys, tmp_path):
    staged()
    (tmp_path / "file").write_text("")

    assert command.main(["--once", "--state", "file/below"]) == 1
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["--miners", "0"], ["--days", "x"], ["--grid", "2"], ["--seed", "-1"]])
def test_bad_argument_is_refused(arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        command.main(arguments)

    assert ended.value.code == 2
    assert arguments[0] in capsys.readouterr().err
