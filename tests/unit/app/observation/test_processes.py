"""All processes of a validator are found and summed by role; CPU seconds never fall."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from gaia.validator.app.meeting.rendezvous import Board, publish
from gaia.validator.app.observation.processes import ROLES, ProcessTable

Started = Callable[..., subprocess.Popen[bytes]]

BURNT_S = 0.25
"""What is burnt, less what the kernel has not counted yet."""
SLEEP = "print(flush=True); import time; time.sleep(600)"
BURN = "import time\nwhile time.process_time() < 0.3: pass\n" + SLEEP
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
    roles = _table(board).look().roles

    assert set(roles) == set(ROLES)
    assert roles["supervisor"].up == 1
    assert roles["supervisor"].rss_bytes > 1 << 20
    assert [roles[role].up for role in ("chain_signer", "postgres", "compute_worker", "io_engine")] == [0] * 4


def test_children_without_a_seat_are_told_apart_by_their_program(board: Path, started: Started) -> None:
    started(SLEEP, "multiprocessing.forkserver")
    started(SLEEP, "multiprocessing.spawn")
    started(SLEEP, "multiprocessing.resource_tracker")

    roles = _table(board).look().roles

    assert (roles["fork_server"].up, roles["standby"].up) == (1, 1)


def test_backends_count_as_postgres(board: Path, started: Started) -> None:
    postmaster = started(FAMILY)
    publish(Board(processes={"postgres": postmaster.pid}), board)

    assert _table(board).look().roles["postgres"].up == 2


def test_workers_are_summed_by_seat(board: Path, started: Started) -> None:
    pids = {name: started(SLEEP).pid for name in ("0.3", "0.4", "1.5")}
    publish(Board(workers=pids), board)

    look = _table(board).look()

    assert look.roles["compute_worker"].up == 3
    assert set(look.seats) == {0, 1}
    assert look.seats[0] > look.seats[1] > 0
    assert sum(look.seats.values()) == look.roles["compute_worker"].rss_bytes


def test_cpu_seconds_stay_when_the_process_dies_and_its_successor_adds_to_them(
    board: Path, started: Started
) -> None:
    table = _table(board)
    first = started(BURN)
    publish(Board(workers={"0.1": first.pid}), board)
    before = table.look().roles["compute_worker"]
    _end(first)
    publish(Board(), board)
    gone = table.look().roles["compute_worker"]
    publish(Board(workers={"0.2": started(BURN).pid}), board)
    after = table.look().roles["compute_worker"]

    assert before.cpu_s >= BURNT_S
    assert (gone.up, gone.rss_bytes, gone.cpu_s) == (0, 0.0, before.cpu_s)
    assert after.cpu_s >= before.cpu_s + BURNT_S


def test_new_table_counts_on_from_what_the_last_one_remembered(board: Path, started: Started) -> None:
    first = _table(board)
    publish(Board(workers={"0.1": started(BURN).pid}), board)
    counted = first.look().roles["compute_worker"].cpu_s
    first.remember()

    second = _table(board).look().roles["compute_worker"].cpu_s

    assert counted <= second < counted + 0.2


def test_memory_that_cannot_be_read_is_begun_anew(board: Path) -> None:
    board.with_name("cpu").write_bytes(b"{")

    assert _table(board).look().roles["supervisor"].cpu_s > 0


def test_memory_that_cannot_be_written_is_told(board: Path) -> None:
    table = _table(board)
    table.look()
    board.with_name("cpu").mkdir()

    with pytest.raises(OSError, match="cpu"):
        table.remember()


def test_descriptors_are_those_of_the_process_that_has_most(board: Path, started: Started) -> None:
    files = (
        "import os, resource\nresource.setrlimit(resource.RLIMIT_NOFILE, (99, 99))\nheld = [open('/dev/null') for _ in range(40)]\n"
        + SLEEP
    )
    publish(Board(workers={"0.1": started(files).pid, "1.2": started(SLEEP).pid}), board)

    workers = _table(board).look().roles["compute_worker"]

    assert 40 < workers.open_fds < 60
    assert workers.max_fds == 99


def test_process_that_ended_since_the_board_was_written_is_left_out(board: Path, started: Started) -> None:
    ended = started(SLEEP)
    _end(ended)
    publish(Board(processes={"chain_signer": ended.pid}), board)

    assert _table(board).look().roles["chain_signer"].up == 0
