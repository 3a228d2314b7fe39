"""Reads runs, forecasts, scores, their inputs and weights for the command line."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

import msgspec

from gaia.validator.db.inputs import Contract
from gaia.validator.db.rows import (
    AwaitedRow,
    ComponentRow,
    ConsensusDay,
    CostRow,
    ForecastRow,
    IncidentRow,
    InputsRow,
    LeadRow,
    LeaseRow,
    OverallRow,
    RecentVector,
    ReferenceCounts,
    ScoreRow,
    VectorInDoubt,
    VectorOnChain,
    VectorRow,
)
from gaia.validator.db.statements import SQL
from gaia.validator.db.states import RunState
from gaia.validator.utils.identities import RunId

if TYPE_CHECKING:
    from asyncpg import Record

    from gaia.validator.db.connection import Connection

R = TypeVar("R")

_PREFETCHED: Final = 5000
"""Rows that a cursor fetches at once."""
_NOT_MEASURES: Final = frozenset(ComponentRow.__slots__) - {"measures"}


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSummary:
    """One run, and the states of its forecasts."""

    run_id: RunId
    init_time: datetime
    rule_set: str
    state: RunState
    opened_at: datetime
    completed_at: datetime | None
    contract: Contract | None
    """Contract of the run; None until a first outcome is stored, and in runs of older releases."""
    forecasts: int
    unfrozen: int
    """Forecasts whose manifests may still come."""
    scored: int
    rejected: int
    excused: int
    has_scores: bool
    """Whether any lead of any forecast has a score from a miner's data."""
    imported_from: str | None = None
    """Run of the original validator that its scores come from; None: they are ours."""

    @property
    def is_open(self) -> bool:
        """Whether scores are still missing, so that overall scores are not final."""
        return self.state is RunState.OPEN

    @property
    def is_frozen(self) -> bool:
        """Whether each miner that was asked has answered, or failed to."""
        return self.forecasts > 0 and not self.unfrozen


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredRun:
    """All stored data about one run, under every rule set that scored it."""

    summary: RunSummary
    forecasts: Sequence[ForecastRow]
    components: Sequence[ComponentRow]
    leads: Sequence[LeadRow]
    scores: Sequence[ScoreRow]
    inputs: Sequence[InputsRow]
    """Inputs of each lead's units; see migration 0003."""


async def run_summaries(connection: Connection) -> list[RunSummary]:
    """Return all runs, oldest first."""
    rows = await connection.fetch(SQL["run_summaries"])
    return [
        RunSummary(**{**row, "state": RunState(row["state"]), "contract": Contract.of(row["contract"])})
        for row in rows
    ]


async def living_runs(connection: Connection, since: datetime) -> dict[str, datetime]:
    """Return the ids and initial times of runs that are open or were completed after `since`."""
    return {row["run_id"]: row["init_time"] for row in await connection.fetch(SQL["living_runs"], since)}


async def stored_runs(
    connection: Connection,
    run_ids: Sequence[str],
    *,
    with_manifests: bool = False,
    with_components: bool = True,
) -> list[StoredRun]:
    """Return all data about those of `run_ids` that exist, oldest first; manifests only on request.

    Components are most of a run. `components_under` reads them one by one.
    """
    wanted = list(run_ids)
    summaries = [run for run in await run_summaries(connection) if run.run_id in wanted]
    forecasts = SQL["signed_forecasts_of_runs"] if with_manifests else SQL["forecasts_of_runs"]
    parts: dict[str, Mapping[str, list[Any]]] = {
        "forecasts": _by_run(_rows(await connection.fetch(forecasts, wanted), ForecastRow)),
        "components": _by_run(
            [_component(row) for row in await connection.fetch(SQL["components_of_runs"], wanted)]
            if with_components
            else []
        ),
        "leads": _by_run(_rows(await connection.fetch(SQL["leads_of_runs"], wanted), LeadRow)),
        "scores": _by_run(_rows(await connection.fetch(SQL["scores_of_runs"], wanted), ScoreRow)),
        "inputs": _by_run(_rows(await connection.fetch(SQL["inputs_of_runs"], wanted), InputsRow)),
    }
    return [
        StoredRun(summary=run, **{name: rows.get(run.run_id, []) for name, rows in parts.items()})
        for run in summaries
    ]


async def components_under(
    connection: Connection, run_id: RunId, rule_set: str
) -> AsyncIterator[ComponentRow]:
    """Yield the components of one run under one rule set, inside a transaction; memory does not grow with them."""
    async for row in connection.cursor(SQL["components_under"], run_id, rule_set, prefetch=_PREFETCHED):
        yield _component(row)


