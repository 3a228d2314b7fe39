"""Reports a finished run to programs: the JSON object and the summary for the control script."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from gaia.localnet.population import MinerSpec
from gaia.localnet.view.watch import ForecastProgress, Progress, WeightsProgress
from gaia.validator.utils.settings.contract import ContractSettings
from gaia.validator.utils.settings.weights import WeightsSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """All data about a finished local subnet."""

    contract: ContractSettings
    weights: WeightsSettings
    specs: Mapping[str, MinerSpec]
    """Hotkey -> miner."""
    uids: Mapping[str, int]
    """Hotkey -> uid, of all miners."""
    progress: Progress
    chain_vector: tuple[tuple[int, int], ...]
    """(uid, u16) pairs on chain."""
    metagraph: Mapping[str, Any]
    seconds: Mapping[str, float]
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _MinerRow:
    """One miner's part in one run."""

    hotkey: str
    uid: int
    behaviour: str
    skill: float
    day1: float | None
    leads: dict[str, float]
    overall: float | None
    verdict: str
    reason: str
    weight: float


def report_of(outcome: Outcome) -> dict[str, Any]:
    """Return the object that `--json` prints.

    `miners` describes the newest completed run, `runs` all runs, oldest first.
    `weight` is the miner's share of the vector on chain.
    """
    progress = outcome.progress
    completed = progress.completed_ids
    newest = completed[-1] if completed else ""
    return {
        "run_ids": [run.run_id for run in progress.runs],
        "miners": [asdict(row) for row in _ranked(_miners_of(outcome, newest))],
        "chain": _chain_of(progress.weights, outcome.chain_vector),
        "seconds": {stage: round(spent, 3) for stage, spent in outcome.seconds.items()},
        "seed": outcome.seed,
        "grid": outcome.contract.grid_degrees,
        "runs": [
            {
                "run_id": run.run_id,
                "init_time": run.init_time.isoformat(),
                "completed": run.completed,
                "miners": [asdict(row) for row in _ranked(_miners_of(outcome, run.run_id))],
            }
            for run in progress.runs
        ],
    }


def summary_of(outcome: Outcome, components: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the data from which an independent program recomputes every score and the vector."""
    contract, progress = outcome.contract, outcome.progress
    weights = progress.weights
    terms = contract.model_dump() | outcome.weights.model_dump()
    return {
        "grid": contract.grid_degrees,
        "rule_set": outcome.weights.rule_set,
        "runs": [
            {"run_id": run.run_id, "init_time": run.init_time.isoformat(), "completed": run.completed}
            for run in progress.runs
        ],
        "day1_fields": contract.day1_fields,
        "day1_leads": contract.day1_lead_hours,
        "final_fields": contract.final_fields,
        "final_leads": contract.final_lead_hours,
        "components": [dict(component) for component in components],
        "scores": [_score_of(forecast) for forecast in progress.forecasts],
        "settings": {
            name: terms[name]
            for name in (
                "burn_fraction",
                "burn_enabled",
                "burn_hotkey",
                "contrast_gamma",
                "forecast_step_hours",
                "forecast_steps",
                "weights_window_days",
            )
        },
        "metagraph": dict(outcome.metagraph),
        "weights": {} if weights is None else dict(weights.weights),
        "weighed_run_ids": [] if weights is None else list(weights.run_ids),
        "vector": [list(pair) for pair in outcome.chain_vector],
    }


def shares(vector: Sequence[tuple[int, int]]) -> dict[int, float]:
    """Return each uid's share of the total weight."""
    total = sum(weight for _, weight in vector)
    return {uid: weight / total for uid, weight in vector} if total else {}


def _miners_of(outcome: Outcome, run_id: str) -> list[_MinerRow]:
    """Return one row per miner; a miner without a forecast in the run has the verdict "absent"."""
    forecasts = {forecast.hotkey: forecast for forecast in outcome.progress.of_run(run_id)}
    share_of = shares(outcome.chain_vector)
    rows = []
    for hotkey, spec in outcome.specs.items():
        uid = outcome.uids[hotkey]
        forecast = forecasts.get(hotkey)
        rows.append(
            _MinerRow(
                hotkey=hotkey,
                uid=uid,
                behaviour=str(spec.behaviour),
                skill=spec.skill,
                day1=forecast.day1 if forecast else None,
                leads=dict(forecast.leads) if forecast else {},
                overall=(forecast.overall or 0.0) if forecast else None,
                verdict=forecast.state if forecast else "absent",
                reason=forecast.reason if forecast else "",
                weight=share_of.get(uid, 0.0),
            )
        )
    return rows


def _ranked(rows: list[_MinerRow]) -> list[_MinerRow]:
    """Return the sort key that puts the best first: by weight, then score, then uid."""
    return sorted(rows, key=lambda row: (-row.weight, -(row.overall or 0.0), row.uid))


def _chain_of(weights: WeightsProgress | None, vector: Sequence[tuple[int, int]]) -> dict[str, object]:
    return {
        "block": weights.block if weights else None,
        "block_hash": weights.block_hash if weights else None,
        "extrinsic": weights.extrinsic if weights else None,
        "vector": [list(pair) for pair in vector],
    }


def _score_of(forecast: ForecastProgress) -> dict[str, object]:
    return {
        "run_id": forecast.run_id,
        "hotkey": forecast.hotkey,
        "state": forecast.state,
        "reason": forecast.reason,
        "day1": forecast.day1,
        "leads": dict(forecast.leads),
        "overall": forecast.overall,
    }
