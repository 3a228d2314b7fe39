"""The commands backup restore and discard."""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from gaia.cli import tables
from gaia.cli.backup.making import folder_of, server_of
from gaia.cli.database.changing import InUse, require_idle
from gaia.validator.db.backup.folders import NoSuchBackup, backup_named, backups_in
from gaia.validator.db.backup.programs import BackupFailed, database_in
from gaia.validator.db.backup.restoring import SCRATCH
from gaia.validator.utils.errors import ConfigurationError, ExitCode

if TYPE_CHECKING:
    from gaia.cli.source import Source
    from gaia.validator.db.backup.folders import Backup
    from gaia.validator.db.connection import Database


def restore(source: Source, arguments: argparse.Namespace) -> int:
    """Put a backup in the place of the database, which stays under another name; no validator may use it."""
    backup = backup_named(folder_of(source), arguments.name)
    present = database_in(server_of(source).dsn)
    if not arguments.yes:
        words = f"{backup.name} would replace database {present}; add --yes"
        tables.print_json({"name": backup.name, "database": present, "done": False}) if arguments.json else (
            tables.print_lines(words)
        )
        return 0
    _require_stopped(source)
    replaced = asyncio.run(_restore(source, backup))
    if arguments.json:
        tables.print_json({"name": backup.name, "database": present, "replaced": replaced, "done": True})
        return 0
    tables.print_lines(f"{backup.name} is restored as database {present}")
    if replaced:
        tables.print_lines(
            f"The replaced one is kept as {replaced}; `gaia backup discard {replaced} --yes` removes it."
        )
    return 0


def discard(source: Source, arguments: argparse.Namespace) -> int:
    """Remove a backup, or a database that a restore has replaced."""
    name: str = arguments.name
    folders = {backup.name: backup.folder for backup in backups_in(folder_of(source))}
    databases = [each.name for each in asyncio.run(server_of(source).replaced())]
    if name not in folders and name not in databases:
        raise NoSuchBackup(
            f"neither a backup nor a replaced database is called {name}; see `gaia backup list`"
        )
    if arguments.yes and name in folders:
        try:
            shutil.rmtree(folders[name])
        except OSError as error:
            raise BackupFailed(f"{folders[name]} cannot be removed: {error.strerror}") from error
    elif arguments.yes:
        asyncio.run(server_of(source).drop(name))
    if arguments.json:
        tables.print_json({"name": name, "done": arguments.yes})
    else:
        tables.print_lines(f"{name}: {'removed' if arguments.yes else 'would be removed; add --yes'}")
    return 0


def _require_stopped(source: Source) -> None:
    """Raise if a validator uses the database; one that does not exist is used by nobody."""
    if source.settings.database.is_embedded and source.is_live:
        raise InUse(f"a validator uses {source.data_dir}; stop it first")

    async def look(database: Database) -> None:
        await database.run(require_idle)

    try:
        source.use(look)
    except ConfigurationError as error:
        if error.exit_code is not ExitCode.DATABASE_UNREACHABLE or "does not exist" not in error.problem:
            raise


async def _restore(source: Source, backup: Backup) -> str | None:
    server, name = server_of(source), f"{SCRATCH}{os.getpid()}"
    async with server.restored(backup, name):
        return await server.exchange(name, datetime.now(UTC))
