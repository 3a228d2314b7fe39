"""Reads the golden trace of a finished local subnet."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from gaia.localnet.miners.local_miner import questions_path
from gaia.validator.core.weights.inputs import InputsDamaged, from_parts, parts_named, vector_of
from gaia.validator.db import history
from golden_traces.questions import Subjects, questions_of

if TYPE_CHECKING:
    from gaia.localnet.population import MinerSpec
    from gaia.validator.db.connection import Connection

MEASURES: Final = (
    "rmse", "mse", "mae", "bias", "error_sd", "acc", "acc_uncentred", "skill_climatology", "skill_gfs",
    "skill_persistence", "skill_blend", "activity", "pattern_correlation", "clone_distance", "mse_climatology",
    "mse_gfs", "mse_persistence", "mse_blend",
)  # fmt: skip
"""Traced columns of component_scores; the table may get others."""

_SQL: Final[Mapping[str, str]] = {
    "runs": "SELECT run_id, init_time, rule_set, state, opened_at, completed_at FROM runs ORDER BY run_id",
    "forecasts": "SELECT run_id, hotkey, uid, state, reason, manifest_sha256,"
    # Traces keep the column names of the first recording.
    " committed_at AS frozen_at, committed_round AS frozen_round"
    " FROM forecasts ORDER BY run_id, hotkey",
    "components": f"SELECT run_id, hotkey, rule_set, kind, lead_hours, field, {', '.join(MEASURES)}"  # noqa: S608 - the names stand above
    " FROM component_scores",
    "leads": "SELECT run_id, hotkey, rule_set, kind, lead_hours, score, reason FROM lead_scores",
    "scores": "SELECT run_id, hotkey, rule_set, day1, leads, overall, counted FROM score_table",
    "vectors": "SELECT epoch, intended_at, vector, weights, run_ids, completed_ids FROM weight_journal ORDER BY epoch",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """A trace, and the faults of the subnet itself."""

    trace: Mapping[str, Any]
    problems: Sequence[str]
    vectors: int
    """All journalled vectors; the machine's speed decides the moments of most."""


async def read_trace(
    connection: Connection, specs: Mapping[str, MinerSpec], miners: Path, moments: Sequence[datetime]
) -> Reading:
    """Return all traced data except the settings of the subnet.

    Parameters
    ----------
    specs
        Hotkey -> miner.
    miners
        Folder in which they record their requests.
    moments
        Simulated times at which the clock stood still until weights were set.
    """
    rows = {name: [dict(row) for row in await connection.fetch(sql)] for name, sql in _SQL.items()}
    names = {hotkey: spec.name for hotkey, spec in specs.items()}
    vectors, problems = vectors_at(rows["vectors"], [run["run_id"] for run in rows["runs"]], moments, names)
    problems += await _not_replayed(connection, [run["run_id"] for run in rows["runs"]])
    trace = {
        "runs": {run["run_id"]: _values(run, {"run_id"}) for run in rows["runs"]},
        "forecasts": _nested(rows["forecasts"], names, ()),
        "components": _nested(rows["components"], names, ("rule_set", "kind", "lead_hours", "field")),
        "leads": _nested(rows["leads"], names, ("rule_set", "kind", "lead_hours")),
        "scores": _nested(rows["scores"], names, ("rule_set",)),
        "vectors": vectors,
        "questions": _questions(specs, miners, {run["run_id"]: run["init_time"] for run in rows["runs"]}),
    }
    return Reading(trace=trace, problems=problems, vectors=len(rows["vectors"]))


def _nested(
    rows: Sequence[Mapping[str, Any]], names: Mapping[str, str], keys: Sequence[str]
) -> dict[str, Any]:
    """Return run -> miner -> one level per key in `keys` -> values."""
    tree: dict[str, Any] = {}
    for row in rows:
        branch = tree
        path = [row["run_id"], names[row["hotkey"]], *(str(row[key]) for key in keys)]
        for step in path[:-1]:
            branch = branch.setdefault(step, {})
        branch[path[-1]] = _values(row, {"run_id", "hotkey", *keys})
    return tree


def _values(row: Mapping[str, Any], keys: Collection[str]) -> dict[str, Any]:
    """Return the columns that are not in `keys` and not NULL."""
    return {
        name: value.isoformat() if isinstance(value, datetime) else value
        for name, value in row.items()
        if name not in keys and value is not None
    }


def vectors_at(
    rows: Sequence[Mapping[str, Any]],
    run_ids: Sequence[str],
    moments: Sequence[datetime],
    names: Mapping[str, str],
) -> tuple[dict[str, Any], list[str]]:
    """Return the vectors of each moment and of the end, and a problem for each missing or ambiguous one.

    Other vectors were computed while scores arrived, from those that existed then.
    """
    wanted = {moment.isoformat(): [row for row in rows if row["intended_at"] == moment] for moment in moments}
    wanted["end"] = [row for row in rows if set(row["completed_ids"]) == set(run_ids)]
    vectors, problems = {}, []
    for moment, found in wanted.items():
        shown = [_vector(row, names) for row in found]
        if not shown:
            problems.append(f"no weights were set at {moment}")
        elif any(other != shown[0] for other in shown):
            problems.append(f"weights set at {moment} from the same scores are not the same")
        else:
            vectors[moment] = shown[0]
    return vectors, problems


def _vector(row: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    return {
        "run_ids": " ".join(row["run_ids"]),
        "completed_ids": " ".join(row["completed_ids"]),
        "vector": {f"uid {uid}": weight for uid, weight in row["vector"]},
        "weights": {names.get(hotkey, hotkey): weight for hotkey, weight in row["weights"].items()},
    }


async def _not_replayed(connection: Connection, run_ids: Sequence[str]) -> list[str]:
    """Recompute every journalled vector from its inputs; return a line for each difference."""
    problems = []
    for row in await history.vectors_of(connection, run_ids):
        inputs = row.inputs or {}
        parts = await history.weight_inputs(connection, parts_named(inputs))
        try:
            vector, _ = vector_of(from_parts(inputs, parts).weights() or {})
        except InputsDamaged as error:
            problems.append(f"the vector of epoch {row.epoch} cannot be computed anew: {error}")
            continue
        if vector != row.vector:
            problems.append(f"the vector of epoch {row.epoch} does not follow from its inputs")
    return problems


def _questions(
    specs: Mapping[str, MinerSpec], miners: Path, init_times: Mapping[str, datetime]
) -> dict[str, Any]:
    """Return run -> miner -> simulated time -> requests; see `questions_of`."""
    found: dict[str, dict[str, Any]] = defaultdict(dict)
    for hotkey, spec in specs.items():
        path = questions_path(miners, spec)
        record = path.read_text().splitlines() if path.exists() else []
        for run, asked in questions_of(record, Subjects(hotkey, init_times)).items():
            found[run][spec.name] = asked
    return dict(found)
