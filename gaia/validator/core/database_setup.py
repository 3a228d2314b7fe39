"""Brings the schema up to date at a start, and says what that took."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import structlog

from gaia.validator.db.failures import DatabaseFailure, StatementRefused
from gaia.validator.db.schema.catalogue import Drift, drift_of, expected_catalogue, read_catalogue
from gaia.validator.db.schema.files import FOLDER, Migration, read_migrations
from gaia.validator.db.schema.migrating import Migrator, Step
from gaia.validator.db.statements import SQL
from gaia.validator.utils.errors import ConfigurationError, ExitCode

if TYPE_CHECKING:
    from gaia.validator.db.access.lease import Lease
    from gaia.validator.db.connection import Database

log = structlog.get_logger(__name__)

PATIENCE_S: Final = 300.0

Before = Callable[[Sequence[Migration]], Awaitable[None]]
"""Called with the missing migrations before the first of them changes a schema that is not empty."""

_LOOK_AGAIN_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class Setup:
    """What one setup did."""

    applied: Sequence[Step]
    """Migrations that it applied, in order."""
    seconds: float
    """How long it took, with all waits."""
    slow: Sequence[str] = ()
    """Indexes that the database lacks; only speed depends on them."""

    @property
    def names(self) -> list[str]:
        """Names of the migrations that it applied."""
        return [step.name for step in self.applied]

    def describe(self) -> Mapping[str, object]:
        """Return the fields of its log line."""
        applied = {f"{step.version:04}_{step.name}": step.seconds for step in self.applied}
        return {
            "migrations_applied": applied,
            "seconds": round(self.seconds, 3),
            "missing_indexes": self.slow,
        }


async def run_comprehensive_database_setup(
    database: Database,
    folder: Path = FOLDER,
    patience_s: float = PATIENCE_S,
    before: Before | None = None,
) -> Setup:
    """Apply every missing migration, compare the schema with what they make, and say what was done.

    A database that fails is waited out for `patience_s`: the death of a process would help nobody.
    A migration may take any time, as long as it moves.

    Parameters
    ----------
    folder
        Folder of the migrations; the schema that those of this program make is known, and compared.
    before
        Makes a backup; its errors are raised unchanged, and the schema stays as it is.

    Raises
    ------
    ConfigurationError
        If the database does not fit this program, its schema was changed by hand, or it does not let us
        make our tables.
    DatabaseFailure
        If the server refuses a statement, or the database fails for so long.
    """
    begun = time.monotonic()
    applied = await Migrator(database, patience_s).migrate(read_migrations(folder), before)
    drift = await find_drift(database) if folder == FOLDER else Drift()
    if drift.is_serious:
        raise ConfigurationError(
            "GAIA_DATABASE_URL",
            f"the schema was changed by hand ({drift})",
            "list the changes with `gaia db verify`, and undo them or restore a backup",
            ExitCode.DATABASE_MISFIT,
        )
    if drift:
        log.error("schema_lacks_indexes", indexes=list(drift.slow))
    return Setup(applied, time.monotonic() - begun, drift.slow)


async def take_over(
    database: Database, lease: Lease, waiting: Callable[[str], None], before: Before | None = None
) -> Setup:
    """Take the lease, then bring the schema up to date; wait for as long as another validator holds it.

    A database of an earlier release has no lease yet, and gets one by its migrations.

    Parameters
    ----------
    waiting
        Called with the name of the holder, once for each that we wait for.
    before
        As in `run_comprehensive_database_setup`.

    Raises
    ------
    ConfigurationError
        As `run_comprehensive_database_setup` does.
    DatabaseFailure
        As there.
    """
    if await _has_lease(database):
        await lease.take(waiting)
    setup = await run_comprehensive_database_setup(database, before=before)
    if lease.token is None:
        await lease.take(waiting)
    return setup


async def _has_lease(database: Database) -> bool:
    """Return whether the database knows leases; wait for one that fails, as the setup does."""
    end = time.monotonic() + PATIENCE_S
    while True:
        try:
            async with database.reading() as connection:
                return bool(await connection.fetchval(SQL["has_lease"]))
        except DatabaseFailure as failure:
            if isinstance(failure, StatementRefused) or time.monotonic() > end:
                raise
            log.warning("database_setup_repeated", error=str(failure))
        await asyncio.sleep(_LOOK_AGAIN_S)


async def find_drift(database: Database) -> Drift:
    """Return how the schema of a current database differs from what the migrations make.

    Raises
    ------
    DatabaseFailure
        If the database fails.
    """
    found = await database.run(read_catalogue)
    return drift_of(found, expected_catalogue())
