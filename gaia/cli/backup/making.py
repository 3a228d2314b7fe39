"""The commands backup create and list."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from gaia.cli import tables
from gaia.validator.app.logging_config import configure_logging
from gaia.validator.app.startup.opening import backup_keeper, dsn_of
from gaia.validator.db.backup.folders import Reason, backups_in
from gaia.validator.db.backup.restoring import Neighbour, Server

if TYPE_CHECKING:
    from pathlib import Path

    from gaia.cli.source import Source
    from gaia.validator.db.backup.folders import Backup
    from gaia.validator.db.connection import Database


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupRow:
    """One backup, as the list shows it."""

    name: str
    made_at: datetime
    reason: Reason
    schema_version: int
    rows: int
    """Rows of all tables."""
    size_bytes: int
    """Size of the archive."""
    program: str
    """Release that made it."""

    @classmethod
    def of(cls, backup: Backup) -> BackupRow:
        """Return the row of a backup."""
        manifest = backup.manifest
        return cls(
            name=backup.name,
            made_at=manifest.made_at,
            reason=manifest.reason,
            schema_version=manifest.schema_version,
            rows=sum(table.rows for table in manifest.tables.values()),
            size_bytes=manifest.archive_bytes,
            program=manifest.program,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupList:
    """Answer of backup list."""

    folder: str
    backups: Sequence[BackupRow]
    replaced: Sequence[Neighbour]
    """Databases that restores have replaced."""


def folder_of(source: Source) -> Path:
    """Return the folder of the validator's backups."""
    return source.settings.backup.folder(source.data_dir)


def server_of(source: Source) -> Server:
    """Return the server of the validator's database."""
    return Server(dsn_of(source.settings), source.settings.database_timeout_s)


def create(source: Source, arguments: argparse.Namespace) -> int:
    """Make a backup of the database; the validator may run."""

    async def act(database: Database) -> Backup:
        return await backup_keeper(source.settings, database).make(Reason.REQUEST)

    configure_logging("INFO", "console", role="cli")
    row = BackupRow.of(source.use(act))
    if arguments.json:
        tables.print_json(row)
    else:
        tables.print_lines(
            f"{row.name}: {tables.counted(row.rows, 'row')}, {_mib(row.size_bytes)}, in {folder_of(source)}"
        )
    return 0


def list_all(source: Source, arguments: argparse.Namespace) -> int:
    """List the backups, and the databases that restores have replaced."""
    found = BackupList(
        folder=str(folder_of(source)),
        backups=[BackupRow.of(backup) for backup in backups_in(folder_of(source))],
        replaced=asyncio.run(server_of(source).replaced()),
    )
    if arguments.json:
        tables.print_json(found)
        return 0
    tables.print_lines(f"backups in {found.folder}", "")
    tables.print_table(
        ["name", "made", "reason", ">schema", ">rows", ">size", "release"],
        [
            (
                row.name,
                row.made_at,
                row.reason,
                row.schema_version,
                row.rows,
                _mib(row.size_bytes),
                row.program,
            )
            for row in found.backups
        ],
    )
    if found.replaced:
        tables.print_lines(
            "", "databases that a restore has replaced; `gaia backup discard NAME` removes one", ""
        )
        tables.print_table(["name", ">size"], [(each.name, _mib(each.size_bytes)) for each in found.replaced])
    return 0


def _mib(size: int) -> str:
    return f"{size / 2**20:.1f} MiB"
