"""Where the processes of one validator meet: the sockets, and the board of who lives."""

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
from gaia.validator.utils.identities import WorkerId

# AF_UNIX takes 107 bytes.
_LONGEST_PATH_BYTES = 100
_LONGEST_NAME = "signer.sock"
_BACKLOG = 512
_CALL = re.compile(r'File "([^"]*)", line (\d+ in \S+)')
_CALLS_SHOWN = 3


class DeathReport(msgspec.Struct, frozen=True, kw_only=True):
    """How a child ended, as the Supervisor saw it."""

    role: str
    worker: str = ""
    """Of a compute worker: "<seat>.<incarnation>"."""
    pid: int
    exit_code: int
    """Minus the number of the signal that killed it; 255 where nobody could tell."""
    cause: str
    """Such as "memory", "deadline", "silent", "startup", "signal 11 (SIGSEGV)", "exit 3"."""
    blames_unit: bool = True
    """False where the unit it held had no part in it, as when the fork server died."""
    at: float
    """Unix seconds."""
    lived_s: float
    private_mib: float = 0.0
    """When last looked at."""
    unit: str = ""
    """Job that it held, or had held last."""
    stack: str = ""
    """Its Python stack at the end, innermost call first, where it could still write one."""

    @property
    def sentence(self) -> str:
        """Say it in one line, with the innermost calls."""
        calls = [Path(file).name + ":" + where for file, where in _CALL.findall(self.stack)]
        memory = f" with {self.private_mib:.0f} MiB" if self.private_mib else ""
        at = " at " + " < ".join(calls[:_CALLS_SHOWN]) if calls else ""
        return f"{self.cause} in {self.worker or self.role}{memory}{at}"


class Board(msgspec.Struct, frozen=True, kw_only=True):
    """Who lives, as the Supervisor knows it; rewritten whenever that changes."""

    workers: dict[str, int] = {}
    """Pid of each compute worker by "<seat>.<incarnation>"."""
    processes: dict[str, int] = {}
    """Pid of each other child by role."""
    restarts: dict[str, int] = {}
    """Children started in place of one that died, by role."""
    deaths: list[DeathReport] = []
    """The latest that were not planned, oldest first."""


class BoardReader:
    """Reads the board as often as one likes: a file that was not replaced is not read again.

    Parameters
    ----------
    path
        The board; None: nobody publishes one.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._seen: tuple[int, int, int] | None = None
        self._board: Board | None = None

    def read(self) -> Board | None:
        """Return the board as it is now; None where none was published yet."""
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
    """Replace the board at `path` at once: a reader sees the old one or the new one."""
    put_file(path, msgspec.json.encode(board))


def read_board(path: Path) -> Board:
    """Return the board at `path`; an empty one where none was published yet."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Board)
    except FileNotFoundError:
        return Board()


@functools.lru_cache(maxsize=8)
def run_directory(data_dir: Path) -> Path:
    """Return the folder of sockets and board of the validator that owns `data_dir`."""
    return short_directory(data_dir.resolve() / "run", _LONGEST_NAME)


def pool_socket_path(data_dir: Path) -> Path:
    """Return where compute workers find the IO-Engine."""
    return run_directory(data_dir) / "pool.sock"


def signer_socket_path(data_dir: Path) -> Path:
    """Return where the IO-Engine finds the chain signer."""
    return run_directory(data_dir) / _LONGEST_NAME


def board_path(data_dir: Path) -> Path:
    """Return the file of the `Board`."""
    return run_directory(data_dir) / "board"


def lease_book_path(data_dir: Path) -> Path:
    """Return the file in which the IO-Engine notes who holds which unit."""
    return board_path(data_dir).with_name("leases")


def heartbeat_path(data_dir: Path) -> Path:
    """Return the file in which the IO-Engine's loop shows that it turns."""
    return board_path(data_dir).with_name("heartbeat")


def signer_heartbeat_path(socket_path: Path) -> Path:
    """Return the file in which the loop of the signer that listens at `socket_path` shows that it turns."""
    return socket_path.with_name("heartbeat.signer")


def stacks_directory(data_dir: Path) -> Path:
    """Return the folder of the stacks that compute workers leave."""
    return run_directory(data_dir) / "stacks"


def stack_path(data_dir: Path, worker: WorkerId) -> Path:
    """Return the file in which a compute worker leaves its last Python stack."""
    return stacks_directory(data_dir) / worker


def short_directory(wanted: Path, longest_name: str) -> Path:
    """Return `wanted`, or a folder for temporary files if a socket in it had too long a path."""
    if len(os.fsencode(wanted / longest_name)) <= _LONGEST_PATH_BYTES:
        return wanted
    digest = hashlib.sha256(os.fsencode(wanted)).hexdigest()[:12]
    return Path(tempfile.gettempdir(), f"gaia-{digest}")


@contextlib.contextmanager
def listening(path: Path) -> Iterator[socket.socket]:
    """Listen at `path`, in place of whoever did before, for our user alone; the path goes with the socket."""
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
    """Create `directory` for our eyes only.

    Raises
    ------
    ConfigurationError
        If somebody else made it before us.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    if directory.stat().st_uid != os.geteuid():
        raise ConfigurationError(
            "GAIA_DATA_DIR",
            f"its path is too long for sockets and another user owns {directory}",
            "choose a shorter path",
        )
    directory.chmod(0o700)
