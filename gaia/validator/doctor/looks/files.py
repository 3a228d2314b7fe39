"""Looks at the data folder and at the wallet; a file without a name is made and is gone at once."""

from __future__ import annotations

import json
import os
import shutil
import stat
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from gaia.validator.app.startup.published import published_settings
from gaia.validator.core.chain.hotkey import load_wallet
from gaia.validator.core.chain.signing.signed_epochs import is_damaged, lock_of, told_by
from gaia.validator.doctor.entries import Entry
from gaia.validator.doctor.facts import Folder, Wallet
from gaia.validator.doctor.looks.locks import lock_holder
from gaia.validator.doctor.looks.processes import command_of, user_of
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


def look_at_folder(files: FilesSettings, most_files: int = _MOST_FILES) -> Folder:
    """Return the state of the data folder, or of the folder in which it would be created.

    Parameters
    ----------
    most_files
        Files that are looked at; a folder may have millions.
    """
    path = files.data_dir.absolute()
    standing = next(folder for folder in (path, *path.parents) if folder.exists())
    holder = lock_holder(path / "lock")
    survey = _survey(path, most_files)
    cluster = path / "postgres" / "cluster"
    version = _version(cluster)
    status = os.statvfs(standing)
    return Folder(
        path=path,
        exists=path.exists(),
        problem=problem_of(standing),
        entry=entry_of(path),
        file_system=_file_system(standing),
        free_mib=shutil.disk_usage(standing).free // _MIB,
        free_files=status.f_favail if status.f_files else None,
        holder_pid=holder,
        holder=command_of(holder),
        served_port=_served_port(path),
        holder_uid=user_of(holder),
        foreign=survey.foreign,
        old_drafts=survey.drafts,
        files=survey.files,
        is_whole=survey.is_whole,
        cluster="ready" if version else "partial" if cluster.exists() else "",
        cluster_version=version,
        used_mib=survey.used // _MIB,
        blocking_file=next((above for above in path.parents if above.is_file()), None),
    )


def look_at_wallet(chain: ChainSettings, data_dir: Path) -> Wallet:
    """Return the state of the hotkey's file; the key is loaded once, as the signer does."""
    record = chain.signed_epochs_path(data_dir)
    root = chain.wallet_path.expanduser()
    folder = root / chain.wallet_name / "hotkeys"
    path = chain.hotkey_path.expanduser()
    coldkey = root / chain.wallet_name / "coldkey"
    problem, address = _loaded(chain)
    record_hotkey, foreign_update = told_by(record)
    return Wallet(
        root=root,
        has_root=root.is_dir(),
        wallets=_names(root, is_folder=True),
        hotkeys={name: _told_address(folder / name) for name in _names(folder, is_folder=False)},
        hotkey_path=path,
        hotkey=entry_of(path),
        is_credential=path.parent == credentials_folder(),
        folder=entry_of(path.parent),
        coldkey=coldkey if coldkey.exists() else None,
        problem=problem,
        address=address,
        record=record,
        record_problem=_record_problem(record, data_dir),
        is_record_damaged=is_damaged(record),
        record_hotkey=record_hotkey,
        foreign_update=foreign_update,
    )


def _record_problem(record: Path, data_dir: Path) -> str:
    """Return why the signer cannot keep its record there; the data folder is made at the start."""
    folder = record.parent
    if not folder.is_dir():
        return "" if folder == data_dir else f"there is no folder {folder}"
    lock = lock_of(record)
    closed = [each for each in (folder, lock) if each.exists() and not os.access(each, os.W_OK)]
    return f"{closed[0]} cannot be written" if closed else ""


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


def problem_of(folder: Path) -> str:
    """Return why no file can be made in `folder`; "" if one can."""
    try:
        with tempfile.TemporaryFile(dir=folder):
            return ""
    except OSError as error:
        return error.strerror or str(error)


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


@dataclass(slots=True)
class _Survey:
    """What the files of the data folder tell."""

    foreign: list[Path] = field(default_factory=list)
    """Files of another user than the folder's."""
    drafts: list[Path] = field(default_factory=list)
    """Drafts that a killed process left."""
    used: int = 0
    """Bytes on the disk."""
    files: int = 0
    is_whole: bool = True


def _survey(root: Path, most: int) -> _Survey:
    """Return what the files of a folder tell, at most the first `most` of them."""
    found = _Survey()
    entry = entry_of(root)
    owner = os.geteuid() if entry is None else entry.uid
    long_ago = time.time() - _OLD_S
    for file in _walk(root):
        if found.files == most:
            found.is_whole = False
            break
        found.files += 1
        try:
            status = file.stat(follow_symlinks=False)
        except OSError:
            continue  # removed meanwhile
        found.used += status.st_blocks * 512
        if status.st_uid != owner and len(found.foreign) < _MOST_NAMED:
            found.foreign.append(Path(file.path))
        is_old = status.st_mtime < long_ago
        if is_old and file.name.endswith(".part") and len(found.drafts) < _MOST_NAMED:
            found.drafts.append(Path(file.path))
    return found


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
