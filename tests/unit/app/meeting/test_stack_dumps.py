"""A process writes its Python stacks when it is asked, and no process is ended by the question."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gaia.validator.app.meeting.stack_dumps import NoStack, dump_path, stacks_of
from tests.support.patience import patience
from tests.support.repository import ROOT

CHILD = """
import sys, time
from pathlib import Path
from gaia.validator.app.meeting.stack_dumps import offer_stacks

def wait_in_here():
    print("here", flush=True)
    sys.stdin.read()

if sys.argv[2] == "offers":
    offer_stacks(Path(sys.argv[1]))
wait_in_here()
"""


def a_child(folder: Path, what: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(folder), what],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "here\n"
    return process


@pytest.fixture
def offering(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    with a_child(tmp_path, "offers") as process:
        yield process
        process.kill()


def test_stack_names_what_the_process_does_and_it_goes_on(
    tmp_path: Path, offering: subprocess.Popen[str]
) -> None:
    for _ in range(2):
        text = stacks_of(tmp_path, offering.pid, patience(5))

        assert "in wait_in_here" in text
        assert text.count("most recent call first") == 1
    assert offering.poll() is None


def test_file_is_for_our_user_alone(tmp_path: Path, offering: subprocess.Popen[str]) -> None:
    assert dump_path(tmp_path, offering.pid).stat().st_mode & 0o777 == 0o600


def test_stopped_process_is_said_to_be_silent(tmp_path: Path, offering: subprocess.Popen[str]) -> None:
    offering.send_signal(signal.SIGSTOP)

    with pytest.raises(NoStack, match=r"wrote nothing within 0\.2 s; it may be stopped"):
        stacks_of(tmp_path, offering.pid, 0.2)


def test_process_that_offers_nothing_is_not_sent_the_signal_that_would_end_it(tmp_path: Path) -> None:
    with a_child(tmp_path, "offers nothing") as process:
        with pytest.raises(NoStack, match="offers no stacks"):
            stacks_of(tmp_path, process.pid, 1.0)
        # Nor if the file of an earlier process with its number is still there.
        path = dump_path(tmp_path, process.pid)
        path.parent.mkdir(exist_ok=True)
        path.touch()
        with pytest.raises(NoStack, match="offers no stacks"):
            stacks_of(tmp_path, process.pid, 1.0)

        assert process.poll() is None
        process.kill()


def test_process_that_is_gone_offers_nothing(tmp_path: Path, offering: subprocess.Popen[str]) -> None:
    offering.kill()
    offering.wait()

    with pytest.raises(NoStack, match="offers no stacks"):
        stacks_of(tmp_path, offering.pid, 1.0)
