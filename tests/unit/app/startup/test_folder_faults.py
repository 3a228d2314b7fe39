"""Which errors are trouble with the data folder, and which are not; the faults are the kernel's own."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from gaia.validator.app.meeting import rendezvous
from gaia.validator.app.meeting.rendezvous import Board, board_path, publish
from gaia.validator.app.startup.folder_faults import our_files, trouble_with_named_file
from gaia.validator.utils.errors import ConfigurationError, ExitCode
from tests.support.scarcity import no_descriptors_left


def test_full_disk_is_the_operators_to_mend(tmp_path: Path) -> None:
    rendezvous.make_private(rendezvous.run_directory(tmp_path))
    board = board_path(tmp_path)
    board.with_name(f"board.{os.getpid()}.part").symlink_to("/dev/full")

    with pytest.raises(ConfigurationError) as raised, our_files(tmp_path):
        publish(Board(), board)

    assert raised.value.exit_code is ExitCode.DATA_DIR_FULL


def test_lack_of_descriptors_is_no_trouble_with_the_folder(tmp_path: Path) -> None:
    with (
        no_descriptors_left(),
        pytest.raises(OSError, match="Too many open files") as raised,
        our_files(tmp_path),
    ):
        (tmp_path / "file").write_bytes(b"")

    assert trouble_with_named_file(raised.value, tmp_path) is None


@pytest.mark.parametrize("code", [errno.EAGAIN, errno.ENOENT, errno.ENOMEM, errno.EMFILE])
def test_what_says_nothing_of_a_folder_stays_what_it_is(code: int, tmp_path: Path) -> None:
    """EAGAIN of a fork once read as "the folder is in use", ENOENT of a program as "cannot be made there"."""
    with pytest.raises(OSError, match=os.strerror(code)), our_files(tmp_path):
        raise OSError(code, os.strerror(code))


@pytest.mark.parametrize("code", [errno.EACCES, errno.EIO, errno.EROFS, errno.ENOSPC])
def test_error_with_the_name_of_anothers_file_is_anothers_trouble(code: int, tmp_path: Path) -> None:
    ours = OSError(code, os.strerror(code), str(tmp_path / "run" / "board"))
    anothers = OSError(code, os.strerror(code), "/usr/lib/postgresql/bin/postgres")

    trouble = trouble_with_named_file(ours, tmp_path)

    assert trouble is not None
    assert trouble.setting == "GAIA_DATA_DIR"
    assert trouble_with_named_file(anothers, tmp_path) is None
    assert trouble_with_named_file(OSError(code, os.strerror(code)), tmp_path) is None


def test_disk_that_fails_is_said_to_fail(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="the disk of .* fails") as raised, our_files(tmp_path):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    assert raised.value.exit_code is ExitCode.DATA_DIR_READ_ONLY
