"""The Supervisor, where no child is needed to see what it does."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path
from typing import NoReturn

import msgspec
import pytest

from gaia.validator.app.children import spawning
from gaia.validator.app.meeting import rendezvous
from gaia.validator.app.supervision import Halt, Role
from gaia.validator.app.supervisor import Options, Supervisor
from gaia.validator.utils.errors import ExitCode
from tests.support.scarcity import no_descriptors_left


@pytest.fixture
def supervisor(tmp_path: Path) -> Supervisor:
    options = Options(
        data_dir=str(tmp_path), settings=b"", signer_settings=b"", workers=0, embedded_database=False
    )
    return Supervisor(options, targets={})


def fail_with(code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the first thing that the Supervisor does in its folder fail."""

    def fail(*_: object) -> NoReturn:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(rendezvous, "make_private", fail)


@pytest.mark.parametrize(
    ("code", "exit_code"),
    [(errno.ENOSPC, ExitCode.DATA_DIR_FULL), (errno.EROFS, ExitCode.DATA_DIR_READ_ONLY)],
)
def test_folder_that_takes_nothing_any_more_ends_in_a_sentence(
    code: int,
    exit_code: ExitCode,
    supervisor: Supervisor,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    fail_with(code, monkeypatch)

    assert supervisor.run() == exit_code

    assert capsys.readouterr().err.startswith("GAIA_DATA_DIR: ")


def test_other_errors_of_the_system_are_faults_of_ours(
    supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_with(errno.EMFILE, monkeypatch)

    with pytest.raises(OSError, match="Too many open files"):
        supervisor.run()


def test_full_disk_under_the_board_ends_in_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = Options(
        data_dir=str(tmp_path), settings=b"", signer_settings=b"", workers=0, embedded_database=False
    )
    supervisor = Supervisor(options, targets={Role.SIGNER: "builtins:print"})
    rendezvous.make_private(rendezvous.run_directory(tmp_path))
    board = rendezvous.board_path(tmp_path)
    board.with_name(f"board.{os.getpid()}.part").symlink_to("/dev/full")

    assert supervisor.run() == ExitCode.DATA_DIR_FULL

    assert "has no space left" in capsys.readouterr().err


@pytest.mark.parametrize("code", [errno.EAGAIN, errno.ENOMEM, errno.EMFILE])
def test_start_that_the_system_has_no_means_for_is_tried_again_until_it_is_a_crash_loop(
    code: int, supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tries = []

    def refuse(*_: object, **__: object) -> NoReturn:
        tries.append(code)
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(spawning, "start", refuse)
    options = msgspec.structs.replace(supervisor._options, crash_limit=3, poll_s=0.001)

    assert Supervisor(options, targets={Role.SIGNER: "builtins:print"}).run() == ExitCode.CRASH_LOOP

    assert len(tries) == 3
    assert "GAIA_DATA_DIR" not in capsys.readouterr().err


def test_settings_that_cannot_be_read_again_just_now_end_nothing(
    supervisor: Supervisor, caplog: pytest.LogCaptureFixture
) -> None:
    with no_descriptors_left():
        supervisor._begin_reload()

    assert "reload_failed" in caplog.text
    assert supervisor._rereading.pid is None


def test_change_that_a_rereading_may_have_missed_is_read_by_another(tmp_path: Path) -> None:
    options = Options(
        data_dir=str(tmp_path), settings=b"", signer_settings=b"", workers=0, embedded_database=False
    )
    readings = tmp_path / "readings"
    program = f"import sys; open({str(readings)!r}, 'a').write('read '); sys.exit(2)"
    supervisor = Supervisor(
        options, targets={Role.SIGNER: "builtins:print"}, reload=(sys.executable, "-c", program)
    )

    for _ in range(3):
        supervisor._begin_reload()
    while supervisor._rereading.pid is not None:
        supervisor._take_over(supervisor._rereading.pipe)

    assert readings.read_text() == "read read "


def test_reason_of_a_halt_is_on_the_board_while_the_children_end(
    supervisor: Supervisor, tmp_path: Path
) -> None:
    rendezvous.make_private(rendezvous.run_directory(tmp_path))

    supervisor._carry_out(Halt(ExitCode.CRASH_LOOP, "io_engine died 12 times in a row"))

    board = rendezvous.read_board(rendezvous.board_path(tmp_path))
    assert board.halt == "io_engine died 12 times in a row; read the last log lines and report them."
