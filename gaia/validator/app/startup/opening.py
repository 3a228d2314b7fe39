"""Opens what the settings name: the database, and the keeper of its backups."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gaia.validator.app.children.embedded_postgres import embedded_dsn
from gaia.validator.core.background.backups import BackupKeeper
from gaia.validator.db.connection import Database

if TYPE_CHECKING:
    from gaia.validator.utils.config import Settings


def dsn_of(settings: Settings) -> str:
    """Return the address of the validator's database."""
    return settings.database.dsn(embedded_dsn(settings.data_dir))


async def open_database(settings: Settings) -> Database:
    """Return the validator's database with a first connection.

    Raises
    ------
    ConfigurationError
        If no server answers in time, or it refuses us.
    """
    return await Database.connect(
        dsn_of(settings),
        timeout_s=settings.database_timeout_s,
        pool_size=settings.database_pool_size,
        setting="GAIA_DATABASE_HOST" if settings.database_host else "GAIA_DATABASE_URL",
    )


def backup_keeper(settings: Settings, database: Database) -> BackupKeeper:
    """Return what makes the backups of the validator's database."""
    folder = settings.backup.folder(settings.data_dir.resolve())
    return BackupKeeper(settings.backup, folder, settings.data_min_free_mib, database, dsn_of(settings))
