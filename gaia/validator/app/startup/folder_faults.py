"""Recognises system errors of the data folder that the operator must correct."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from gaia.validator.app.meeting.rendezvous import run_directory
from gaia.validator.app.startup.preflight import folder_trouble
from gaia.validator.utils.errors import ConfigurationError, ExitCode

_OF_FOLDERS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)


def trouble_with_named_file(error: OSError, data_dir: Path) -> ConfigurationError | None:
    """Return the error for the operator, if `error` names a file of `data_dir`; else None."""
    names = [
        name for name in (error.filename, error.filename2) if isinstance(name, str | bytes | os.PathLike)
    ]
    ours = (data_dir, run_directory(data_dir))
    if any(Path(os.fsdecode(name)).is_relative_to(folder) for name in names for folder in ours):
        return _trouble(error, data_dir)
    return None


@contextlib.contextmanager
def our_files(data_dir: Path) -> Iterator[None]:
    """Translate errors of a body that works only on files of `data_dir`, where most errors name no file.

    Raises
    ------
    ConfigurationError
        If the folder is full, read-only, forbidden or broken.
    OSError
        Any other error, unchanged.
    """
    try:
        yield
    except OSError as error:
        is_nameless = error.filename is None
        trouble = _trouble(error, data_dir) if is_nameless else trouble_with_named_file(error, data_dir)
        if trouble is None:
            raise
        raise trouble from error


def _trouble(error: OSError, data_dir: Path) -> ConfigurationError | None:
    if error.errno == errno.EIO:
        return ConfigurationError(
            "GAIA_DATA_DIR",
            f"the disk of {data_dir} fails ({error.strerror})",
            "replace the disk or choose another folder",
            ExitCode.DATA_DIR_READ_ONLY,
        )
    return folder_trouble(error, data_dir) if error.errno in _OF_FOLDERS else None
