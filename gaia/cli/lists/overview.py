"""The commands runs and scores."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from gaia.cli import tables
from gaia.cli.select import NotThere, runs_named
from gaia.validator.db import history
from gaia.validator.db.states import RunState

if TYPE_CHECKING:
    from gaia.cli.source import Source
    from gaia.validator.db.connection import Connection
    from gaia.validator.db.history import RunSummary
    from gaia.validator.db.rows import OverallRow


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
