"""Reads of the database what decides about an upgrade: its migrations, its open runs, and who writes to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gaia.cli.upgrade.findings import AppliedMigration, PlannedMigration, PlannedRun, Stored
from gaia.tasks.defined_tasks.weather.rules import RULE_SETS
from gaia.validator.db import queries
from gaia.validator.db.schema.files import read_migrations
from gaia.validator.db.schema.migrating import read_standing
from gaia.validator.db.schema.standing import Fit
from gaia.validator.db.statements import SQL
from gaia.validator.utils.errors import ConfigurationError

if TYPE_CHECKING:
    from gaia.validator.db.connection import Connection
    from gaia.validator.db.schema.standing import Standing

_HAS_RUNS = frozenset({Fit.BEHIND, Fit.CURRENT, Fit.NEWER, Fit.ALTERED})
"""Fits of databases that a release of ours has set up."""


async def read_stored(connection: Connection) -> Stored:
    """Return what the database holds, of whatever release it is."""
    standing = await read_standing(connection, read_migrations())
    return Stored(
        fit=standing.fit,
        problem=_problem(standing),
        missing=[
            PlannedMigration(
                version=each.version,
                name=each.name,
                can_be_taken_back=each.down is not None,
                others_write=each.is_concurrent,
            )
            for each in standing.missing
        ],
        applied=await _applied(connection),
        open_runs=await _open_runs(connection) if standing.fit in _HAS_RUNS else (),
        holder=await _holder(connection),
    )


def _problem(standing: Standing) -> str:
    try:
        standing.require_fit()
    except ConfigurationError as error:
        return f"{error.problem}; {error.remedy}"
    return ""


async def _applied(connection: Connection) -> list[AppliedMigration]:
    if not await connection.fetchval(SQL["has_migrations"]):
        return []
    is_extended = await connection.fetchval(SQL["is_extended"])
    rows = await connection.fetch(SQL["migrations_in_detail" if is_extended else "applied_migrations"])
    return [
        AppliedMigration(
            version=row["version"], name=row["name"], seconds=row["seconds"] if is_extended else None
        )
        for row in rows
    ]


async def _open_runs(connection: Connection) -> list[PlannedRun]:
    return [
        PlannedRun(run_id=run.run_id, rule_set=run.rule_set, is_known=run.rule_set in RULE_SETS)
        for run in await queries.open_runs(connection)
    ]


async def _holder(connection: Connection) -> str:
    """Return the name of the validator that may write now; "" if none may, or the database knows no lease."""
    if not await connection.fetchval(SQL["has_lease"]):
        return ""
    row = await connection.fetchrow(SQL["read_lease"])
    return str(row["name"]) if row is not None and row["seconds_left"] > 0 else ""
