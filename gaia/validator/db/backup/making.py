"""Makes a backup: counts and dumps one snapshot of the database, and gives it its name once it is whole."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from gaia.validator.db.backup.contents import read_contents
from gaia.validator.db.backup.folders import (
    ARCHIVE,
    MANIFEST,
    UNFINISHED,
    Backup,
    Manifest,
    Reason,
    backups_in,
    digest_of,
    name_of,
)
from gaia.validator.db.backup.programs import DUMP, BackupFailed, clients_for, run_program
from gaia.validator.db.statements import SQL
from gaia.validator.utils.files import put_file, put_folder
from gaia.validator.utils.machine.disk_space import DATA_FOLDER, limited, space_of
from gaia.validator.utils.version import version

if TYPE_CHECKING:
    from asyncpg import Record

    from gaia.validator.db.connection import Connection, Database

LOCK_WAIT: Final = "60s"
"""How long a session of backups waits for a lock."""
SESSION: Final = "gaia-backup"
"""Name of the session that reads for a backup."""
_SECOND_FROM_LAST: Final = 1.5
"""How much larger than the last backup the next one may be."""
_PRIVATE: Final = 0o700


@dataclass(frozen=True, slots=True)
class Destination:
    """Where backups are stored."""

    folder: Path
    reserve_bytes: int
    """Bytes that must stay free there."""
    most_bytes: int = 0
    """Bytes that the data folder may use, if backups are stored in it; 0: as much as there is."""


class NoSpace(BackupFailed):
    """There may be too little space for a backup; nothing was written."""


async def make_backup(
    database: Database, dsn: str, destination: Destination, reason: Reason, now: datetime
) -> Backup:
    """Make one backup; the validator may go on meanwhile.

    Parameters
    ----------
    dsn
        Address of the same database.
    now
        Time in UTC, after which the backup is named.

    Raises
    ------
    BackupFailed
        If the disk has too little space or fails, or pg_dump fails. An unfinished backup is removed.
    ConfigurationError
        If no pg_dump fits the server.
    DatabaseFailure
        If the database fails.
    """
    place = destination.folder / name_of(now)
    draft = place.with_name(place.name + UNFINISHED)
    try:
        _prepare(draft)
        async with (
            _unlimited(database) as connection,
            connection.transaction(isolation="repeatable_read", readonly=True),
        ):
            manifest = await _dump(connection, dsn, draft, destination, reason, now)
        await asyncio.to_thread(_finish, draft, place, manifest)
    except BaseException:
        with suppress(OSError):
            shutil.rmtree(draft)
        raise
    return Backup(place, manifest)


@asynccontextmanager
async def _unlimited(database: Database) -> AsyncIterator[Connection]:
    """Yield a session whose statements may take any time, whatever the role and the server say."""
    async with database.alone(SESSION) as connection:
        await connection.execute(SQL["unlimited"], LOCK_WAIT)
        yield connection


async def _dump(
    connection: Connection, dsn: str, draft: Path, destination: Destination, reason: Reason, now: datetime
) -> Manifest:
    if not await connection.fetchval(SQL["has_migrations"]):
        raise BackupFailed("the database holds no tables of the validator, so there is nothing to save")
    facts = await connection.fetchrow(SQL["facts_for_backup"])
    assert facts is not None
    _require_space(destination, facts)
    programs = await asyncio.to_thread(clients_for, facts["major"])
    tables = await read_contents(connection)
    archive = draft / ARCHIVE
    await run_program(
        programs / DUMP,
        dsn,
        "--format=custom",
        "--compress=1",
        "--no-owner",
        "--no-privileges",
        f"--snapshot={facts['snapshot']}",
        f"--file={archive}",
    )
    size, digest = await asyncio.to_thread(_measure, archive)
    return Manifest(
        made_at=now.astimezone(UTC),
        reason=reason,
        program=version(),
        server=facts["server"],
        schema_version=facts["schema_version"],
        database_bytes=facts["size_bytes"],
        archive_bytes=size,
        archive_sha256=digest,
        tables=tables,
    )


def _prepare(draft: Path) -> None:
    try:
        draft.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(mode=_PRIVATE)
    except OSError as error:
        raise BackupFailed(f"{draft.parent} cannot be written: {error.strerror}") from error


def _require_space(destination: Destination, facts: Record) -> None:
    """Raise if the backup may not fit: by the last one, or by the size of the database, which is compressed."""
    known = backups_in(destination.folder)
    expected = (
        int(_SECOND_FROM_LAST * known[-1].manifest.archive_bytes) if known else int(facts["size_bytes"])
    )
    try:
        whole = space_of(destination.folder)
    except OSError as error:
        raise BackupFailed(f"{destination.folder} cannot be read: {error.strerror}") from error
    free = limited(whole, destination.most_bytes, DATA_FOLDER.used_bytes).free
    if free < expected + destination.reserve_bytes:
        raise NoSpace(
            f"there is no space for a backup in {destination.folder}: {_mib(free)} are free, and it may need"
            f" {_mib(expected)} besides {_mib(destination.reserve_bytes)} for the validator; free some space, or"
            " name another folder by GAIA_BACKUP_DIR"
        )


def _measure(archive: Path) -> tuple[int, str]:
    """Return the size and the digest of the archive, once it is on the disk."""
    try:
        with archive.open("rb+") as file:
            os.fsync(file.fileno())
        return archive.stat().st_size, digest_of(archive)
    except OSError as error:
        raise BackupFailed(f"{archive.name} cannot be stored: {error.strerror}") from error


def _finish(draft: Path, place: Path, manifest: Manifest) -> None:
    """Store the manifest, and give the backup its name."""
    content = msgspec.json.format(msgspec.json.encode(manifest), indent=2)
    try:
        put_file(draft / MANIFEST, content + b"\n", sync=True)
        put_folder(draft, place)
    except OSError as error:
        raise BackupFailed(f"{place.name} cannot be stored: {error.strerror}") from error


def _mib(size: int) -> str:
    return f"{size / 2**20:.0f} MiB"
