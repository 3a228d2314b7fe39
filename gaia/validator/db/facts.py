"""Reads what metrics show of the database: numbers of rows and moments, never a row itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from gaia.validator.db.statements import SQL

if TYPE_CHECKING:
    from gaia.validator.db.connection import Connection


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFacts:
    """All runs in a few values."""

    active: int
    oldest_opened_at: datetime | None
    """When the oldest open run was opened; None if none is open."""
    last_opened_at: datetime | None
    """When the newest run was opened; None if there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VectorFacts:
    """The journal of weights in a few values."""

    in_doubt: int
    last_set_epoch: int | None
    """Epoch of the newest vector on chain; None if there is none."""
    last_set_at: datetime | None
    """When it was found there, by the calendar."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceFacts:
    """The reference sets of one source in a few values."""

    ready: int
    awaited: int
    newest_truth: str | None
    """Name of the newest set that is ready and holds a truth; None if there is none."""


async def run_facts(connection: Connection) -> RunFacts:
    """Return the state of all runs."""
    row = await connection.fetchrow(SQL["run_facts"])
    assert row is not None
    return RunFacts(**row)


async def vector_facts(connection: Connection, netuid: int, mechid: int) -> VectorFacts:
    """Return the state of the journal of weights."""
    row = await connection.fetchrow(SQL["vector_facts"], netuid, mechid)
    assert row is not None
    return VectorFacts(**row)


async def score_spread(connection: Connection, rule_set: str) -> dict[str, dict[str, float]]:
    """Return kind of lead -> statistic -> score, over the forecasts of the newest run that has any.

    The statistics are p10, median and p90. A kind without scores is missing.
    """
    rows = await connection.fetch(SQL["score_spread"], rule_set)
    return {row["kind"]: {name: row[name] for name in ("p10", "median", "p90")} for row in rows}


async def source_facts(connection: Connection) -> dict[str, SourceFacts]:
    """Return source -> state of its reference sets; a source without sets is missing."""
    rows = await connection.fetch(SQL["source_facts"])
    return {
        row["source"]: SourceFacts(
            ready=row["ready"], awaited=row["awaited"], newest_truth=row["newest_truth"]
        )
        for row in rows
    }


async def settled_references(connection: Connection, reference_ids: Sequence[str]) -> set[str]:
    """Return those of `reference_ids` that are ready or given up."""
    rows = await connection.fetch(SQL["settled_references"], list(reference_ids))
    return {row["reference_id"] for row in rows}


async def database_bytes(connection: Connection) -> int:
    """Return the size of the database on disk."""
    return int(await connection.fetchval(SQL["database_bytes"]))
