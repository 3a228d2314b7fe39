"""Stores what is taken over of the original, and compares what the database then holds with it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from gaia.cli.database.original.plan import RULE_SET, ImportedRun
from gaia.validator.db import queries
from gaia.validator.db.statements import SQL
from gaia.validator.db.states import ForecastState
from gaia.validator.utils.errors import GaiaError

if TYPE_CHECKING:
    from gaia.validator.db.connection import Connection

_LIVING: Final = (
    ForecastState.PLANNED,
    ForecastState.REQUESTED,
    ForecastState.FROZEN,
    ForecastState.SCORED_DAY1,
)


class NotImported(GaiaError):
    """The database does not hold what was written to it; everything of the import is undone."""


async def store(connection: Connection, runs: Sequence[ImportedRun]) -> None:
    """Store the runs inside a transaction, and compare each number that the database then holds.

    Raises
    ------
    NotImported
        If a run of the same time has appeared meanwhile, or a number differs.
    """
    for run in runs:
        await _store_run(connection, run)
    await _require_same(connection, runs)


async def _store_run(connection: Connection, run: ImportedRun) -> None:
    forecasts = run.forecasts
    opened = await connection.fetchval(
        SQL["import_run"], run.run_id, run.init_time, RULE_SET, run.opened_at, run.imported_from
    )
    if opened is None:
        raise NotImported(f"a validator has opened run {run.run_id} meanwhile; stop it, and try again")
    await connection.execute(
        SQL["import_forecasts"],
        run.run_id,
        [each.hotkey for each in forecasts],
        [each.uid for each in forecasts],
        [each.registered_at for each in forecasts],
        run.opened_at,
        [each.scored_at for each in forecasts],
    )
    leads = [(each, lead) for each in forecasts for lead in each.leads]
    await connection.execute(
        SQL["import_leads"],
        run.run_id,
        RULE_SET,
        [each.hotkey for each, _ in leads],
        [lead.kind.value for _, lead in leads],
        [lead.lead_hours for _, lead in leads],
        [lead.score for _, lead in leads],
        [lead.reason for _, lead in leads],
        [each.scored_at for each, _ in leads],
    )
    await connection.execute(
        SQL["import_scores"],
        run.run_id,
        RULE_SET,
        [each.hotkey for each in forecasts],
        [each.day1 for each in forecasts],
        [json.dumps(each.by_lead) for each in forecasts],
        [each.overall for each in forecasts],
        [each.scored_at for each in forecasts],
    )
    if not await queries.complete_run(connection, run.run_id, _LIVING, run.scored_at):
        raise NotImported(f"run {run.run_id} cannot be completed")


async def _require_same(connection: Connection, runs: Sequence[ImportedRun]) -> None:
    run_ids = [run.run_id for run in runs]
    scores = {
        (row["run_id"], row["hotkey"]): (row["day1"], row["leads"], row["overall"], row["counted"])
        for row in await connection.fetch(SQL["scores_of_runs"], run_ids)
    }
    leads = {
        (row["run_id"], row["hotkey"], row["kind"], row["lead_hours"]): (row["score"], row["reason"])
        for row in await connection.fetch(SQL["leads_of_runs"], run_ids)
    }
    wanted = [(run.run_id, forecast) for run in runs for forecast in run.forecasts]
    differing = scores != {
        (run_id, each.hotkey): (each.day1, each.by_lead, each.overall, True) for run_id, each in wanted
    } or leads != {
        (run_id, each.hotkey, lead.kind.value, lead.lead_hours): (lead.score, lead.reason)
        for run_id, each in wanted
        for lead in each.leads
    }
    if differing:
        raise NotImported("the database holds other numbers than the original; nothing is taken over")
