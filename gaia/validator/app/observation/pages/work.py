"""Reads from the database what a validator does, and what happens next."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from gaia.tasks.defined_tasks.weather.forecasts.lifecycle import LIVING
from gaia.tasks.defined_tasks.weather.schedule import Cadence, next_opening
from gaia.validator.core.status.facts import Due, Work
from gaia.validator.db import history, queries
from gaia.validator.db.rows import VectorSummary

if TYPE_CHECKING:
    from gaia.validator.db.connection import Connection
    from gaia.validator.db.history import RunSummary
    from gaia.validator.db.rows import AwaitedRow
    from gaia.validator.utils.settings.contract import ContractSettings
    from gaia.validator.utils.settings.sources import SourcesSettings


async def read_work(
    connection: Connection,
    sources: SourcesSettings,
    contract: ContractSettings,
    cadence: Cadence,
    now: datetime,
) -> Work:
    """Return runs, scores and weights, and what happens after `now`."""
    runs = await history.run_summaries(connection)
    open_runs = [run for run in runs if run.is_open]
    newest = await history.newest_vector(connection)
    archives = await history.awaited(connection)
    attention = await queries.next_attention(connection, LIVING, now)
    recorded = {run.init_time for run in runs}
    moments = [
        (next_opening(now, recorded, cadence), "the next run opens"),
        (attention, "the next step of a forecast"),
        *_truths(sources, contract.final_lead_hours, open_runs, archives, now),
    ]
    return Work(
        runs=len(runs),
        open_runs=[run.run_id for run in open_runs],
        oldest_open_at=open_runs[0].opened_at if open_runs else None,
        newest_run=runs[-1] if runs else None,
        newest_frozen=next((run for run in reversed(runs) if run.is_frozen), None),
        has_scores=any(run.has_scores for run in runs),
        forecasts=await queries.count_forecasts(connection),
        references=await history.references(connection),
        weights=VectorSummary.of(newest) if newest else None,
        weights_set=await history.vector_on_chain(connection),
        weights_in_doubt=await history.vectors_in_doubt(connection),
        incidents=await history.incidents(connection),
        archives=archives,
        due=sorted(
            (Due(at=at, what=what) for at, what in moments if at is not None and at > now),
            key=lambda due: due.at,
        ),
        lease=await history.lease(connection),
    )


def _truths(
    sources: SourcesSettings,
    lead_hours: list[int],
    open_runs: list[RunSummary],
    archives: list[AwaitedRow],
    now: datetime,
) -> list[tuple[datetime | None, str]]:
    """Return when archives are asked again, and when ERA5 for the next lead of an open run is published."""
    delay = timedelta(days=sources.era5_delay_days, hours=sources.era5_buffer_hours)
    published = [run.init_time + timedelta(hours=lead) + delay for run in open_runs for lead in lead_hours]
    coming = min((moment for moment in published if moment > now), default=None)
    return [
        *((row.retry_at, f"{row.source} is asked again") for row in archives),
        (coming, "ERA5 of the next lead is due"),
    ]
