"""Where the processes of one validator meet: the sockets, and the board of who lives."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path

import msgspec

from gaia.validator.utils.errors import ConfigurationError

# AF_UNIX takes 107 bytes.
_LONGEST_PATH_BYTES = 100
_LONGEST_NAME = "signer.sock"


class Board(msgspec.Struct, frozen=True, kw_only=True):
    """Who lives, as the Supervisor knows it; rewritten whenever that changes."""

    workers: dict[str, int] = {}
    """Pid of each compute worker by "<seat>.<incarnation>"."""
    processes: dict[str, int] = {}
    """Pid of each other child by role."""
    restarts: dict[str, int] = {}
    """Children started in place of one that died, by role."""


def publish(board: Board, path: Path) -> None:
    """Replace the board at `path` at once: a reader sees the old one or the new one."""
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    draft.write_bytes(msgspec.json.encode(board))
    draft.replace(path)


def read_board(path: Path) -> Board:
    """Return the board at `path`; an empty one where none was published yet."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Board)
    except FileNotFoundError:
        return Board()


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


def short_directory(wanted: Path, longest_name: str) -> Path:
    """Return `wanted`, or a folder for temporary files if a socket in it had too long a path."""
    if len(os.fsencode(wanted / longest_name)) <= _LONGEST_PATH_BYTES:
        return wanted
    digest = hashlib.sha256(os.fsencode(wanted)).hexdigest()[:12]
    return Path(tempfile.gettempdir(), f"gaia-{digest}")


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
