"""The Supervisor, where no child is needed to see what it does."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import NoReturn

import pytest

from gaia.validator.app import rendezvous
from gaia.validator.app.supervisor import Options, Supervisor
from gaia.validator.utils.errors import ExitCode


@pytest.fixture
def supervisor(tmp_path: Path) -> Supervisor:
    options = Options(data_dir=str(tmp_path), settings=b"", workers=0, embedded_database=False)
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
