"""Migrates the schema: applies numbered SQL files, each once, in order, in one transaction."""

from __future__ import annotations

import asyncio
import hashlib
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import asyncpg
import structlog

from gaia.validator.db.failures import DatabaseFailure, StatementRefused
from gaia.validator.db.statements import SQL
from gaia.validator.utils.errors import ConfigurationError, ExitCode

if TYPE_CHECKING:
    from gaia.validator.db.connection import Connection, Database

log = structlog.get_logger(__name__)

MIGRATIONS = Path(__file__).parents[1] / "db" / "migrations"
# An arbitrary constant; it makes validators that start at once migrate one after the other.
_MIGRATION_LOCK = 5_701
_PATIENCE_S: Final = 300.0
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.1, 5.0
# Errors of statements in a database that another program made.
_TAKEN: Final = (
    asyncpg.DuplicateTableError,
    asyncpg.DuplicateColumnError,
    asyncpg.DuplicateObjectError,
    asyncpg.UndefinedTableError,
    asyncpg.UndefinedColumnError,
)


@dataclass(frozen=True, slots=True)
class Migration:
    """One numbered SQL file."""

    version: int
    name: str
    sql: str

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.sql.encode()).hexdigest()


def read_migrations(folder: Path = MIGRATIONS) -> list[Migration]:
    """Return the migrations from `NNNN_name.sql` files, lowest number first."""
    return [
        Migration(int(path.stem.split("_", 1)[0]), path.stem.split("_", 1)[1], path.read_text())
        for path in sorted(folder.glob("[0-9]*_*.sql"))
    ]


async def run_comprehensive_database_setup(
    database: Database, folder: Path = MIGRATIONS, patience_s: float = _PATIENCE_S
) -> list[str]:
    """Apply every missing migration; return the names of those applied.

    A database that fails is waited out for `patience_s`: the death of a process would help nobody.

    Raises
    ------
    ConfigurationError
        If an applied migration differs from its file, or the database is newer than this
        program. Also if it holds tables of another program, or does not let us make ours.
    DatabaseFailure
        If the server refuses a statement, or the database fails for so long. Nothing was applied,
        unless the answer to the commit was lost.
    """
    migrations = read_migrations(folder)
    end, wait_s = time.monotonic() + patience_s, _FIRST_WAIT_S
    while True:
        try:
            return await _applied(database, migrations)
        except StatementRefused:
            raise
        except DatabaseFailure as failure:
            if time.monotonic() > end:
                raise
            log.warning("database_setup_repeated", error=str(failure))
        await asyncio.sleep(wait_s)
        wait_s = min(2 * wait_s, _LONGEST_WAIT_S)


async def _applied(database: Database, migrations: list[Migration]) -> list[str]:
    """Apply the missing migrations in one transaction; return their names."""
    async with database.transaction() as connection:
        # Caught inside the transaction: outside, the database's errors are of our types.
        try:
            return await apply_missing(connection, migrations)
        except asyncpg.InsufficientPrivilegeError as error:
            raise ConfigurationError(
                "GAIA_DATABASE_URL",
                f"the role may not make tables ({_first_line(error)})",
                "grant it CREATE on the schema public, or name another role",
                ExitCode.DATABASE_UNREACHABLE,
            ) from error
        except _TAKEN as error:
            raise ConfigurationError(
                "GAIA_DATABASE_URL",
                f"the database holds tables that this program did not make ({_first_line(error)})",
                "name an empty database",
                ExitCode.DATABASE_UNREACHABLE,
            ) from error


async def was_set_up(connection: Connection) -> bool:
    """Return whether any release has created its tables in this database."""
    return bool(await connection.fetchval(SQL["has_migrations"]))


async def apply_missing(connection: Connection, migrations: list[Migration]) -> list[str]:
    """Apply the missing migrations in the transaction of `connection`; return their names.

    Raises
    ------
    ConfigurationError
        If an applied migration differs from its file, or the database is newer than this program.
    asyncpg.PostgresError
        If the server refuses a statement.
    """
    await connection.execute(SQL["lock_migrations"], _MIGRATION_LOCK)
    await connection.execute(SQL["create_migrations"])
    missing = await missing_migrations(connection, migrations)
    for migration in missing:
        await connection.execute(migration.sql)
        await connection.execute(
            SQL["record_migration"],
            migration.version,
            migration.name,
            migration.sha256,
        )
    return [migration.name for migration in missing]


async def missing_migrations(connection: Connection, migrations: list[Migration]) -> list[Migration]:
    """Return the migrations that are not applied; the table of applied ones must exist.

    Raises
    ------
    ConfigurationError
        If an applied migration differs from its file, or the database is newer than this program.
    """
    rows = await connection.fetch(SQL["applied_migrations"])
    applied = {row["version"]: row["sha256"] for row in rows}
    _refuse_drift(migrations, applied)
    return [migration for migration in migrations if migration.version not in applied]


def _refuse_drift(migrations: list[Migration], applied: dict[int, str]) -> None:
    known = {migration.version: migration.sha256 for migration in migrations}
    for version, sha256 in applied.items():
        if known.get(version) != sha256:
            raise ConfigurationError(
                "GAIA_DATABASE_URL",
                f"the database has migration {version} in a form this program does not know",
                "install the release that made the database, or name another database",
                ExitCode.DATABASE_UNREACHABLE,
            )


def _first_line(error: BaseException) -> str:
    return str(error).partition("\n")[0]
