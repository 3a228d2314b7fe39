"""Where the processes of one validator meet."""

from __future__ import annotations

import os
import socket
import stat
import tempfile
from pathlib import Path

import pytest

from gaia.validator.app.meeting import rendezvous
from gaia.validator.app.meeting.rendezvous import Board, DeathReport
from gaia.validator.utils.errors import ConfigurationError
from gaia.validator.utils.identities import worker_id


def test_sockets_and_board_are_below_the_data_folder() -> None:
    data_dir = Path("/srv/gaia")

    assert rendezvous.pool_socket_path(data_dir) == Path("/srv/gaia/run/pool.sock")
    assert rendezvous.signer_socket_path(data_dir) == Path("/srv/gaia/run/signer.sock")
    assert rendezvous.board_path(data_dir) == Path("/srv/gaia/run/board")


def test_long_path_gets_a_short_folder_of_its_own() -> None:
    first, second = (Path("/srv", "x" * 100, name) for name in ("one", "two"))

    folders = {rendezvous.run_directory(data_dir) for data_dir in (first, second)}

    assert len(folders) == 2
    assert all(folder.parent == Path(tempfile.gettempdir()) for folder in folders)
    assert rendezvous.run_directory(first) in folders


@pytest.mark.parametrize("length", range(60, 110, 7))
def test_socket_can_be_bound_however_long_the_data_folder_is(tmp_path: Path, length: int) -> None:
    data_dir = tmp_path / ("x" * max(1, length - len(str(tmp_path))))
    path = rendezvous.signer_socket_path(data_dir)
    rendezvous.make_private(path.parent)

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))

    path.unlink()
    path.parent.rmdir()


def test_folder_is_for_our_eyes_only(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "run"
    folder.mkdir(parents=True, mode=0o755)

    rendezvous.make_private(folder)

    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_folder_of_somebody_else_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stranger = os.geteuid() + 1
    monkeypatch.setattr(os, "geteuid", lambda: stranger)

    with pytest.raises(ConfigurationError, match="another user owns"):
        rendezvous.make_private(tmp_path)


def test_board_is_read_as_it_was_published(tmp_path: Path) -> None:
    board = Board(workers={worker_id(0, 3): 17}, processes={"io_engine": 4}, restarts={"io_engine": 2})

    rendezvous.publish(board, tmp_path / "board")

    assert rendezvous.read_board(tmp_path / "board") == board
    assert [path.name for path in tmp_path.iterdir()] == ["board"]


def test_board_that_was_never_published_is_empty(tmp_path: Path) -> None:
    assert rendezvous.read_board(tmp_path / "board") == Board()


STACK = """Current thread 0x1 (most recent call first):
  File "/x/numbers.py", line 7 in crunch
  File "/x/handlers.py", line 9 in run
"""


def test_report_of_a_death_is_a_sentence_with_the_innermost_calls() -> None:
    report = DeathReport(
        role="compute_worker",
        worker=worker_id(0, 1),
        pid=7,
        exit_code=-14,
        cause="deadline",
        at=0.0,
        lived_s=1.0,
        private_mib=80.0,
        stack=STACK,
    )

    assert report.sentence == (
        "deadline in compute_worker 0.1 with 80 MiB at numbers.py:7 in crunch < handlers.py:9 in run"
    )
