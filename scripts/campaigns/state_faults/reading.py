"""Reads the database of a finished subnet, and compares it with another."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import asyncpg

Key = tuple[str, ...]
Row = Mapping[str, Any]

_KEYS = {
    "component_scores": ("run_id", "hotkey", "rule_set", "kind", "lead_hours", "field"),
    "lead_scores": ("run_id", "hotkey", "rule_set", "kind", "lead_hours"),
    "score_table": ("run_id", "hotkey", "rule_set"),
    "forecasts": ("run_id", "hotkey"),
}
_FORECAST = (
    "run_id",
    "hotkey",
    "uid",
    "state",
    "reason",
    "manifest_sha256",
    "committed_at",
    "committed_round",
)
# Times and costs of rows depend on the machine.
_MEASURED = {"scored_at", "updated_at", "cpu_s"}
_FREEZING = {"committed_at", "committed_round"}
_LOST = ("rejected", "excused")
_JOURNAL = "SELECT epoch, state, block, vector, completed_ids FROM weight_journal ORDER BY epoch"
_DOUBTS_S = 60.0
_LOOK_EVERY_S = 0.2
_MOST_EXAMPLES = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """All values that must be equal."""

    tables: Mapping[str, Mapping[Key, Row]]
    vector: str
    """The newest vector on chain, after all runs are completed."""
    doubts: tuple[str, ...]
    """Vectors of past epochs that are still in doubt."""
    vectors: int

    @property
    def rows(self) -> int:
        return sum(map(len, self.tables.values()))

    def losses(self) -> list[str]:
        """Yield a line for each forecast that is not scored, and each forfeited lead."""
        forecasts, leads = self.tables["forecasts"], self.tables["lead_scores"]
        lost = [
            f"{row['state']}: {' '.join(key)}" for key, row in forecasts.items() if row["state"] != "scored"
        ]
        return lost + [
            f"forfeited: {' '.join(key)}" for key, row in leads.items() if row["reason"] is not None
        ]


async def read(dsn: str, patience_s: float) -> Reading:
    """Return the content of a finished subnet's database; wait at most `patience_s` for open doubts.

    Raises
    ------
    OSError, asyncpg.PostgresError
        If the database is away.
    """
    connection = await asyncpg.connect(dsn)
    try:
        ends_at = time.monotonic() + min(patience_s, _DOUBTS_S)
        while True:
            journal = await connection.fetch(_JOURNAL)
            # The outcome of the newest vector is being resolved.
            doubts = [row for row in journal[:-1] if row["state"] not in ("set", "lost")]
            if not doubts or time.monotonic() > ends_at:
                break
            await asyncio.sleep(_LOOK_EVERY_S)
        tables = {table: await _read_table(connection, table) for table in _KEYS}
    finally:
        connection.terminate()
    standing = [row for row in journal if row["state"] == "set"]
    return Reading(
        tables=tables,
        vector=f"{standing[-1]['vector']} of {standing[-1]['completed_ids']}" if standing else "none",
        doubts=tuple(f"the vector of epoch {row['epoch']} is {row['state']}" for row in doubts),
        vectors=len(standing),
    )


async def _read_table(
    connection: asyncpg.Connection[asyncpg.Record], table: str
) -> dict[Key, dict[str, Any]]:
    columns = ", ".join(_FORECAST) if table == "forecasts" else "*"
    rows = await connection.fetch(f"SELECT {columns} FROM {table}")  # noqa: S608 - names of our own
    return {
        tuple(str(row[name]) for name in _KEYS[table]): {
            name: value for name, value in row.items() if name not in _MEASURED
        }
        for row in rows
    }


def judge(calm: Reading, faulty: Reading, *, late: bool) -> tuple[dict[str, int], list[str]]:
    """Compare a subnet with faults to one without; return figures, and a line for each violation.

    Parameters
    ----------
    late
        Whether manifests may be frozen later than in the subnet without faults.
    """
    allowed = _FREEZING if late else set()
    differing = list(_differing(calm, faulty, allowed))
    lost = {state: _with_state(faulty, state) - _with_state(calm, state) for state in _LOST}
    lost["forfeited"] = _forfeited(faulty) - _forfeited(calm)
    violations = [f"{state}: {' '.join(key)}" for state, keys in lost.items() for key in sorted(keys)]
    violations += differing[:_MOST_EXAMPLES]
    if len(differing) > _MOST_EXAMPLES:
        violations.append(f"{len(differing) - _MOST_EXAMPLES} more rows differ")
    if calm.vector != faulty.vector:
        violations.append(f"the last weights are {faulty.vector}, not {calm.vector}")
    violations += faulty.doubts
    figures = {"rows": calm.rows, "differing": len(differing), "vectors": faulty.vectors}
    figures |= {"in_doubt": len(faulty.doubts), **{state: len(keys) for state, keys in lost.items()}}
    return figures, violations


def _differing(calm: Reading, faulty: Reading, allowed: set[str]) -> Iterator[str]:
    """Yield a line for each row that differs in any bit."""
    for table, rows in calm.tables.items():
        others = faulty.tables[table]
        for key in sorted(rows.keys() | others.keys()):
            # The shortest text of a double is unique to it, and NaN equals NaN as text.
            ours, theirs = (_shown(each.get(key), allowed) for each in (rows, others))
            if ours != theirs:
                parts = [part for part in theirs if part not in ours] or ["missing"]
                yield f"{table} {' '.join(key)}: {', '.join(parts)}"


def _shown(row: Row | None, allowed: set[str]) -> list[str]:
    return [f"{name}={value!r}" for name, value in (row or {}).items() if name not in allowed]


def _with_state(reading: Reading, state: str) -> set[Key]:
    return {key for key, row in reading.tables["forecasts"].items() if row["state"] == state}


def _forfeited(reading: Reading) -> set[Key]:
    return {key for key, row in reading.tables["lead_scores"].items() if row["reason"] is not None}
