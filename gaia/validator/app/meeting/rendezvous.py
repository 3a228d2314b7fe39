"""Places where the processes of one validator meet: sockets, heartbeats, and the board."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import re
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec

from gaia.validator.utils.errors import ConfigurationError
from gaia.validator.utils.files import put_file
from gaia.validator.utils.identities import JobId, WorkerId

# AF_UNIX allows 107 bytes.
_LONGEST_PATH_BYTES = 100
_LONGEST_NAME = "signer.sock"
_BACKLOG = 512
_CALL = re.compile(r'File "([^"]*)", line (\d+ in \S+)')
_CALLS_SHOWN = 3


class DeathReport(msgspec.Struct, frozen=True, kw_only=True):
    """How a child ended, as the Supervisor found out."""

    role: str
    worker: WorkerId = WorkerId("")
    """Name of a compute worker: "<seat>.<incarnation>"."""
    pid: int
    exit_code: int
    """Exit code; negative for the number of a fatal signal, 255 if unknown."""
    cause: str
    """Such as "memory", "deadline", "silent", "startup", "signal 11 (SIGSEGV)", "exit 3"."""
    blames_unit: bool = True
    """False if the unit it held cannot be the cause, as when the fork server died."""
    at: float
    """Time of death, in Unix seconds."""
    lived_s: float
    private_mib: float | None = None
    """Private memory when it was last measured; None if it never was, as for all but compute workers."""
    unit: JobId = JobId("")
    """Job that it held or last held."""
    stack: str = ""
    """Its last Python stack, innermost call first, if it could write one."""

    @property
    def sentence(self) -> str:
        """Return the report in one line, with the innermost calls."""
        calls = [Path(file).name + ":" + where for file, where in _CALL.findall(self.stack)]
        memory = f" with {self.private_mib:.0f} MiB" if self.private_mib else ""
        at = " at " + " < ".join(calls[:_CALLS_SHOWN]) if calls else ""
        return f"{self.cause} in {f'{self.role} {self.worker}'.rstrip()}{memory}{at}"


class Board(msgspec.Struct, frozen=True, kw_only=True):
    """The living processes, as the Supervisor knows them; rewritten at each change."""

    workers: dict[WorkerId, int] = {}
    """"<seat>.<incarnation>" -> pid of each compute worker."""
    processes: dict[str, int] = {}
    """Role -> pid of each other child."""
    restarts: dict[str, int] = {}
    """Role -> number of children that replaced a dead one."""
    deaths: list[DeathReport] = []
    """The latest unplanned deaths, oldest first."""
    began_at: float = 0.0
    """Time at which the Supervisor began, in Unix seconds."""
    seats_tried: dict[str, int] = {}
    """Role -> number of seats for which a child was started at least once."""
    halt: str = ""
    """Sentence about the reason for which the Supervisor ends everything; "" if it was told to, or does not."""


class BoardReader:
    """Reads the board; a file that was not replaced is not read again.

    Parameters
    ----------
    path
        File of the board; None: there is no board.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._seen: tuple[int, int, int] | None = None
        self._board: Board | None = None

    def read(self) -> Board | None:
        """Return the present board; None if none is published yet."""
        if self._path is None:
            return None
        try:
            status = self._path.stat()
        except FileNotFoundError:
            return self._board
        seen = (status.st_ino, status.st_mtime_ns, status.st_size)
        if seen != self._seen:
            self._board = read_board(self._path)
            self._seen = seen
        return self._board


def publish(board: Board, path: Path) -> None:
    """Replace the board at `path` in one step, so that a reader sees the old one or the new one."""
    put_file(path, msgspec.json.encode(board))


def read_board(path: Path) -> Board:
    """Return the board at `path`; an empty one if none is published yet."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Board)
    except FileNotFoundError:
        return Board()


@functools.lru_cache(maxsize=8)
def run_directory(data_dir: Path) -> Path:
    """Return the folder of the sockets and the board of the validator that owns `data_dir`."""
    return short_directory(data_dir.resolve() / "run", _LONGEST_NAME)


def pool_socket_path(data_dir: Path) -> Path:
    """Return the socket of the IO-Engine for compute workers."""
    return run_directory(data_dir) / "pool.sock"


def signer_socket_path(data_dir: Path) -> Path:
    """Return the socket of the chain signer."""
    return run_directory(data_dir) / _LONGEST_NAME


def board_path(data_dir: Path) -> Path:
    """Return the file of the board."""
    return run_directory(data_dir) / "board"


def metrics_page_path(board: Path) -> Path:
    """Return the file of the Supervisor's metrics, beside the board."""
    return board.with_name("metrics.prom")


def lease_book_path(data_dir: Path) -> Path:
    """Return the file of the lease book."""
    return board_path(data_dir).with_name("leases")


def heartbeat_path(data_dir: Path) -> Path:
    """Return the file of the IO-Engine's heartbeat."""
    return board_path(data_dir).with_name("heartbeat")


def signer_heartbeat_path(socket_path: Path) -> Path:
    """Return the file of the heartbeat of the signer that listens at `socket_path`."""
    return socket_path.with_name("heartbeat.signer")


def stacks_directory(data_dir: Path) -> Path:
    """Return the folder of the last stacks of compute workers."""
    return run_directory(data_dir) / "stacks"


def stack_path(data_dir: Path, worker: WorkerId) -> Path:
    """Return the file of a compute worker's last Python stack."""
    return stacks_directory(data_dir) / worker


def short_directory(wanted: Path, longest_name: str) -> Path:
    """Return `wanted`, or a temporary folder if socket paths in `wanted` would be too long."""
    if len(os.fsencode(wanted / longest_name)) <= _LONGEST_PATH_BYTES:
        return wanted
    digest = hashlib.sha256(os.fsencode(wanted)).hexdigest()[:12]
    return Path(tempfile.gettempdir(), f"gaia-{digest}")


@contextlib.contextmanager
def listening(path: Path) -> Iterator[socket.socket]:
    """Listen at `path` for our user alone, replacing any earlier socket; closing it removes the path."""
    path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        path.chmod(0o600)
        listener.listen(_BACKLOG)
        try:
            yield listener
        finally:
            path.unlink(missing_ok=True)


def make_private(directory: Path) -> None:
    """Create `directory`, accessible only to our user.

    Raises
    ------
    ConfigurationError
        If another user owns it.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    if directory.stat().st_uid != os.geteuid():
        raise ConfigurationError(
            "GAIA_DATA_DIR",
            f"its path is too long for sockets and another user owns {directory}",
            "choose a shorter path",
        )
    directory.chmod(0o700)
