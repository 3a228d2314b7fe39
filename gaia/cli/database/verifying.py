"""The command db verify: whether the schema and what it holds are whole."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from gaia.cli import tables
from gaia.validator.db.schema.catalogue import Drift, drift_of, expected_catalogue, read_catalogue
from gaia.validator.db.schema.files import read_migrations
from gaia.validator.db.schema.migrating import read_standing
from gaia.validator.db.schema.standing import Fit
from gaia.validator.db.statements import SQL

if TYPE_CHECKING:
    from gaia.cli.source import Source
    from gaia.validator.db.connection import Connection, Database


class Check(NamedTuple):
    """One statement that finds what the database must not hold."""

    name: str
    sql: str
    """Returns how many rows violate it, and one example."""
    what: str
    """What is violated."""


CHECKS: Final = (
    Check(
        "completed_runs",
        SQL["verify_completed_runs"],
        "a completed run has forecasts that are not at their end",
    ),
    Check(
        "manifests",
        SQL["verify_manifests"],
        "a frozen manifest has another digest than the one stored with it",
    ),
    Check("lead_scores", SQL["verify_lead_scores"], "fields of a lead have scores, and the lead has none"),
    Check("overall_scores", SQL["verify_overall_scores"], "a scored forecast has no overall score"),
    Check("numbers", SQL["verify_numbers"], "a score is no number, or out of its range"),
    Check(
        "weight_inputs",
        SQL["verify_weight_inputs"],
        "what a vector was computed from has another digest than its key",
    ),
    Check(
        "imported_runs",
        SQL["verify_imported_runs"],
        "an imported run has forecasts of our own, or ours has imported ones",
    ),
    Check("journal", SQL["verify_journal"], "a vector stands on chain, and the journal has no block of it"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """Something that the database must not hold."""

    check: str
    """Name of the check that found it."""
    what: str
    rows: int
    example: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """Answer of db verify."""

    drift: Drift
    violations: Sequence[Violation]
    checks: int
    imported_runs: int
    """Number of runs that the original validator scored; their scores cannot be computed anew."""

    @property
    def is_whole(self) -> bool:
        """Return whether nothing was found."""
        return not self.drift and not self.violations


def verify(source: Source, arguments: argparse.Namespace) -> int:
    """Print whether the schema and what it holds are whole; exit code 1 if not."""
    found = source.use(verified)
    if arguments.json:
        tables.print_json({**asdict(found), "is_whole": found.is_whole})
    else:
        _print(found)
    return 0 if found.is_whole else 1


async def verified(database: Database) -> Verified:
    """Examine a database: its schema, and what it must not hold.

    Raises
    ------
    ConfigurationError
        If it does not fit this program.
    DatabaseFailure
        If it fails.
    """
    # Large tables are read whole, which may take longer than a statement of the validator may.
    async with database.alone("gaia-verify") as connection:
        return await _read(connection)


async def _read(connection: Connection) -> Verified:
    standing = await read_standing(connection, read_migrations())
    standing.require_fit()
    drift = Drift()
    if standing.fit is Fit.CURRENT:
        drift = drift_of(await read_catalogue(connection), expected_catalogue())
    violations = []
    for check in CHECKS:
        row = await connection.fetchrow(check.sql)
        assert row is not None
        if row["rows"]:
            violations.append(
                Violation(check=check.name, what=check.what, rows=row["rows"], example=row["example"])
            )
    imported = await connection.fetchval(SQL["count_imported"])
    return Verified(drift=drift, violations=violations, checks=len(CHECKS), imported_runs=imported)


def _print(found: Verified) -> None:
    parts = (
        ("is missing", found.drift.missing),
        ("has another form", found.drift.changed),
        ("was added", found.drift.added),
        ("is missing or has another form; statements are slower", found.drift.slow),
    )
    for words, names in parts:
        for name in names:
            tables.print_lines(f"{name} {words}")
    for one in found.violations:
        tables.print_lines(f"{one.what}: {tables.counted(one.rows, 'row')}, such as {one.example}")
    if found.imported_runs:
        runs = tables.counted(found.imported_runs, "run")
        tables.print_lines(
            f"{runs} imported from the original validator: the scores cannot be computed anew."
        )
    if found.is_whole:
        tables.print_lines(f"The schema and what it holds are whole ({found.checks} checks).")
