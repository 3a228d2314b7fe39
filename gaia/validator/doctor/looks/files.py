"""Looks at the data folder and at the wallet; changes nothing."""

from __future__ import annotations

import fcntl
import itertools
import json
import os
import shutil
import stat
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from gaia.validator.app.chain_signer import load_wallet
from gaia.validator.app.observation.pages.outside import holder_of
from gaia.validator.app.startup.published import published_settings
from gaia.validator.doctor.facts import Entry, Folder, Wallet
from gaia.validator.doctor.looks.host import command_of
from gaia.validator.utils.config import variable_of
from gaia.validator.utils.errors import ConfigurationError
from gaia.validator.utils.setting_sources import credentials_folder

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gaia.validator.utils.settings.chain import ChainSettings
    from gaia.validator.utils.settings.files import FilesSettings

_MIB = 1024 * 1024
_MOST_FILES = 20_000
_MOST_NAMED = 20
_OLD_S = 86_400.0
_PUBLIC = "pub.txt"


def look_at_folder(files: FilesSettings) -> Folder:
    """Return the state of the data folder, or of the folder in which it would be created."""
    path = files.data_dir.absolute()
    standing = next(folder for folder in (path, *path.parents) if folder.exists())
    holder = _holder(path / "lock")
    foreign, drafts, used = _survey(path)
    cluster = path / "postgres" / "cluster"
    version = _version(cluster)
    status = os.statvfs(standing)
    return Folder(
        path=path,
        exists=path.exists(),
        problem=_problem(standing),
        entry=entry_of(path),
        file_system=_file_system(standing),
        free_mib=shutil.disk_usage(standing).free // _MIB,
        free_files=status.f_favail if status.f_files else None,
        holder_pid=holder,
        holder=command_of(holder),
        served_port=_served_port(path),
        foreign=foreign,
        old_drafts=drafts,
        cluster="ready" if version else "partial" if cluster.exists() else "",
        cluster_version=version,
        used_mib=used // _MIB,
    )


def look_at_wallet(chain: ChainSettings) -> Wallet:
    """Return the state of the hotkey's file; the key is loaded once, as the signer does."""
    root = chain.wallet_path.expanduser()
    folder = root / chain.wallet_name / "hotkeys"
    path = chain.hotkey_path.expanduser()
    coldkey = root / chain.wallet_name / "coldkey"
    problem, address = _loaded(chain)
    return Wallet(
        root=root,
        wallets=_names(root, is_folder=True),
        hotkeys={name: _told_address(folder / name) for name in _names(folder, is_folder=False)},
        hotkey_path=path,
        hotkey=entry_of(path),
        is_credential=path.parent == credentials_folder(),
        folder=entry_of(path.parent),
        coldkey=coldkey if coldkey.exists() else None,
        problem=problem,
        address=address,
    )


def entry_of(path: Path) -> Entry | None:
    """Return the mode and owner of a file or folder; None if it is not there."""
    try:
        status = path.stat()
    except OSError:
        return None
    return Entry(
        path=path,
        mode=stat.S_IMODE(status.st_mode),
        uid=status.st_uid,
        size=status.st_size,
        is_folder=stat.S_ISDIR(status.st_mode),
    )


def _loaded(chain: ChainSettings) -> tuple[str, str]:
    """Return why the signer cannot use the hotkey ("": it can), and the hotkey's address."""
    try:
        return "", str(load_wallet(chain).hotkey.ss58_address)
    except ConfigurationError as error:
        return error.problem, ""


def told_address(chain: ChainSettings) -> str:
    """Return the address that the hotkey's file tells; "" if there is no such file."""
    return _told_address(chain.hotkey_path.expanduser())


def _told_address(path: Path) -> str:
    """Return the address that a key file tells; "" if it is no such file."""
    try:
        told = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return ""
    return str(told.get("ss58Address", "")) if isinstance(told, dict) else ""


def _names(folder: Path, *, is_folder: bool) -> list[str]:
    try:
        found = sorted(folder.iterdir())
    except OSError:
        return []
    return [path.name for path in found if path.is_dir() is is_folder and not path.name.endswith(_PUBLIC)]


def _problem(folder: Path) -> str:
    """Return why no file can be made in `folder`; "" if one can."""
    try:
        with tempfile.TemporaryFile(dir=folder):
            return ""
    except OSError as error:
        return error.strerror or str(error)


def _holder(lock: Path) -> int:
    """Return the process that holds the lock of the data folder; 0 if none does, -1 if it is unknown."""
    try:
        descriptor = os.open(lock, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return 0
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        # A number that the kernel does not confirm may be that of any process, as in another container.
        return holder_of(lock.parent) or -1
    finally:
        os.close(descriptor)
    return 0


def _served_port(data_dir: Path) -> int:
    try:
        published = published_settings(data_dir)
    except OSError:
        # The other looks at this folder say why it cannot be read.
        return 0
    rows = published.rows if published else ()
    return next((int(value) for name, value, _ in rows if name == variable_of("metrics_port")), 0)


def _file_system(path: Path) -> str:
    """Return the type of the file system of `path`, such as "ext4"."""
    mounts = [
        (len(mount.mountpoint), mount.fstype)
        for mount in psutil.disk_partitions(all=True)
        if path.resolve().is_relative_to(mount.mountpoint)
    ]
    return max(mounts, default=(0, ""))[1]


def _survey(root: Path) -> tuple[list[Path], list[Path], int]:
    """Return files of another user, drafts that a killed process left, and the bytes in use."""
    foreign: list[Path] = []
    drafts: list[Path] = []
    used = 0
    owner = os.geteuid()
    long_ago = time.time() - _OLD_S
    for entry in itertools.islice(_walk(root), _MOST_FILES):
        try:
            status = entry.stat(follow_symlinks=False)
        except OSError:
            continue  # removed meanwhile
        used += status.st_blocks * 512
        if status.st_uid != owner and len(foreign) < _MOST_NAMED:
            foreign.append(Path(entry.path))
        is_old = status.st_mtime < long_ago
        if is_old and entry.name.endswith(".part") and len(drafts) < _MOST_NAMED:
            drafts.append(Path(entry.path))
    return foreign, drafts, used


def _walk(folder: Path) -> Iterator[os.DirEntry[str]]:
    waiting = [str(folder)]
    while waiting:
        try:
            entries = list(os.scandir(waiting.pop()))
        except OSError:
            continue
        for entry in entries:
            yield entry
            if entry.is_dir(follow_symlinks=False):
                waiting.append(entry.path)


def _version(cluster: Path) -> str:
    """Return the version that made an embedded database; "" if it has none.

    Raises
    ------
    OSError
        If the version is there and cannot be read: such a database is whole, and nobody may move it away.
    """
    try:
        return (cluster / "PG_VERSION").read_text(errors="replace").strip()
    except (FileNotFoundError, NotADirectoryError):
        return ""
