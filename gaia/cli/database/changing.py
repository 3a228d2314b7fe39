"""The commands db status, migrate and rollback."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from gaia.cli import tables
from gaia.validator.app.logging_config import configure_logging
from gaia.validator.core.database_setup import PATIENCE_S, run_comprehensive_database_setup
from gaia.validator.db.schema.catalogue import drift_of, expected_catalogue, read_catalogue
from gaia.validator.db.schema.files import read_migrations
from gaia.validator.db.schema.migrating import Migrator, Step, downs_above, read_standing
from gaia.validator.db.schema.standing import Fit
from gaia.validator.db.statements import SQL
from gaia.validator.utils.errors import ConfigurationError, ExitCode, GaiaError

if TYPE_CHECKING:
    from gaia.cli.source import Source
    from gaia.validator.db.connection import Connection, Database


class InUse(GaiaError):
    """A validator uses the database, whose schema must stay as it is meanwhile."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MigrationRow:
    """One migration, as the database and this program know it."""

    version: int
    name: str
    applied_at: datetime | None
    """None: it is missing, or was applied before this was kept."""
    seconds: float | None
    can_be_taken_back: bool
    is_applied: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class TableRow:
    """One table with its size."""

    table: str
    rows: int
    """Number of rows, as the server estimates it."""
    size_bytes: int
    """Size with indexes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseStatus:
    """Answer of db status."""

    fit: Fit
    problem: str
    """Why the database does not fit, and what helps; "" if it fits."""
    drift: str
    """How its schema differs from what the migrations make; "" if it does not, or is not current."""
    server: str
    size_bytes: int
    migrations: Sequence[MigrationRow]
    tables: Sequence[TableRow]


def status(source: Source, arguments: argparse.Namespace) -> int:
    """Print the migrations that the database has and lacks, and its largest tables; exit code 21 if it does not fit."""
    found = source.use(lambda database: database.run(_read))
    if arguments.json:
        tables.print_json(found)
    else:
        _print(found)
    return ExitCode.DATABASE_MISFIT if found.problem or found.drift else ExitCode.OK


def migrate(source: Source, arguments: argparse.Namespace) -> int:
    """Apply the missing migrations, as the next start would; no validator may use the database."""

    async def act(database: Database) -> Sequence[Step]:
        await database.run(require_idle)
        return (await run_comprehensive_database_setup(database)).applied

    configure_logging("INFO", "console", role="cli")
    _tell(source.use(act), "applied", is_done=True, as_json=arguments.json)
    return ExitCode.OK


def rollback(source: Source, arguments: argparse.Namespace) -> int:
    """Take migrations back, newest first, so that an earlier release can go on; no validator may use the database."""

    async def act(database: Database) -> Sequence[Step]:
        if not arguments.yes:
            downs = await database.run(lambda connection: downs_above(connection, arguments.to))
            return [Step(version, name, 0.0) for version, name, _ in downs]
        await database.run(require_idle)
        return await Migrator(database, PATIENCE_S).roll_back(arguments.to)

    configure_logging("INFO", "console", role="cli")
    steps = source.use(act)
    words = "taken back" if arguments.yes else "would be taken back; add --yes"
    _tell(steps, words, is_done=arguments.yes, as_json=arguments.json)
    return ExitCode.OK


async def require_idle(connection: Connection) -> None:
    """Raise if a validator has a session in the database."""
    others = await connection.fetch(SQL["other_validators"])
    if others:
        pids = ", ".join(str(row["pid"]) for row in others)
        raise InUse(f"a validator uses the database (sessions {pids}); stop it first")


async def _read(connection: Connection) -> DatabaseStatus:
    known = read_migrations()
    standing = await read_standing(connection, known)
    try:
        standing.require_fit()
        problem = ""
    except ConfigurationError as error:
        problem = f"{error.problem}; {error.remedy}"
    drift = ""
    if standing.fit is Fit.CURRENT:
        drift = str(drift_of(await read_catalogue(connection), expected_catalogue()))
    facts = await connection.fetchrow(SQL["size_of_database"])
    assert facts is not None
    sizes = await connection.fetch(SQL["table_statistics"])
    missing = [
        MigrationRow(
            version=each.version,
            name=each.name,
            applied_at=None,
            seconds=None,
            can_be_taken_back=each.down is not None,
            is_applied=False,
        )
        for each in standing.missing
    ]
    return DatabaseStatus(
        fit=standing.fit,
        problem=problem,
        drift=drift,
        server=facts["server"],
        size_bytes=facts["size_bytes"],
        migrations=[*await _applied(connection), *missing],
        tables=[TableRow(table=row["name"], rows=row["rows"], size_bytes=row["bytes"]) for row in sizes],
    )


async def _applied(connection: Connection) -> list[MigrationRow]:
    """Return the migrations in the record; that of an earlier release does not tell what takes them back."""
    if not await connection.fetchval(SQL["has_migrations"]):
        return []
    if not await connection.fetchval(SQL["is_extended"]):
        rows = await connection.fetch(SQL["applied_migrations"])
        return [
            MigrationRow(
                version=row["version"],
                name=row["name"],
                applied_at=None,
                seconds=None,
                can_be_taken_back=False,
                is_applied=True,
            )
            for row in rows
        ]
    rows = await connection.fetch(SQL["migrations_in_detail"])
    return [
        MigrationRow(
            version=row["version"],
            name=row["name"],
            applied_at=row["applied_at"],
            seconds=row["seconds"],
            can_be_taken_back=row["down"] is not None,
            is_applied=True,
        )
        for row in rows
    ]


def _print(found: DatabaseStatus) -> None:
    mib = found.size_bytes / 2**20
    tables.print_lines(f"PostgreSQL {found.server}, {mib:.1f} MiB; the schema is {found.fit}")
    if found.problem:
        tables.print_lines(f"{found.problem}.")
    if found.drift:
        tables.print_lines(f"The schema was changed by hand: {found.drift}. `gaia db verify` lists all.")
    tables.print_lines("")
    tables.print_table(
        [">version", "name", "applied", ">seconds?", "can be taken back?"],
        [
            (
                row.version,
                row.name,
                row.applied_at if row.is_applied else "missing",
                row.seconds,
                row.can_be_taken_back,
            )
            for row in found.migrations
        ],
    )
    tables.print_lines("")
    tables.print_table(
        ["table", ">rows", ">MiB"],
        [(row.table, row.rows, f"{row.size_bytes / 2**20:.1f}") for row in found.tables],
    )


def _tell(steps: Sequence[Step], what: str, *, is_done: bool, as_json: bool) -> None:
    if as_json:
        tables.print_json({"migrations": steps, "done": is_done})
        return
    for step in steps:
        tables.print_lines(f"{step.version:04} {step.name}: {what}")
    if not steps:
        tables.print_lines("There is nothing to do.")
