"""Log lines are found by what they say, in the order of time, and followed while files grow and rotate."""

from __future__ import annotations

import argparse
import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from gaia.cli.__main__ import main
from gaia.cli.logs.files import ends_of, follow, last_lines
from gaia.cli.logs.lines import Wanted, console_form, line_of
from gaia.cli.logs.options import moment
from tests.support.patience import Deadline, patience
from tests.support.repository import ROOT

START = datetime(2026, 3, 25, 12, tzinfo=UTC)
ALL = Wanted()


def a_line(minute: float, event: str = "tick", level: str = "info", **values: Any) -> str:
    at = START + timedelta(minutes=minute)
    return json.dumps({"timestamp": at.isoformat(), "level": level, "event": event, **values}) + "\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two processes' files; the engine's were rotated twice."""
    (tmp_path / "io_engine-application.log.2").write_text(a_line(0, "first", role="io_engine"))
    (tmp_path / "io_engine-application.log.1").write_text(
        a_line(2, "run_opened", run_id="2026-03-25T00Z", role="io_engine")
    )
    (tmp_path / "io_engine-application.log").write_text(
        a_line(4, "forecast_closed", "warning", run_id="2026-03-26T00Z", hotkey="5Grwva", uid=7)
        + a_line(6, "job_crashed", "error", exception="Traceback:\n  File x\nValueError: \x1b[31mno")
    )
    (tmp_path / "signer-security.log").write_text(
        a_line(3, "weights_set", role="signer") + "GAIA_WALLET: a sentence; act.\n" + a_line(5, uid=70)
    )
    (tmp_path / "notes.txt").write_text("not a log\n")
    return tmp_path


@pytest.fixture
def opened() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def events(folder: Path, wanted: Wanted = ALL, count: int = 100) -> list[str]:
    return [line.values["event"] if line.values else line.raw for line in last_lines(folder, wanted, count)]


def test_lines_of_all_files_come_in_the_order_of_time(folder: Path) -> None:
    assert events(folder) == [
        *("first", "run_opened", "weights_set", "GAIA_WALLET: a sentence; act."),
        *("forecast_closed", "tick", "job_crashed"),
    ]


def test_only_the_newest_are_shown(folder: Path) -> None:
    assert events(folder, count=2) == ["tick", "job_crashed"]
    assert events(folder, count=0) == []


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (Wanted(level="warning"), ["forecast_closed", "job_crashed"]),
        (Wanted(run="2026-03-25"), ["run_opened"]),
        (Wanted(miner="7"), ["forecast_closed"]),
        (Wanted(miner="5Gr"), ["forecast_closed"]),
        (Wanted(role="signer"), ["weights_set"]),
        (Wanted(event="tick"), ["tick"]),
        (Wanted(since=START + timedelta(minutes=4.5)), ["tick", "job_crashed"]),
        (Wanted(level="error", run="2026"), []),
    ],
)
def test_lines_are_chosen_by_what_they_say(folder: Path, wanted: Wanted, expected: list[str]) -> None:
    assert events(folder, wanted) == expected


def test_file_that_ended_before_the_wanted_time_is_not_read(folder: Path) -> None:
    old = folder / "io_engine-application.log.2"
    os.utime(old, (0, 0))
    old.chmod(0)
    old.unlink()
    old.mkdir()

    assert events(folder, Wanted(since=START)) == events(folder)


def test_line_for_people_has_its_trace_below_and_controls_no_terminal(folder: Path) -> None:
    *_, crash = last_lines(folder, ALL, 1)

    assert console_form(crash).splitlines() == [
        "2026-03-25 12:06:00.000 error    job_crashed",
        "Traceback:",
        "  File x",
        r"ValueError: \x1b[31mno",
    ]
    assert console_form(line_of("plain \x1b[2J words", START)) == r"plain \x1b[2J words"


