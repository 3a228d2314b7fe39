"""Stored rows of a small subnet, and the pages made from them, with values that a test changes where it cares."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from gaia.validator.core.site.build import site_of
from gaia.validator.core.site.model import Site
from gaia.validator.db.history import RunSummary
from gaia.validator.db.inputs import Contract
from gaia.validator.db.published import FieldRow, LeadScore, Published, RunRows, WeightsRow
from gaia.validator.db.rows import ForecastRow, ScoreRow
from gaia.validator.db.states import ForecastState, RunState, VectorState
from gaia.validator.utils.identities import Hotkey, RunId
from tests.support.status_facts import a_run, some_facts
from tests.support.stored_rows import a_forecast_row

FIRST = datetime(2026, 3, 1, tzinfo=UTC)
MINERS = [Hotkey("5" + letter * 47) for letter in "ABCDEFG"]
WINDOW = timedelta(days=15)
RULES = "gaia-2.9"


def day_run(day: int, **changes: Any) -> RunSummary:
    """Return the completed run of a day."""
    init_time = FIRST + timedelta(days=day)
    values: dict[str, Any] = {
        "run_id": RunId(f"{init_time:%Y-%m-%dT%HZ}"),
        "init_time": init_time,
        "opened_at": init_time + timedelta(hours=18),
        "state": RunState.COMPLETED,
        "completed_at": init_time + timedelta(days=16),
        "contract": Contract(
            day1_lead_hours=[6, 12],
            final_lead_hours=[24, 48],
            day1_fields=["2t"],
            final_fields=["2t", "z500"],
        ),
        "rule_set": RULES,
    }
    return a_run(**values | changes)


def open_run(day: int, **changes: Any) -> RunSummary:
    """Return the open run of a day."""
    return day_run(day, **{"state": RunState.OPEN, "completed_at": None} | changes)


def forecast(run: RunSummary, miner: int, **changes: Any) -> ForecastRow:
    """Return one miner's forecast in a run."""
    state = ForecastState.SCORED_DAY1 if run.is_open else ForecastState.SCORED
    values = {"run_id": run.run_id, "hotkey": MINERS[miner], "uid": miner + 1, "state": state}
    return a_forecast_row(**values | changes)


def score(of: ForecastRow, overall: float, **changes: Any) -> ScoreRow:
    """Return the scores of a forecast, as stored."""
    values: dict[str, Any] = {
        "run_id": of.run_id,
        "hotkey": of.hotkey,
        "rule_set": RULES,
        "day1": 0.4,
        "leads": {"24": overall},
        "overall": overall,
        "counted": True,
    }
    return ScoreRow(**values | changes)


def lead(of: ForecastRow, hours: int, value: float, **changes: Any) -> LeadScore:
    """Return the score of one ERA5 lead."""
    values: dict[str, Any] = {
        "run_id": of.run_id,
        "hotkey": of.hotkey,
        "rule_set": RULES,
        "kind": "final",
        "lead_hours": hours,
        "score": value,
        "reason": None,
    }
    return LeadScore(**values | changes)


def vector(epoch: int, weights: Mapping[Hotkey, float], **changes: Any) -> WeightsRow:
    """Return a vector on chain."""
    values: dict[str, Any] = {
        "epoch": epoch,
        "rule_set": RULES,
        "state": VectorState.SET,
        "intended_at": FIRST + timedelta(days=epoch),
        "settled_at": FIRST + timedelta(days=epoch, minutes=1),
        "block": 100 * epoch,
        "extrinsic": f"{100 * epoch}-2",
        "weights": weights,
        "run_ids": [],
    }
    return WeightsRow(**values | changes)


def published(
    runs: Sequence[RunSummary],
    forecasts: Sequence[ForecastRow] = (),
    scores: Sequence[ScoreRow] = (),
    leads: Sequence[LeadScore] = (),
    **changes: Any,
) -> Published:
    """Return stored data."""
    rows = {
        run.run_id: RunRows(
            forecasts=[row for row in forecasts if row.run_id == run.run_id],
            leads=[row for row in leads if row.run_id == run.run_id],
            scores=[row for row in scores if row.run_id == run.run_id],
        )
        for run in runs
    }
    values: dict[str, Any] = {
        "runs": runs,
        "earlier_runs": 0,
        "rows": rows,
        "weights": [],
        "fields_run": None,
        "fields": [],
    }
    return Published(**values | changes)


def a_week() -> Published:
    """Return a week of seven miners: five completed runs and two open ones, whose scores so far are low."""
    runs = [*(day_run(day) for day in range(5)), open_run(5), open_run(6)]
    forecasts, scores, leads = [], [], []
    for run in runs:
        for miner in range(len(MINERS)):
            one = forecast(run, miner)
            forecasts.append(one)
            value = 0.9 - 0.05 * miner + 0.01 * (run.init_time.day % 3)
            scores.append(score(one, value / 3 if run.is_open else value))
            hours = [24] if run.is_open else [24, 48]
            leads += [lead(one, each, value) for each in hours]
    rejected = {"state": ForecastState.REJECTED, "reason": "manifest signature is not the miner's"}
    forecasts[6] = forecast(runs[0], 6, **rejected)
    scores[6] = score(forecasts[6], 0.0, day1=None)
    fields = [
        FieldRow(
            hotkey=MINERS[0],
            kind="final",
            lead_hours=24,
            field="2t",
            rmse=1.25,
            bias=-0.5,
            acc=0.97,
            skill_climatology=0.8,
            skill_gfs=None,
        )
    ]
    weights = [vector(2, {MINERS[0]: 0.7, MINERS[1]: 0.3}), vector(1, {MINERS[0]: 1.0})]
    return published(
        runs, forecasts, scores, leads, weights=weights, fields_run=runs[4].run_id, fields=fields
    )


def completed_only(stored: Published) -> Published:
    """Return the stored data without those of open runs."""
    runs = [run for run in stored.runs if not run.is_open]
    return replace(stored, runs=runs, rows={run.run_id: stored.rows[run.run_id] for run in runs})


def a_site(stored: Published | None = None, *, for_operator: bool = False, **facts: Any) -> Site:
    """Return the pages of stored data, of a week if none are given."""
    return site_of(some_facts(**facts), stored or a_week(), WINDOW, for_operator=for_operator)
