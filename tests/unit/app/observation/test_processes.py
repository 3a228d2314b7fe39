"""All processes of a validator are found: their descriptors by role, and workers' memory by seat."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from gaia.validator.app.meeting.rendezvous import Board, publish
from gaia.validator.app.observation.family import ROLES
from gaia.validator.app.observation.processes import Descriptors, ProcessTable
from gaia.validator.utils.identities import WorkerId

Started = Callable[..., subprocess.Popen[bytes]]

SLEEP = "print(flush=True); import time; time.sleep(600)"
FAMILY = (
    "import subprocess, sys\nsubprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
    + SLEEP
)


@pytest.fixture
def started() -> Iterator[Started]:
    """Starts a Python program, a child of this process, and waits until it has printed a line."""
    with ExitStack() as stack:

        def start(program: str, *arguments: str) -> subprocess.Popen[bytes]:
            process = subprocess.Popen(
                [sys.executable, "-c", program, *arguments], stdout=subprocess.PIPE, start_new_session=True
            )
            stack.callback(_end, process)
            assert process.stdout is not None
            process.stdout.readline()
            return process

        yield start


def _end(process: subprocess.Popen[bytes]) -> None:
    try:
        os.killpg(process.pid, 9)
    except ProcessLookupError:
        pass
    process.wait()
    assert process.stdout is not None
    process.stdout.close()


@pytest.fixture
def board(tmp_path: Path) -> Path:
    path = tmp_path / "board"
    publish(Board(), path)
    return path


def _table(board: Path) -> ProcessTable:
    return ProcessTable(board, os.getpid())


def test_every_role_is_shown_and_those_without_a_process_have_none(board: Path) -> None:
    found = _table(board).look().descriptors

    assert set(found) == set(ROLES)
    assert found["supervisor"].processes == 1
    assert found["supervisor"].limit >= found["supervisor"].open > 0
    without = ("chain_signer", "postgres", "compute_worker", "io_engine")
    assert [found[role] for role in without] == [Descriptors()] * 4


def test_children_without_a_seat_are_told_apart_by_their_program(board: Path, started: Started) -> None:
    started(SLEEP, "multiprocessing.forkserver")
    started(SLEEP, "multiprocessing.spawn")
    started(SLEEP, "multiprocessing.resource_tracker")

    found = _table(board).look().descriptors

    assert (found["fork_server"].processes, found["standby"].processes) == (1, 1)


def test_backends_count_as_postgres(board: Path, started: Started) -> None:
    postmaster = started(FAMILY)
    publish(Board(processes={"postgres": postmaster.pid}), board)

    assert _table(board).look().descriptors["postgres"].processes == 2


def test_workers_are_summed_by_seat(board: Path, started: Started) -> None:
    pids = {WorkerId(name): started(SLEEP).pid for name in ("0.3", "0.4", "1.5")}
    publish(Board(workers=pids), board)

    look = _table(board).look()

    assert look.descriptors["compute_worker"].processes == 3
    assert set(look.seats) == {0, 1}
    assert look.seats[0] > look.seats[1] > 0


def test_descriptors_are_those_of_the_process_that_has_most(board: Path, started: Started) -> None:
    files = (
        "import os, resource\nresource.setrlimit(resource.RLIMIT_NOFILE, (99, 99))\nheld = [open('/dev/null') for _ in range(40)]\n"
        + SLEEP
    )
    publish(Board(workers={WorkerId("0.1"): started(files).pid, WorkerId("1.2"): started(SLEEP).pid}), board)

    workers = _table(board).look().descriptors["compute_worker"]

    assert 40 < workers.open < 60
    assert workers.limit == 99


def test_process_that_ended_since_the_board_was_written_is_left_out(board: Path, started: Started) -> None:
    ended = started(SLEEP)
    _end(ended)
    publish(Board(processes={"chain_signer": ended.pid}), board)

    assert _table(board).look().descriptors["chain_signer"].processes == 0