def test_lines_to_come_are_followed_through_a_rotation(folder: Path, opened: ExitStack) -> None:
    path = folder / "io_engine-application.log"
    ends = ends_of(folder)
    with path.open("a") as file:
        file.write(a_line(7, "between"))
    batches = opened.enter_context(closing(follow(folder, ALL, ends)))
    assert [line.values["event"] for line in next(batches) if line.values] == ["between"]

    with path.open("a") as file:
        file.write(a_line(8, "last_of_the_old"))
        file.write(a_line(9, "half")[:20])
    path.rename(folder / "io_engine-application.log.1")
    path.write_text(a_line(10, "first_of_the_new"))
    (folder / "worker-0-application.log").write_text(a_line(11, "of_a_new_file"))
    found = [line.values["event"] for line in next(batches) if line.values]

    assert found == ["last_of_the_old", "first_of_the_new", "of_a_new_file"]


def test_line_written_while_the_old_ones_are_read_is_neither_lost_nor_shown_twice(
    folder: Path, opened: ExitStack
) -> None:
    ends = ends_of(folder)
    with (folder / "signer-security.log").open("a") as file:
        file.write(a_line(20, "meanwhile"))

    assert "meanwhile" not in [
        line.values["event"] for line in last_lines(folder, ALL, 99, ends) if line.values
    ]
    batches = opened.enter_context(closing(follow(folder, ALL, ends)))
    assert [line.values["event"] for line in next(batches) if line.values] == ["meanwhile"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-03-25", datetime(2026, 3, 25, tzinfo=UTC)),
        ("2026-03-25T12:00Z", START),
        ("2026-03-25T13:00+01:00", START),
    ],
)
def test_time_is_in_utc_unless_it_says_otherwise(text: str, expected: datetime) -> None:
    assert moment(text) == expected


def test_time_may_be_so_long_ago() -> None:
    found = moment("1.5h")

    assert timedelta(hours=1.5) <= datetime.now(UTC) - found < timedelta(hours=2)


def test_time_of_another_form_is_refused() -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="yesterday is neither"):
        moment("yesterday")


def test_command_prints_lines_for_people_or_as_they_are(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["logs", "--dir", str(folder), "--level", "warning"]) == 0
    assert "warning  forecast_closed              run_id=2026-03-26T00Z hotkey=5Grwva uid=7\n" in (
        capsys.readouterr().out
    )
    assert main(["logs", "--dir", str(folder), "--json"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[0])["event"] == "first"


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("--run", "1999"), "no line in "),
        (("--dir", "/nonexistent/logs"), "there are no log files in /nonexistent/logs"),
    ],
)
def test_question_without_lines_is_one_sentence(
    folder: Path, words: tuple[str, ...], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["logs", "--dir", str(folder), *words]) == 1
    assert capsys.readouterr().err.startswith(complaint)


def test_validators_own_folder_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GAIA_DATA_DIR", str(tmp_path / "data"))
    assert main(["logs"]) == 1
    assert "set GAIA_LOG_DIR, or name a folder with --dir" in capsys.readouterr().err
    (tmp_path / "data" / "logs").mkdir(parents=True)
    (tmp_path / "data" / "logs" / "a.log").write_text(a_line(1, "here"))

    assert main(["logs"]) == 0
    assert "here" in capsys.readouterr().out


def test_ctrl_c_ends_following_with_0(folder: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "gaia.cli", "logs", "--dir", folder, "--follow", "--last", "0"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)},
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stderr is not None
        deadline = Deadline(30)
        number = 0
        while not select.select([process.stdout], [], [], 0.2)[0]:
            # The command may not have looked yet, so it is given more than one line.
            assert not deadline.has_passed
            number += 1
            with (folder / "new.log").open("a") as file:
                file.write(a_line(number, "to_come"))
        process.send_signal(signal.SIGINT)
        process.stdout.read()
        assert process.wait(patience(30)) == 0
        assert process.stderr.read() == ""
