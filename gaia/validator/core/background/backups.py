"""Makes backups by time and before the schema changes, and removes old ones."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

import structlog

from gaia.validator.db.backup.folders import Backup, Reason, backups_in, prune
from gaia.validator.db.backup.making import Destination, NoSpace, make_backup
from gaia.validator.db.backup.programs import BackupFailed
from gaia.validator.db.statements import SQL
from gaia.validator.utils.errors import ConfigurationError, ExitCode

if TYPE_CHECKING:
    from gaia.validator.db.connection import Database
    from gaia.validator.db.schema.files import Migration
    from gaia.validator.utils.settings.backup import BackupSettings

log = structlog.get_logger(__name__)

_MIB: Final = 2**20


class BackupKeeper:
    """Makes and removes the backups of one database.

    Parameters
    ----------
    destination
        Where backups are stored.
    dsn
        Address of the database.
    wall_clock
        Returns Unix seconds.
    """

    def __init__(
        self,
        settings: BackupSettings,
        destination: Destination,
        database: Database,
        dsn: str,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._settings = settings
        self._destination = destination
        self._database = database
        self._dsn = dsn
        self._wall_clock = wall_clock

    async def daily_backup(self) -> None:
        """Make a backup if the newest one is too old, and remove old ones.

        Raises
        ------
        BackupFailed
            If it cannot be made; a job that needs the operator would end the validator.
        DatabaseFailure
            If the database fails.
        """
        if not self._settings.backup_every_hours:
            return
        since = await self._last_at()
        if since is None or self._now() - since < timedelta(hours=self._settings.backup_every_hours):
            return
        try:
            await self.make(Reason.DAILY)
        except ConfigurationError as error:
            raise BackupFailed(f"no backup is made: {error.problem}; {error.remedy}") from error

    async def before_migration(self, missing: Sequence[Migration]) -> None:
        """Make a backup, if the settings want one before the schema changes.

        Raises
        ------
        ConfigurationError
            If it cannot be made.
        DatabaseFailure
            If the database fails.
        """
        if not self._settings.backup_before_migration:
            return
        try:
            await self.make(Reason.MIGRATION)
        except (BackupFailed, ConfigurationError) as error:
            versions = ", ".join(str(migration.version) for migration in missing)
            problem = error.problem if isinstance(error, ConfigurationError) else str(error)
            raise ConfigurationError(
                "GAIA_BACKUP_BEFORE_MIGRATION",
                f"the schema must change (migrations {versions}), and no backup can be made ({problem})",
                "mend that, or set it to false to migrate without a backup",
                ExitCode.DATABASE_MISFIT,
            ) from error

    async def make(self, reason: Reason) -> Backup:
        """Make a backup, and remove old ones.

        Raises
        ------
        BackupFailed
            If it cannot be made.
        ConfigurationError
            If no pg_dump fits the server.
        DatabaseFailure
            If the database fails.
        """
        begun = time.monotonic()
        try:
            backup = await self._made(reason)
        except NoSpace:
            # The older ones make room for this one.
            if not await self._prune(1):
                raise
            backup = await self._made(reason)
        log.info(
            "backup_made",
            name=backup.name,
            reason=reason,
            mib=round(backup.manifest.archive_bytes / _MIB, 1),
            rows=sum(table.rows for table in backup.manifest.tables.values()),
            seconds=round(time.monotonic() - begun, 1),
        )
        await self._prune(self._settings.backups_kept)
        return backup

    async def _made(self, reason: Reason) -> Backup:
        return await make_backup(self._database, self._dsn, self._destination, reason, self._now())

    async def _prune(self, kept: int) -> bool:
        """Remove old backups; return whether there were any."""
        try:
            gone = await asyncio.to_thread(prune, self._destination.folder, kept)
        except OSError as error:
            log.warning("backups_not_removed", error=error.strerror)
            return False
        if gone:
            log.info("backups_removed", names=gone)
        return bool(gone)

    async def _last_at(self) -> datetime | None:
        """Return when the newest backup was made, else when the first run was opened; None: there is none.

        One of the future was made by a wrong clock, and does not count.
        """
        known = await asyncio.to_thread(backups_in, self._destination.folder)
        past = [each.manifest.made_at for each in known if each.manifest.made_at <= self._now()]
        if past:
            return past[-1]
        async with self._database.reading() as connection:
            opened: datetime | None = await connection.fetchval(SQL["first_run_opened"])
            return opened

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._wall_clock(), UTC)
