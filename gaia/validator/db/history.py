"""What was scored, read back for the command line: runs, forecasts, scores, their inputs, weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from gaia.validator.db.connection import Connection

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Contract:
    """What a run asks for and is scored at, as the settings had it when the first of it was settled."""

    day1_lead_hours: Sequence[int]
    final_lead_hours: Sequence[int]
    day1_fields: Sequence[str]
    final_fields: Sequence[str]

    @classmethod
    def of(cls, stored: Row | None) -> Contract | None:
        """Return the column `contract`; None where it is NULL, as in each run until something of it is settled."""
        return None if stored is None else cls(**{name: stored[name] for name in cls.__slots__})

    @property
    def fields(self) -> list[str]:
        """Every field that is scored, those of ERA5 first."""
        return list(dict.fromkeys([*self.final_fields, *self.day1_fields]))


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


SQL: Final[Mapping[str, str]] = {
    # Every run, oldest first, with how many of its forecasts ended how.
    "runs": "SELECT run_id, init_time, rule_set, runs.state, runs.opened_at, completed_at, contract,"
    " count(hotkey) AS forecasts, count(*) FILTER (WHERE forecasts.state = 'scored') AS scored,"
    " count(*) FILTER (WHERE forecasts.state = 'rejected') AS rejected,"
    " count(*) FILTER (WHERE forecasts.state = 'excused') AS excused,"
    " EXISTS (SELECT FROM lead_scores WHERE lead_scores.run_id = runs.run_id AND reason IS NULL) AS has_scores"
    " FROM runs LEFT JOIN forecasts USING (run_id) GROUP BY run_id ORDER BY init_time",
    # Runs whose inputs may not be removed yet.
    "living_runs": "SELECT run_id, init_time FROM runs WHERE state = 'open' OR completed_at > $1",
    # The forecasts of some runs; nothing whose size a miner chose.
    "forecasts": "SELECT run_id, hotkey, uid, registered_at, state, reason, manifest_sha256, frozen_at"
    " FROM forecasts WHERE run_id = ANY($1::text[]) ORDER BY run_id, hotkey",
    # The same, and what was frozen: for those who check it anew.
    "signed": "SELECT run_id, hotkey, uid, registered_at, state, reason, manifest_sha256, manifest, signature,"
    " frozen_at FROM forecasts WHERE run_id = ANY($1::text[]) ORDER BY run_id, hotkey",
    # Every measure, whatever measures there are; the order is that of the primary key.
    "components": "SELECT * FROM component_scores WHERE run_id = ANY($1::text[])"
    " ORDER BY run_id, hotkey, rule_set, kind, lead_hours, field",
    # The score of every lead, and what it cost.
    "leads": "SELECT run_id, hotkey, rule_set, kind, lead_hours, score, reason, cpu_s FROM lead_scores"
    " WHERE run_id = ANY($1::text[]) ORDER BY run_id, hotkey, rule_set, kind, lead_hours",
    # The scores weights are made of.
    "scores": "SELECT run_id, hotkey, rule_set, day1, leads, overall, counted FROM score_table"
    " WHERE run_id = ANY($1::text[]) ORDER BY run_id, hotkey, rule_set",
    # What each lead was compared with.
    "inputs": "SELECT run_id, rule_set, kind, lead_hours, handler, payload, digests FROM lead_inputs"
    " WHERE run_id = ANY($1::text[]) ORDER BY run_id, rule_set, kind, lead_hours",
    # Overall scores of all runs, with who earned them.
    "overall": "SELECT run_id, init_time, runs.state AS run_state, score_table.rule_set, hotkey, uid,"
    " registered_at, forecasts.state,"
    " day1, overall, counted FROM score_table JOIN runs USING (run_id) JOIN forecasts USING (run_id, hotkey)"
    " ORDER BY init_time, hotkey, rule_set",
    # CPU seconds of a run under each rule set, and how many leads they were spent on.
    "costs": "SELECT run_id, rule_set, count(cpu_s) AS leads, coalesce(sum(cpu_s), 0) AS cpu_s FROM lead_scores"
    " GROUP BY run_id, rule_set",
    # The newest vectors first.
    "weights": "SELECT netuid, epoch, rule_set, vector, vector_sha256, weights, run_ids, state, intended_at, block,"
    " block_hash, extrinsic, error FROM weight_journal ORDER BY epoch DESC LIMIT $1",
    # The newest vector that was made from a run, and stands on chain.
    "weights_of_run": "SELECT netuid, epoch, rule_set, vector, vector_sha256, weights, run_ids, state, intended_at,"
    " block, block_hash, extrinsic, error, inputs FROM weight_journal WHERE state = 'set' AND run_ids ? $1"
    " ORDER BY epoch DESC LIMIT 1",
    # The vectors that were made from some runs, oldest first.
    "vectors": "SELECT netuid, mechid, epoch, rule_set, vector, vector_sha256, weights, run_ids, state, inputs"
    " FROM weight_journal WHERE run_ids ?| $1::text[] ORDER BY netuid, mechid, epoch",
    # Parts of what vectors were computed from.
    "weight_inputs": "SELECT sha256, content FROM weight_inputs WHERE sha256 = ANY($1::text[])",
    # How many sets of reference fields are there, and how many are waited for.
    "references": "SELECT count(*) FILTER (WHERE ready) AS ready, count(*) FILTER (WHERE NOT ready) AS awaited"
    " FROM reference_sets",
    # How many forecasts of open runs stand where.
    "standing": "SELECT forecasts.state, count(*) FROM forecasts JOIN runs USING (run_id)"
    " WHERE runs.state = 'open' GROUP BY forecasts.state ORDER BY forecasts.state",
}


async def run_summaries(connection: Connection) -> list[RunSummary]:
    """Every run, oldest first."""
    rows = await connection.fetch(SQL["runs"])
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
    statements = {name: name for name in ("forecasts", "components", "leads", "scores", "inputs")}
    if with_manifests:
        statements["forecasts"] = "signed"
    parts = {
        part: _by_run(await connection.fetch(SQL[name], list(run_ids))) for part, name in statements.items()
    }
    return [
        StoredRun(summary=run, **{name: rows.get(run.run_id, []) for name, rows in parts.items()})
        for run in summaries
    ]


async def overall_scores(connection: Connection) -> list[Row]:
    """One row a run, miner and rule set, oldest first."""
    return [dict(row) for row in await connection.fetch(SQL["overall"])]


async def costs(connection: Connection) -> dict[tuple[str, str], Row]:
    """(run_id, rule_set) to the number of leads computed and the CPU seconds they took."""
    return {(row["run_id"], row["rule_set"]): dict(row) for row in await connection.fetch(SQL["costs"])}


async def newest_weights(connection: Connection, count: int = 1) -> list[Row]:
    """The newest entries of the journal, newest first."""
    return [dict(row) for row in await connection.fetch(SQL["weights"], count)]


async def weights_of_run(connection: Connection, run_id: str) -> Row | None:
    """The newest vector on chain that was made from `run_id`."""
    row = await connection.fetchrow(SQL["weights_of_run"], run_id)
    return dict(row) if row else None


async def vectors_of(connection: Connection, run_ids: Sequence[str]) -> list[Row]:
    """Every journalled vector that was made from one of `run_ids`, with what names its inputs."""
    return [dict(row) for row in await connection.fetch(SQL["vectors"], list(run_ids))]


async def weight_inputs(connection: Connection, digests: Sequence[str]) -> dict[str, str]:
    """Digest -> content of the parts of vectors' inputs that are there."""
    rows = await connection.fetch(SQL["weight_inputs"], list(digests))
    return {row["sha256"]: row["content"] for row in rows}


async def standing(connection: Connection) -> dict[str, int]:
    """Forecasts of open runs by state."""
    return {row["state"]: row["count"] for row in await connection.fetch(SQL["standing"])}


async def references(connection: Connection) -> Row:
    """How many sets of reference fields are `ready` and how many are `awaited`."""
    row = await connection.fetchrow(SQL["references"])
    assert row is not None
    return dict(row)


def _by_run(rows: Sequence[Any]) -> dict[str, list[Row]]:
    grouped: dict[str, list[Row]] = {}
    for row in rows:
        grouped.setdefault(row["run_id"], []).append(dict(row))
    return grouped
