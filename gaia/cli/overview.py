"""The commands status, runs and scores."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from gaia.cli import tables
from gaia.cli.select import NotThere, runs_named
from gaia.validator.db import history, queries
from gaia.validator.db.history import RunSummary
from gaia.validator.db.rows import (
    AwaitedRow,
    IncidentRow,
    OverallRow,
    ReferenceCounts,
    VectorInDoubt,
    VectorOnChain,
    VectorRow,
)
from gaia.validator.db.states import RunState, VectorState

if TYPE_CHECKING:
    from gaia.cli.source import Source
    from gaia.validator.db.connection import Connection

_MOST_LISTED = 5
_LONGEST_WORDS = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class VectorShown:
    """The parts of a journalled vector that are shown."""

    epoch: int
    state: VectorState
    rule_set: str
    block: int | None
    block_hash: str | None
    extrinsic: str | None
    intended_at: datetime
    error: str | None
    run_ids: Sequence[str]

    @classmethod
    def of(cls, vector: VectorRow) -> VectorShown:
        """Return the parts of `vector` that are shown."""
        return cls(**{name: getattr(vector, name) for name in cls.__slots__})


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """State of a validator; its fields are the members of the object that `--json` prints."""

    validator_runs: bool
    runs: int
    open_runs: list[str]
    newest_run: RunSummary | None
    forecasts_of_open_runs: Mapping[str, int]
    """State -> number of forecasts."""
    references: ReferenceCounts
    weights: VectorShown | None
    """The newest vector that was journalled."""
    weights_set: VectorOnChain | None
    """The newest vector that is on chain."""
    weights_in_doubt: Sequence[VectorInDoubt]
    incidents: Sequence[IncidentRow]
    archives: Sequence[AwaitedRow]


def status(source: Source, arguments: argparse.Namespace) -> int:
    """Print where the newest run stands, what is waited for, and the last weights."""

    async def read(connection: Connection) -> Status:
        runs = await history.run_summaries(connection)
        newest = await history.newest_vector(connection)
        return Status(
            validator_runs=source.is_live,
            runs=len(runs),
            open_runs=[run.run_id for run in runs if run.is_open],
            newest_run=runs[-1] if runs else None,
            forecasts_of_open_runs=await queries.count_forecasts(connection),
            references=await history.references(connection),
            weights=VectorShown.of(newest) if newest else None,
            weights_set=await history.vector_on_chain(connection),
            weights_in_doubt=await history.vectors_in_doubt(connection),
            incidents=await history.incidents(connection),
            archives=await history.awaited(connection),
        )

    found = source.read(read)
    if arguments.json:
        tables.print_json(found)
    else:
        tables.print_lines(*_status_lines(found, source))
    return 0


def runs(source: Source, arguments: argparse.Namespace) -> int:
    """Print one line a run, oldest first."""
    found = source.read(history.run_summaries)
    if arguments.json:
        tables.print_json(found)
        return 0
    tables.print_table(
        (
            "run",
            "state",
            "rule set???",
            "opened??",
            "completed?",
            ">forecasts",
            ">scored",
            ">rejected",
            ">excused",
        ),
        [
            (
                *(run.run_id, run.state, run.rule_set, run.opened_at, run.completed_at),
                *(run.forecasts, run.scored, run.rejected, run.excused),
            )
            for run in found
        ],
    )
    return 0


def scores(source: Source, arguments: argparse.Namespace) -> int:
    """Print the overall scores of some runs, best first."""

    async def read(connection: Connection) -> tuple[list[RunSummary], list[OverallRow]]:
        return await history.run_summaries(connection), await history.overall_scores(connection)

    known, rows = source.read(read)
    wanted = {run.run_id for run in runs_named(arguments.runs or ["last"], known)}
    chosen = [row for row in rows if row.run_id in wanted and arguments.rule_set in (None, row.rule_set)]
    if not chosen:
        raise NotThere("no forecast is scored yet")
    if any(row.run_state is RunState.OPEN for row in chosen):
        tables.print_note("overall scores of open runs cover only the leads scored so far")
    chosen.sort(key=lambda row: (row.init_time, row.rule_set, -row.overall, row.hotkey))
    if arguments.json:
        tables.print_json(chosen)
        return 0
    tables.print_table(
        ("run", "rule set??", ">uid", "hotkey", "state?", ">day 1", ">overall", "counted??"),
        [
            (
                row.run_id + (" (open)" if row.run_state is RunState.OPEN else ""),
                *(row.rule_set, row.uid, tables.short(row.hotkey), row.state),
                *(row.day1, row.overall, row.counted),
            )
            for row in chosen
        ],
    )
    return 0


def _status_lines(found: Status, source: Source) -> list[str]:
    newest = found.newest_run
    standing = ", ".join(f"{count} {state}" for state, count in found.forecasts_of_open_runs.items())
    lines = [
        f"validator   {'runs' if found.validator_runs else 'does not run'} ({source.data_dir})",
        f"runs        {found.runs}, {len(found.open_runs)} open",
        f"forecasts   {standing or 'none in open runs'}",
        f"references  {found.references.ready} ready, {found.references.awaited} awaited",
    ]
    if newest is not None:
        lines.insert(
            2,
            f"newest run  {newest.run_id}, {newest.state}: {newest.scored} of {newest.forecasts} scored,"
            f" {newest.rejected} rejected, {newest.excused} excused",
        )
    return [
        *lines,
        f"weights     {_weights_line(found.weights)}",
        *_weights_notes(found),
        *(f"waits for   {awaited}" for awaited in _awaited(found) or ["nobody"]),
    ]


def _weights_notes(found: Status) -> list[str]:
    """Yield the vector on chain, if that is not the newest one, and the vectors in doubt."""
    newest, standing, doubts = found.weights, found.weights_set, found.weights_in_doubt
    notes = []
    if newest is not None and standing is not None and newest.epoch != standing.epoch:
        notes.append(f"on chain    epoch {standing.epoch}, block {standing.block}")
    if doubts:
        epochs = ", ".join(str(vector.epoch) for vector in doubts[-_MOST_LISTED:])
        notes.append(f"in doubt    {len(doubts)}: epoch {epochs}")
    return notes


def _awaited(found: Status) -> list[str]:
    return [
        *(
            f"{row.party}, since {_moment(row.began_at)}: {_one_line(row.evidence)}"
            for row in found.incidents
        ),
        *(
            f"{row.source}, {tables.counted(row.sets, 'set')}, next try {_moment(row.retry_at)}: {_one_line(row.last_error)}"
            for row in found.archives
        ),
    ]


def _moment(moment: datetime | None) -> str:
    return f"{moment:%Y-%m-%d %H:%MZ}" if moment is not None else "soon"


def _one_line(words: str) -> str:
    """Return a stranger's text without characters that control a terminal."""
    plain = "".join(letter if letter.isprintable() else " " for letter in words)
    return plain if len(plain) <= _LONGEST_WORDS else f"{plain[:_LONGEST_WORDS]}..."


def _weights_line(weights: VectorShown | None) -> str:
    if weights is None:
        return "none yet"
    text = f"epoch {weights.epoch} {weights.state}, {weights.rule_set}, from {tables.counted(len(weights.run_ids), 'run')}"
    if weights.block is not None:
        text += f", block {weights.block}"
    if weights.error:
        text += f", {_one_line(weights.error)}"
    return f"{text}, {_moment(weights.intended_at)}"
