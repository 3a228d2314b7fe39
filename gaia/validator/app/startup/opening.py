"""Opens what the settings name: the database, the lease of it, and the keeper of its backups."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gaia.validator.app.children.embedded_postgres import embedded_dsn
from gaia.validator.core.background.backups import BackupKeeper
from gaia.validator.db.access.lease import Lease, holder_of
from gaia.validator.db.backup.making import Destination
from gaia.validator.db.connection import Database

_MIB: Final = 2**20
_RESERVES: Final = 4
"""A backup leaves so many times the space free below which no chunk is downloaded."""

if TYPE_CHECKING:
    from pathlib import Path

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


def lease_of(data_dir: Path, lease_s: float, database: Database) -> Lease:
    """Return the lease of `lease_s` seconds that the validator of the data folder has to take."""
    return Lease(database, holder_of(data_dir), lease_s=lease_s)


def backup_keeper(settings: Settings, database: Database) -> BackupKeeper:
    """Return what makes the backups of the validator's database."""
    data_dir = settings.data_dir.resolve()
    folder = settings.backup.folder(data_dir)
    is_inside = folder.resolve().is_relative_to(data_dir)
    destination = Destination(
        folder,
        reserve_bytes=_RESERVES * settings.data_min_free_mib * _MIB,
        most_bytes=settings.files.data_max_bytes if is_inside else 0,
    )
    return BackupKeeper(settings.backup, destination, database, dsn_of(settings))
