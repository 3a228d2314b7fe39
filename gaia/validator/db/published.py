"""Reads the newest runs, their outcomes and the newest weights, for pages that operators and miners read."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final, TypeVar

import msgspec

from gaia.validator.db.history import RunSummary, run_summaries
from gaia.validator.db.rows import ForecastRow, ScoreRow
from gaia.validator.db.statements import SQL
from gaia.validator.db.states import VectorState
from gaia.validator.utils.identities import Hotkey, RunId

if TYPE_CHECKING:
    from gaia.validator.db.connection import Connection

R = TypeVar("R")
OfRun = TypeVar("OfRun", "ForecastRow", "LeadScore", "ScoreRow")

MOST_RUNS: Final = 30
"""Newest runs that are read unless a number is given; a month."""
_MOST_VECTORS: Final = 30
_PORTION: Final = 500


# There are tens of thousands of these rows. The garbage collector does not visit them, because a visit of all would
# hold up the event loop of the process that serves pages. Nor does it visit a tuple of them, as it would a list.


class LeadScore(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Score of one lead of one forecast."""

    run_id: RunId
    hotkey: Hotkey
    rule_set: str
    kind: str
    lead_hours: int
    score: float
    reason: str | None


class FieldRow(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Main measures of one forecast in one field at one lead; None: undefined or not stored."""

    hotkey: Hotkey
    kind: str
    lead_hours: int
    field: str
    rmse: float
    bias: float
    acc: float | None
    skill_climatology: float | None
    skill_gfs: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightsRow:
    """One journalled vector with the weight of each hotkey."""

    epoch: int
    rule_set: str
    state: VectorState
    intended_at: datetime
    settled_at: datetime | None
    block: int | None
    extrinsic: str | None
    weights: Mapping[Hotkey, float]
    """Hotkey -> weight before quantisation."""
    run_ids: Sequence[RunId]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRows:
    """Rows of one run. A later reading gives the same object for a completed run, whose rows do not change."""

    forecasts: Sequence[ForecastRow] = ()
    leads: Sequence[LeadScore] = ()
    scores: Sequence[ScoreRow] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """Stored data behind the pages, from one snapshot."""

    runs: Sequence[RunSummary]
    """The newest runs, oldest first."""
    earlier_runs: int
    """Number of older runs, which are left out."""
    rows: Mapping[RunId, RunRows]
    """Those of every run of `runs`."""
    weights: Sequence[WeightsRow]
    """The newest vectors, newest first."""
    fields_run: RunId | None
    """Run of `fields`: the newest completed run with scores, else the newest with scores."""
    fields: Sequence[FieldRow]


NOTHING: Final = Published(runs=(), earlier_runs=0, rows={}, weights=(), fields_run=None, fields=())
"""What is stored before the first reading."""


async def read_published(
    connection: Connection, most_runs: int = MOST_RUNS, known: Published = NOTHING
) -> Published:
    """Return the data of the newest `most_runs` runs; field by field only for one of them.

    Parameters
    ----------
    known
        An earlier reading. It gives the rows of completed runs, which the validator never changes; a month
        of 256 miners has a quarter of a million of them.
    """
    summaries = await run_summaries(connection)
    runs = summaries[-most_runs:]
    completed = {run.run_id for run in runs if not run.is_open}
    kept = completed & {run.run_id for run in known.runs if not run.is_open}
    wanted = [run.run_id for run in runs if run.run_id not in kept]
    read = await _rows_of(connection, wanted)
    return Published(
        runs=runs,
        earlier_runs=len(summaries) - len(runs),
        rows={run.run_id: known.rows[run.run_id] if run.run_id in kept else read[run.run_id] for run in runs},
        weights=await _rows(connection, WeightsRow, SQL["recent_weights"], _MOST_VECTORS),
        fields_run=None if (detailed := _detailed(runs)) is None else detailed.run_id,
        fields=await _fields(connection, detailed, known if known.fields_run in kept else NOTHING),
    )


async def _rows_of(connection: Connection, run_ids: Sequence[RunId]) -> dict[RunId, RunRows]:
    """Return the rows of each of these runs."""
    forecasts = _by_run(await _rows(connection, ForecastRow, SQL["forecasts_of_runs"], run_ids))
    leads = _by_run(await _rows(connection, LeadScore, SQL["leads_of_runs"], run_ids))
    scores = _by_run(await _rows(connection, ScoreRow, SQL["scores_of_runs"], run_ids))
    return {
        run_id: RunRows(
            forecasts=tuple(forecasts[run_id]), leads=tuple(leads[run_id]), scores=tuple(scores[run_id])
        )
        for run_id in run_ids
    }


def _by_run(rows: Sequence[OfRun]) -> defaultdict[RunId, list[OfRun]]:
    found: defaultdict[RunId, list[OfRun]] = defaultdict(list)
    for row in rows:
        found[row.run_id].append(row)
    return found


async def _fields(connection: Connection, run: RunSummary | None, known: Published) -> Sequence[FieldRow]:
    """Return the measures of one run field by field: those of `known`, if they are of that run."""
    if run is None:
        return ()
    if run.run_id == known.fields_run:
        return known.fields
    return await _rows(connection, FieldRow, SQL["fields_of_run"], run.run_id, run.rule_set)


def _detailed(runs: Sequence[RunSummary]) -> RunSummary | None:
    """Return the run whose fields are shown; None if none has a score."""
    scored = [run for run in runs if run.has_scores]
    completed = [run for run in scored if not run.is_open]
    return next(reversed(completed or scored), None)


async def _rows(connection: Connection, kind: type[R], statement: str, *values: object) -> tuple[R, ...]:
    """Return the rows of a statement, fetched in portions, because one large answer would hold up other threads."""
    rows = connection.cursor(statement, *values, prefetch=_PORTION)
    return tuple([msgspec.convert(dict(row), kind) async for row in rows])
