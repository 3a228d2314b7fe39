"""The command runs show: one run with what became of each miner's forecast."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from gaia.cli import tables
from gaia.cli.select import newest_named
from gaia.tasks.defined_tasks.weather.lead_kinds import LeadKind
from gaia.validator.db import history
from gaia.validator.db.history import RunSummary, StoredRun
from gaia.validator.db.states import ForecastState
from gaia.validator.utils.identities import Hotkey

if TYPE_CHECKING:
    from gaia.cli.source import Source
    from gaia.validator.db.connection import Connection


@dataclass(frozen=True, slots=True, kw_only=True)
class ForecastShown:
    """What became of one miner's forecast, under the run's rules."""

    uid: int
    hotkey: Hotkey
    state: ForecastState
    reason: str | None
    committed_at: datetime | None
    day1: float | None
    leads: int
    """Number of final leads that are scored."""
    overall: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunShown:
    """One run."""

    run: RunSummary
    leads_wanted: Sequence[int]
    """Final leads that the run asks for, in hours; empty until a first outcome is stored."""
    forecasts: Sequence[ForecastShown]
    """The best first."""


def show(source: Source, arguments: argparse.Namespace) -> int:
    """Print one run with the outcome of each forecast, the best first."""

    async def read(connection: Connection) -> StoredRun:
        chosen = newest_named(arguments.run, await history.run_summaries(connection))
        (run,) = await history.stored_runs(connection, [chosen.run_id])
        return run

    found = shown_run(source.read(read))
    if arguments.json:
        tables.print_json(found)
    else:
        _print(found)
    return 0


def shown_run(stored: StoredRun) -> RunShown:
    """Return a stored run as it is shown; scores are those of its own rule set."""
    rules = stored.summary.rule_set
    scores = {row.hotkey: row for row in stored.scores if row.rule_set == rules}
    leads = Counter(
        row.hotkey
        for row in stored.leads
        if (row.rule_set, row.kind, row.reason) == (rules, LeadKind.FINAL, None)
    )
    contract = stored.summary.contract
    forecasts = [
        ForecastShown(
            uid=row.uid,
            hotkey=row.hotkey,
            state=row.state,
            reason=row.reason,
            committed_at=row.committed_at,
            day1=scores[row.hotkey].day1 if row.hotkey in scores else None,
            leads=leads[row.hotkey],
            overall=scores[row.hotkey].overall if row.hotkey in scores else None,
        )
        for row in stored.forecasts
    ]
    return RunShown(
        run=stored.summary,
        leads_wanted=() if contract is None else contract.final_lead_hours,
        forecasts=sorted(forecasts, key=lambda row: (row.overall is None, -(row.overall or 0.0), row.uid)),
    )


def _print(found: RunShown) -> None:
    run = found.run
    wanted = f" of {len(found.leads_wanted)}" if found.leads_wanted else ""
    tables.print_lines(
        f"run        {run.run_id}, {run.state}" + ("; its scores are not final" if run.is_open else ""),
        f"opened     {tables.shown(run.opened_at)}, completed {tables.shown(run.completed_at)}",
        f"rules      {run.rule_set}",
        *([f"imported   from {run.imported_from}; it cannot be computed anew"] if run.imported_from else []),
        f"forecasts  {run.forecasts}: {run.scored} scored, {run.rejected} rejected, {run.excused} excused",
    )
    tables.print_table(
        (">uid", "hotkey?", "state", "committed??", ">day 1", ">leads", ">overall", "~reason"),
        [
            (
                *(row.uid, tables.short(row.hotkey), row.state, row.committed_at, row.day1),
                *(f"{row.leads}{wanted}", row.overall, row.reason or ""),
            )
            for row in found.forecasts
        ],
    )
