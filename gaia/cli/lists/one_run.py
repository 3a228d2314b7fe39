"""The command runs show: one run, what it waits for, and where each miner's forecast stands."""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from gaia.cli import tables
from gaia.cli.lists import awaiting, run_tables
from gaia.cli.lists.awaiting import LeadShown
from gaia.cli.select import miner_named, newest_named
from gaia.tasks.defined_tasks.weather.forecasts.score_book import contract_of
from gaia.tasks.defined_tasks.weather.lead_kinds import LeadKind
from gaia.tasks.defined_tasks.weather.rules import RULE_SETS
from gaia.validator.db import history, progress
from gaia.validator.db.history import RunSummary
from gaia.validator.db.states import ForecastState
from gaia.validator.utils.identities import Hotkey

if TYPE_CHECKING:
    from gaia.cli.source import Source
    from gaia.tasks.defined_tasks.weather.forecasts.outcomes import LeadKey
    from gaia.validator.db.connection import Connection
    from gaia.validator.db.progress import ForecastProgress, LeadProgress
    from gaia.validator.utils.settings.handed import WeatherSettings

ORDER: Final = tuple(ForecastState)
"""Living forecasts first, those with the most work left at the top."""
_LEAST_MEASURES: Final = "gaia-2.9"
"""Measures that need the fewest reference sets, for rules that this release does not know."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ForecastShown:
    """Where one miner's forecast stands, under the run's rules."""

    uid: int
    hotkey: Hotkey
    state: ForecastState
    reason: str | None
    committed_at: datetime | None
    day1: float | None
    leads: int
    """Number of final leads that are scored."""
    overall: float | None
    since: datetime
    """When it came into its state."""
    attempts: int
    """Attempts at the next step that are spent."""
    next_step: str
    """"ask", "freeze" or "score"; "": it has ended."""
    next_at: datetime | None
    """When the next step is due; in the past: as soon as the validator gets to it. None: it has ended."""
    window_ends_at: datetime | None
    """End of the freeze window; None once the manifest is frozen, or the forecast has ended."""
    next_kind: str | None
    """Kind of the lead that is scored next."""
    next_lead_hours: int | None
    """The lead that is scored next."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunShown:
    """One run."""

    run: RunSummary
    leads_wanted: Sequence[int]
    """Final leads that the run asks for, in hours; empty until a first outcome is stored."""
    forecasts: Sequence[ForecastShown]
    """By state in the order of its life, then the best first."""
    leads: Sequence[LeadShown]
    """In the order in which they fall due; by the settings, until the run's contract is stored."""
    knows_rule_set: bool
    """Whether this release has the run's rules."""


def show(source: Source, arguments: argparse.Namespace) -> int:
    """Print one run, what it waits for, and where each forecast stands."""

    async def read(connection: Connection) -> RunShown:
        chosen = newest_named(arguments.run, await history.run_summaries(connection))
        return await read_run(connection, chosen, source.settings.weather)

    found = source.read(read)
    chosen = found.forecasts
    if arguments.miner is not None:
        chosen = [miner_named(arguments.miner, chosen)]
    wanted = arguments.in_state or ORDER
    shown = replace(found, forecasts=[row for row in chosen if row.state in wanted])
    if arguments.json:
        tables.print_json(shown)
    else:
        run_tables.print_run(shown, asked=len(found.forecasts))
    return 0


async def read_run(connection: Connection, summary: RunSummary, settings: WeatherSettings) -> RunShown:
    """Return one run as the database holds it now, under its own rule set.

    Only columns of bounded size are read: no manifest, no evidence and no measure of a field.
    """
    contract = summary.contract or contract_of(settings.contract)
    rules = RULE_SETS.get(summary.rule_set)
    needs = awaiting.needed_sets(summary.init_time, contract, rules.measures if rules else _LEAST_MEASURES)
    rows = await progress.leads_of(connection, summary.run_id, summary.rule_set)
    known = await progress.references_of(connection, awaiting.names_of(needs))
    leads = awaiting.leads_shown(needs, rows, known, settings.sources)
    window = timedelta(hours=settings.miners.freeze_window_hours)
    done = _by_miner(rows)
    forecasts = [
        _forecast_shown(forecast, done.get(forecast.hotkey, {}), leads, window)
        for forecast in await progress.forecasts_of(connection, summary.run_id, summary.rule_set)
    ]
    return RunShown(
        run=summary,
        leads_wanted=() if summary.contract is None else summary.contract.final_lead_hours,
        forecasts=sorted(forecasts, key=_place_of),
        leads=leads,
        knows_rule_set=rules is not None,
    )


def _by_miner(rows: Sequence[LeadProgress]) -> Mapping[Hotkey, Mapping[LeadKey, bool]]:
    """Return hotkey -> lead that has a row -> whether it was measured."""
    found: dict[Hotkey, dict[LeadKey, bool]] = defaultdict(dict)
    for row in rows:
        found[row.hotkey][row.kind, row.lead_hours] = row.is_measured
    return found


def _forecast_shown(
    forecast: ForecastProgress, done: Mapping[LeadKey, bool], leads: Sequence[LeadShown], window: timedelta
) -> ForecastShown:
    due = awaiting.next_of(forecast, done.keys(), leads, window)
    kind, hours = due.lead or (None, None)
    return ForecastShown(
        uid=forecast.uid,
        hotkey=forecast.hotkey,
        state=forecast.state,
        reason=forecast.reason,
        committed_at=forecast.committed_at,
        day1=forecast.day1,
        leads=sum(is_measured for (kind_done, _), is_measured in done.items() if kind_done == LeadKind.FINAL),
        overall=forecast.overall,
        since=forecast.changed_at,
        attempts=forecast.attempts,
        next_step=due.step,
        next_at=due.at,
        window_ends_at=due.window_ends_at,
        next_kind=kind,
        next_lead_hours=hours,
    )


def _place_of(row: ForecastShown) -> tuple[int, bool, float, int]:
    return ORDER.index(row.state), row.overall is None, -(row.overall or 0.0), row.uid
