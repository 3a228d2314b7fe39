"""What was scored, read back for the command line: runs, forecasts, scores, their inputs, weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from gaia.validator.db.inputs import Contract
from gaia.validator.db.statements import SQL

if TYPE_CHECKING:
    from gaia.validator.db.connection import Connection

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSummary:
    """One run and how its forecasts stand."""

    run_id: str
    init_time: datetime
    rule_set: str
    state: str
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
        return self.state == "open"


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredRun:
    """Everything stored about one run, under every rule set that scored it."""

    summary: RunSummary
    forecasts: Sequence[Row]
    components: Sequence[Row]
    leads: Sequence[Row]
    scores: Sequence[Row]
    inputs: Sequence[Row]
    """What each lead's units were given: see migration 0003."""


async def run_summaries(connection: Connection) -> list[RunSummary]:
    """Every run, oldest first."""
    rows = await connection.fetch(SQL["run_summaries"])
    return [RunSummary(**{**row, "contract": Contract.of(row["contract"])}) for row in rows]


async def living_runs(connection: Connection, since: datetime) -> dict[str, datetime]:
    """Runs that are open or were completed after `since`, each with its initial time."""
    return {row["run_id"]: row["init_time"] for row in await connection.fetch(SQL["living_runs"], since)}


async def stored_runs(
    connection: Connection, run_ids: Sequence[str], *, with_manifests: bool = False
) -> list[StoredRun]:
    """Everything about `run_ids` that exist, oldest first; manifests and signatures only on request."""
    wanted = set(run_ids)
    summaries = [run for run in await run_summaries(connection) if run.run_id in wanted]
    statements = {
        "forecasts": SQL["signed_forecasts_of_runs"] if with_manifests else SQL["forecasts_of_runs"],
        "components": SQL["components_of_runs"],
        "leads": SQL["leads_of_runs"],
        "scores": SQL["scores_of_runs"],
        "inputs": SQL["inputs_of_runs"],
    }
    parts = {
        part: _by_run(await connection.fetch(statement, list(run_ids)))
        for part, statement in statements.items()
    }
    return [
        StoredRun(summary=run, **{name: rows.get(run.run_id, []) for name, rows in parts.items()})
        for run in summaries
    ]


async def overall_scores(connection: Connection) -> list[Row]:
    """One row a run, miner and rule set, oldest first."""
    return [dict(row) for row in await connection.fetch(SQL["overall_scores"])]


async def costs(connection: Connection) -> dict[tuple[str, str], Row]:
    """(run_id, rule_set) to the number of leads computed and the CPU seconds they took."""
    return {(row["run_id"], row["rule_set"]): dict(row) for row in await connection.fetch(SQL["costs"])}


async def newest_weights(connection: Connection, count: int = 1) -> list[Row]:
    """The newest entries of the journal, newest first."""
    return [dict(row) for row in await connection.fetch(SQL["newest_vectors"], count)]


async def weights_of_run(connection: Connection, run_id: str) -> Row | None:
    """The newest vector on chain that was made from `run_id`."""
    row = await connection.fetchrow(SQL["vector_of_run"], run_id)
    return dict(row) if row else None


async def vectors_of(connection: Connection, run_ids: Sequence[str]) -> list[Row]:
    """Every journalled vector that was made from one of `run_ids`, with what names its inputs."""
    return [dict(row) for row in await connection.fetch(SQL["vectors_of_runs"], list(run_ids))]


async def weight_inputs(connection: Connection, digests: Sequence[str]) -> dict[str, str]:
    """Digest -> content of the parts of vectors' inputs that are there."""
    rows = await connection.fetch(SQL["weight_inputs"], list(digests))
    return {row["sha256"]: row["content"] for row in rows}


async def references(connection: Connection) -> Row:
    """How many sets of reference fields are `ready` and how many are `awaited`."""
    row = await connection.fetchrow(SQL["count_references"])
    assert row is not None
    return dict(row)


async def weights_set(connection: Connection) -> Row | None:
    """The newest vector that stands on chain."""
    row = await connection.fetchrow(SQL["vector_on_chain"])
    return dict(row) if row else None


async def weights_in_doubt(connection: Connection) -> list[Row]:
    """Vectors that were promised and neither set nor lost, oldest first."""
    return [dict(row) for row in await connection.fetch(SQL["vectors_in_doubt"])]


async def incidents(connection: Connection) -> list[Row]:
    """Parties outside of us that fail now, the one that has failed longest first."""
    return [dict(row) for row in await connection.fetch(SQL["open_incidents"])]


async def awaited(connection: Connection) -> list[Row]:
    """Archives that did not give what they were asked for: how many sets, why, and when they are asked again."""
    return [dict(row) for row in await connection.fetch(SQL["awaited_references"])]


def _by_run(rows: Sequence[Any]) -> dict[str, list[Row]]:
    grouped: dict[str, list[Row]] = {}
    for row in rows:
        grouped.setdefault(row["run_id"], []).append(dict(row))
    return grouped
