"""What was scored, read back for the command line: runs, forecasts, scores, their inputs, weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

import msgspec

from gaia.validator.db.inputs import Contract
from gaia.validator.db.rows import (
    AwaitedRow,
    ComponentRow,
    CostRow,
    ForecastRow,
    IncidentRow,
    InputsRow,
    LeadRow,
    OverallRow,
    ReferenceCounts,
    ScoreRow,
    VectorInDoubt,
    VectorOnChain,
    VectorRow,
)
from gaia.validator.db.statements import SQL
from gaia.validator.db.states import RunState

if TYPE_CHECKING:
    from asyncpg import Record

    from gaia.validator.db.connection import Connection

R = TypeVar("R")

_NOT_MEASURES: Final = frozenset(ComponentRow.__slots__) - {"measures"}


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSummary:
    """One run and how its forecasts stand."""

    run_id: str
    init_time: datetime
    rule_set: str
    state: RunState
    opened_at: datetime
    completed_at: datetime | None
    contract: Contract | None
    """None until the first lead or forecast is settled, and in a run scored before contracts were kept."""
    forecasts: int
    scored: int
    rejected: int
    excused: int
    has_scores: bool
    """Whether any lead of any forecast was scored from what a miner sent, on day 1 or against ERA5."""

    @property
    def is_open(self) -> bool:
        """Whether scores are still to come, so that overall scores are not final."""
        return self.state is RunState.OPEN


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredRun:
    """Everything stored about one run, under every rule set that scored it."""

    summary: RunSummary
    forecasts: Sequence[ForecastRow]
    components: Sequence[ComponentRow]
    leads: Sequence[LeadRow]
    scores: Sequence[ScoreRow]
    inputs: Sequence[InputsRow]
    """What each lead's units were given: see migration 0003."""


async def run_summaries(connection: Connection) -> list[RunSummary]:
    """Every run, oldest first."""
    rows = await connection.fetch(SQL["run_summaries"])
    return [
        RunSummary(**{**row, "state": RunState(row["state"]), "contract": Contract.of(row["contract"])})
        for row in rows
    ]


async def living_runs(connection: Connection, since: datetime) -> dict[str, datetime]:
    """Runs that are open or were completed after `since`, each with its initial time."""
    return {row["run_id"]: row["init_time"] for row in await connection.fetch(SQL["living_runs"], since)}


async def stored_runs(
    connection: Connection, run_ids: Sequence[str], *, with_manifests: bool = False
) -> list[StoredRun]:
    """Everything about `run_ids` that exist, oldest first; manifests and signatures only on request."""
    wanted = list(run_ids)
    summaries = [run for run in await run_summaries(connection) if run.run_id in wanted]
    forecasts = SQL["signed_forecasts_of_runs"] if with_manifests else SQL["forecasts_of_runs"]
    parts: dict[str, Mapping[str, list[Any]]] = {
        "forecasts": _by_run(_rows(await connection.fetch(forecasts, wanted), ForecastRow)),
        "components": _by_run(
            [_component(row) for row in await connection.fetch(SQL["components_of_runs"], wanted)]
        ),
        "leads": _by_run(_rows(await connection.fetch(SQL["leads_of_runs"], wanted), LeadRow)),
        "scores": _by_run(_rows(await connection.fetch(SQL["scores_of_runs"], wanted), ScoreRow)),
        "inputs": _by_run(_rows(await connection.fetch(SQL["inputs_of_runs"], wanted), InputsRow)),
    }
    return [
        StoredRun(summary=run, **{name: rows.get(run.run_id, []) for name, rows in parts.items()})
        for run in summaries
    ]


async def overall_scores(connection: Connection) -> list[OverallRow]:
    """One row a run, miner and rule set, oldest first."""
    return _rows(await connection.fetch(SQL["overall_scores"]), OverallRow)


async def costs(connection: Connection) -> dict[tuple[str, str], CostRow]:
    """(run_id, rule_set) to the number of leads computed and the CPU seconds they took."""
    rows = _rows(await connection.fetch(SQL["costs"]), CostRow)
    return {(row.run_id, row.rule_set): row for row in rows}


async def newest_vector(connection: Connection) -> VectorRow | None:
    """The newest entry of the journal."""
    return _row(await connection.fetchrow(SQL["newest_vector"]), VectorRow)


async def vector_of_run(connection: Connection, run_id: str) -> VectorRow | None:
    """The newest vector on chain that was made from `run_id`."""
    return _row(await connection.fetchrow(SQL["vector_of_run"], run_id), VectorRow)


async def vectors_of(connection: Connection, run_ids: Sequence[str]) -> list[VectorRow]:
    """Every journalled vector that was made from one of `run_ids`, with what names its inputs."""
    return _rows(await connection.fetch(SQL["vectors_of_runs"], list(run_ids)), VectorRow)


async def weight_inputs(connection: Connection, digests: Sequence[str]) -> dict[str, str]:
    """Digest -> content of the parts of vectors' inputs that are there."""
    rows = await connection.fetch(SQL["weight_inputs"], list(digests))
    return {row["sha256"]: row["content"] for row in rows}


async def references(connection: Connection) -> ReferenceCounts:
    """How many sets of reference fields are ready and how many are awaited."""
    (counts,) = _rows(await connection.fetch(SQL["count_references"]), ReferenceCounts)
    return counts


async def vector_on_chain(connection: Connection) -> VectorOnChain | None:
    """The newest vector that stands on chain."""
    return _row(await connection.fetchrow(SQL["vector_on_chain"]), VectorOnChain)


async def vectors_in_doubt(connection: Connection) -> list[VectorInDoubt]:
    """Vectors that were promised and neither set nor lost, oldest first."""
    return _rows(await connection.fetch(SQL["vectors_in_doubt"]), VectorInDoubt)


async def incidents(connection: Connection) -> list[IncidentRow]:
    """Parties outside of us that fail now, the one that has failed longest first."""
    return _rows(await connection.fetch(SQL["open_incidents"]), IncidentRow)


async def awaited(connection: Connection) -> list[AwaitedRow]:
    """Archives that did not give what they were asked for: how many sets, why, and when they are asked again."""
    return _rows(await connection.fetch(SQL["awaited_references"]), AwaitedRow)


def _rows(records: Sequence[Record], kind: type[R]) -> list[R]:
    return [msgspec.convert(dict(record), kind) for record in records]


def _row(record: Record | None, kind: type[R]) -> R | None:
    return None if record is None else msgspec.convert(dict(record), kind)


def _component(record: Record) -> ComponentRow:
    """Return a row of component_scores, whatever measures its table has."""
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
