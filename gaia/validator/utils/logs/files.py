"""Log files of one process: private, rotated, and never a reason to stop."""

from __future__ import annotations

import errno
import io
import logging
import os
import sys
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Final

import msgspec

from gaia.validator.utils.logs.repeats import Repeats

FILE_MODE: Final = 0o600
FOLDER_MODE: Final = 0o700
_MIB = 1024 * 1024
_log = logging.getLogger("application")


class LogFiles(msgspec.Struct, frozen=True, kw_only=True):
    """Place and size of the log files of one validator."""

    folder: str
    file_mib: int = 16
    """MiB of a file, above which it is renamed and a new one is begun."""
    kept: int = 5
    """Number of renamed files that are kept of each."""


def log_path(files: LogFiles, role: str, name: str, seat: int | None = None) -> Path:
    """Return the file of the logger `name` of one process; `seat` tells apart processes of one role."""
    process = role or "gaia"
    process += "" if seat is None else f"-{seat}"
    return Path(files.folder, f"{process}-{name}.log")


def open_log(files: LogFiles, role: str, name: str, seat: int | None = None) -> logging.Handler:
    """Return the handler that writes the file of one logger; the folder is made if necessary.

    A process with a seat is a compute worker. Its sandbox lets it open and rename nothing later, so its
    file is opened at once, and rotated only now. Two workers of one seat, an old one and its successor,
    append to the same file, and only the one that starts renames it.

    Raises
    ------
    OSError
        If the folder or the file cannot be made.
    """
    path = log_path(files, role, name, seat)
    path.parent.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
    kind = _RotatedFile if seat is None else _PinnedFile
    return kind(path, files.file_mib * _MIB, files.kept)


def tell_of_trouble(path: Path | str, error: BaseException | None) -> None:
    """Log that lines are missing in a file; standard error has them all."""
    reason = f"{type(error).__name__}: {error}"
    _log.error("log_file_failed", extra={"values": {"path": str(path), "reason": reason}})


class _RotatedFile(RotatingFileHandler):
    """A file of mode 0600. A failure to write it is logged once an hour, and no line raises."""

    def __init__(self, path: Path, limit_bytes: int, kept: int) -> None:
        super().__init__(path, maxBytes=limit_bytes, backupCount=kept, encoding="utf-8", delay=True)
        self._failures = Repeats()

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: ARG002, N802 - as logging has it
        error = sys.exception()
        # The line about it comes back here, and is withheld then.
        if self._failures.heard("file", getattr(error, "errno", None)) is not None:
            tell_of_trouble(self.baseFilename, error)

    def _open(self) -> io.TextIOWrapper:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        descriptor = os.open(self.baseFilename, flags, FILE_MODE)
        os.fchmod(descriptor, FILE_MODE)
        return os.fdopen(descriptor, "a", encoding="utf-8")


class _PinnedFile(_RotatedFile):
    """A file that is opened once, with half of it free; when it is full, lines go to standard error alone."""

    def __init__(self, path: Path, limit_bytes: int, kept: int) -> None:
        super().__init__(path, limit_bytes, kept)
        size = path.stat().st_size if path.exists() else 0
        if size > limit_bytes // 2:
            self.doRollover()
            size = 0
        if self.stream is None:
            self.stream = self._open()
        self._left_bytes = limit_bytes - size

    def shouldRollover(self, record: logging.LogRecord) -> bool:  # noqa: N802 - as logging has it
        """Return False, and raise if the line does not fit: a confined process renames nothing."""
        self._left_bytes -= len(self.format(record).encode())
        if self._left_bytes < 0:
            raise OSError(errno.EFBIG, "the file is full, and a worker cannot rotate it")
        return False