async def overall_scores(connection: Connection) -> list[OverallRow]:
    """Return one row per run, miner and rule set, oldest first."""
    return _rows(await connection.fetch(SQL["overall_scores"]), OverallRow)


async def costs(connection: Connection) -> dict[tuple[str, str], CostRow]:
    """Return (run_id, rule_set) -> number of computed leads and their CPU seconds."""
    rows = _rows(await connection.fetch(SQL["costs"]), CostRow)
    return {(row.run_id, row.rule_set): row for row in rows}


async def newest_vector(connection: Connection) -> VectorRow | None:
    """Return the newest entry of the journal."""
    return next(iter(await newest_vectors(connection, 1)), None)


async def newest_vectors(connection: Connection, count: int, netuid: int | None = None) -> list[VectorRow]:
    """Return the newest `count` entries of the journal for a subnet, or for any, newest first, with their values."""
    return _rows(await connection.fetch(SQL["newest_vectors"], count, netuid), VectorRow)


async def recent_vectors(connection: Connection, count: int) -> list[RecentVector]:
    """Return the newest `count` entries of the journal, newest first."""
    return _rows(await connection.fetch(SQL["recent_vectors"], count), RecentVector)


async def vector_of_run(connection: Connection, run_id: RunId) -> VectorRow | None:
    """Return the newest vector on chain that was computed from `run_id`."""
    return _row(await connection.fetchrow(SQL["vector_of_run"], run_id), VectorRow)


async def vectors_of(connection: Connection, run_ids: Sequence[str]) -> list[VectorRow]:
    """Return every journalled vector that was computed from one of `run_ids`, with the names of its inputs."""
    return _rows(await connection.fetch(SQL["vectors_of_runs"], list(run_ids)), VectorRow)


async def weight_inputs(connection: Connection, digests: Sequence[str]) -> dict[str, str]:
    """Return digest -> content of the stored parts of vectors' inputs."""
    rows = await connection.fetch(SQL["weight_inputs"], list(digests))
    return {row["sha256"]: row["content"] for row in rows}


async def references(connection: Connection) -> ReferenceCounts:
    """Return the numbers of reference sets that are ready and missing."""
    (counts,) = _rows(await connection.fetch(SQL["count_references"]), ReferenceCounts)
    return counts


async def vector_on_chain(connection: Connection) -> VectorOnChain | None:
    """Return the newest vector that is on chain."""
    return _row(await connection.fetchrow(SQL["vector_on_chain"]), VectorOnChain)


async def vectors_in_doubt(connection: Connection) -> list[VectorInDoubt]:
    """Return the vectors in doubt, oldest first."""
    return _rows(await connection.fetch(SQL["vectors_in_doubt"]), VectorInDoubt)


async def incidents(connection: Connection) -> list[IncidentRow]:
    """Return the outside parties that fail now, the longest failure first."""
    return _rows(await connection.fetch(SQL["open_incidents"]), IncidentRow)


async def lease(connection: Connection) -> LeaseRow | None:
    """Return the lease of the database; None if an earlier release made it, which knows no lease."""
    if not await connection.fetchval(SQL["has_lease"]):
        return None
    return _row(await connection.fetchrow(SQL["read_lease"]), LeaseRow)


async def consensus_days(connection: Connection, netuid: int, hotkey: str, days: int) -> list[ConsensusDay]:
    """Return what the chain gave us on each of the newest days that are known, oldest first."""
    return _rows(await connection.fetch(SQL["consensus_days"], netuid, hotkey, days), ConsensusDay)


async def awaited(connection: Connection) -> list[AwaitedRow]:
    """Return the archives that lack sets: the number of sets, the last error and the next attempt."""
    return _rows(await connection.fetch(SQL["awaited_references"]), AwaitedRow)


def _rows(records: Sequence[Record], kind: type[R]) -> list[R]:
    return [msgspec.convert(dict(record), kind) for record in records]


def _row(record: Record | None, kind: type[R]) -> R | None:
    return None if record is None else msgspec.convert(dict(record), kind)


def _component(record: Record) -> ComponentRow:
    """Return a row of component_scores, with all measures that the table has."""
    names = {name: record[name] for name in _NOT_MEASURES}
    measures = {name: value for name, value in record.items() if name not in _NOT_MEASURES}
    return ComponentRow(**names, measures=measures)


class _OfRun(Protocol):
    @property
    def run_id(self) -> str: ...


Grouped = TypeVar("Grouped", bound=_OfRun)


def _by_run(rows: Sequence[Grouped]) -> dict[str, list[Grouped]]:
    grouped: dict[str, list[Grouped]] = {}
    for row in rows:
        grouped.setdefault(row.run_id, []).append(row)
    return grouped
