"""The folder of backups: one folder each, which is complete once it has its name."""

from __future__ import annotations

import hashlib
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Final

import msgspec

from gaia.validator.db.backup.contents import TableContent
from gaia.validator.db.backup.programs import BackupFailed
from gaia.validator.utils.errors import GaiaError

ARCHIVE, MANIFEST = "database.dump", "manifest.json"
UNFINISHED: Final = ".part"
"""End of the name of a backup that is being made, or that a killed process left."""
_FORM: Final = "%Y-%m-%dT%H-%M-%SZ"
_BLOCK: Final = 1 << 20
_LONGEST_S: Final = 6 * 3600.0
"""Age from which an unfinished backup is what a killed process left, and not the work of another."""


class Reason(StrEnum):
    """Why a backup was made."""

    DAILY = "daily"
    MIGRATION = "migration"
    REQUEST = "request"


class NoSuchBackup(GaiaError):
    """The named backup does not exist; the sentence says which do."""


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What is in a backup."""

    format: int = 1
    made_at: datetime
    """Time in UTC of the state that it keeps."""
    reason: Reason
    program: str
    """Release that made it."""
    server: str
    """Version of the server."""
    schema_version: int
    """Newest migration that the database had."""
    database_bytes: int
    """Size of the database on disk."""
    archive_bytes: int
    archive_sha256: str
    tables: dict[str, TableContent]


@dataclass(frozen=True, slots=True)
class Backup:
    """One complete backup."""

    folder: Path
    manifest: Manifest

    @property
    def name(self) -> str:
        """Name by which an operator calls it."""
        return self.folder.name

    @property
    def archive(self) -> Path:
        """The file that pg_restore reads."""
        return self.folder / ARCHIVE

    def require_whole(self) -> None:
        """Raise if the archive is not the one that was written.

        Raises
        ------
        BackupFailed
            If it is missing, cannot be read, or has another size or digest.
        """
        try:
            found = self.archive.stat().st_size
            digest = digest_of(self.archive) if found == self.manifest.archive_bytes else ""
        except OSError as error:
            raise BackupFailed(f"the archive of {self.name} cannot be read: {error.strerror}") from error
        if digest != self.manifest.archive_sha256:
            raise BackupFailed(f"the archive of {self.name} is damaged; take an earlier backup")


def name_of(moment: datetime) -> str:
    """Return the name of a backup that is made at `moment`.

    >>> name_of(datetime(2026, 3, 25, 8, 30, tzinfo=UTC))
    '2026-03-25T08-30-00Z'
    """
    return moment.astimezone(UTC).strftime(_FORM)


def backups_in(folder: Path) -> list[Backup]:
    """Return the complete backups of a folder, the oldest first; what cannot be read is left out."""
    return sorted(_read_all(folder), key=lambda backup: backup.manifest.made_at)


def backup_named(folder: Path, name: str) -> Backup:
    """Return one backup; "last" is the newest.

    Raises
    ------
    NoSuchBackup
        If there is none of this name.
    """
    known = backups_in(folder)
    found = known[-1:] if name == "last" else [backup for backup in known if backup.name == name]
    if not found:
        rest = f"the newest is {known[-1].name}" if known else f"{folder} holds none"
        raise NoSuchBackup(f"no backup is called {name}; {rest}")
    return found[0]


def prune(folder: Path, kept: int) -> list[str]:
    """Remove old backups and unfinished ones; return their names.

    Parameters
    ----------
    kept
        Number of the newest daily ones, and of those before a migration, that stay. All that were requested stay.

    Raises
    ------
    OSError
        If one cannot be removed.
    """
    known = backups_in(folder)
    begun_before = time.time() - _LONGEST_S
    gone = [
        path
        for path in folder.glob(f"*{UNFINISHED}")
        if path.is_dir() and path.stat().st_mtime < begun_before
    ]
    for reason in (Reason.DAILY, Reason.MIGRATION):
        of_it = [backup.folder for backup in known if backup.manifest.reason is reason]
        gone += of_it[: max(0, len(of_it) - kept)]
    for path in gone:
        shutil.rmtree(path)
    return [path.name for path in gone]


def digest_of(path: Path) -> str:
    """Return the SHA-256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def _read_all(folder: Path) -> Iterator[Backup]:
    for path in _folders_in(folder):
        try:
            content = (path / MANIFEST).read_bytes()
            yield Backup(path, msgspec.json.decode(content, type=Manifest))
        except (OSError, msgspec.MsgspecError):
            continue


def _folders_in(folder: Path) -> Sequence[Path]:
    try:
        return [path for path in folder.iterdir() if not path.name.endswith(UNFINISHED)]
    except OSError:
        return []
