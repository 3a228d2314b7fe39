"""Explains a miner's weight by its overall score, leads, components and inputs."""

from __future__ import annotations

import argparse
import hashlib
import inspect
import sys
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import TYPE_CHECKING, Any

from gaia.cli import tables
from gaia.cli.select import NotThere, miner_named, runs_named
from gaia.tasks.defined_tasks.weather.rules import RULE_SETS
from gaia.validator.core.weights.inputs import from_parts, parts_named
from gaia.validator.db import history
from gaia.validator.utils.identities import Hotkey, present_name

if TYPE_CHECKING:
    from gaia.cli.source import Source
    from gaia.tasks.defined_tasks.base import FoundCopies
    from gaia.validator.core.weights.inputs import VectorInputs
    from gaia.validator.db.connection import Connection
    from gaia.validator.db.history import StoredRun
    from gaia.validator.db.rows import ForecastRow, LeadRow, OverallRow, VectorRow

_SHOWN = ("rmse", "bias", "acc", "skill_climatology", "skill_gfs")


def explain(source: Source, arguments: argparse.Namespace) -> int:
    """Print how one miner came by its weight, as far back as the bytes it sent."""

    async def look(
        connection: Connection,
    ) -> tuple[StoredRun, VectorRow | None, list[OverallRow], VectorInputs | None]:
        named = runs_named([arguments.run], await history.run_summaries(connection))
        if len(named) != 1:
            raise NotThere(f"{arguments.run} means {len(named)} runs; name one")
        (run,) = await history.stored_runs(connection, [named[0].run_id])
        weights = await history.vector_of_run(connection, run.summary.run_id)
        inputs = await _inputs(connection, weights)
        return run, weights, await history.overall_scores(connection), inputs

    run, weights, overall, inputs = source.read(look)
    forecast = miner_named(arguments.miner, run.forecasts)
    rule_set = arguments.rule_set or run.summary.rule_set
    explained = explanation(run, forecast, rule_set, weights, overall, inputs)
    if arguments.json:
        tables.print_json(explained)
    else:
        _print(explained, arguments.lead)
    return 0


def explanation(
    run: StoredRun,
    forecast: ForecastRow,
    rule_set: str,
    weights: VectorRow | None,
    overall: Sequence[OverallRow],
    inputs: VectorInputs | None = None,
) -> dict[str, object]:
    """Return everything that led to one miner's weight, from the weight back to its inputs.

    Parameters
    ----------
    run, forecast
        The run and the miner's part in it.
    rule_set
        Name of the rules to explain.
    weights
        The vector that was computed from the run, if there is one.
    overall
        All overall scores of the window from which the vector was computed.
    inputs
        What it was computed from; None if that was not stored.
    """
    hotkey = forecast.hotkey
    scores = [row for row in run.scores if (row.hotkey, row.rule_set) == (hotkey, rule_set)]
    return {
        "run_id": run.summary.run_id,
        "run_state": run.summary.state,
        "imported_from": run.summary.imported_from,
        "miner": {
            "hotkey": hotkey,
            "uid": forecast.uid,
            "registered_at": forecast.registered_at,
            "state": forecast.state,
            "reason": forecast.reason,
        },
        "rules": rules_of(rule_set),
        "weight": _weight(weights, forecast, overall, inputs)
        if weights and weights.rule_set == rule_set
        else None,
        "overall": {name: getattr(scores[0], name) for name in ("day1", "overall", "counted")}
        if scores
        else None,
        "contract": run.summary.contract,
        "leads": [
            _lead(row, run, hotkey) for row in run.leads if (row.hotkey, row.rule_set) == (hotkey, rule_set)
        ],
        "manifest": {"sha256": forecast.manifest_sha256, "committed_at": forecast.committed_at},
    }


def rules_of(rule_set: str) -> dict[str, str]:
    """Return a rule set's name, its own description, and the digest of its source."""
    rules = RULE_SETS[rule_set]
    module = sys.modules[rules.lead_score.__module__]
    return {
        "name": rules.name,
        "sha256": hashlib.sha256(inspect.getsource(module).encode()).hexdigest(),
        "day1": _sentence(rules.day1_score),
        "lead": _sentence(rules.lead_score),
        "overall": _sentence(rules.overall_score),
    }


def _sentence(function: Any) -> str:
    return (inspect.getdoc(function) or "").split("\n", 1)[0]


async def _inputs(connection: Connection, weights: VectorRow | None) -> VectorInputs | None:
    """Return what a vector was computed from; None if that was not stored."""
    if weights is None or weights.inputs is None:
        return None
    names = weights.inputs
    return from_parts(names, await history.weight_inputs(connection, parts_named(names)))


def _copies(found: FoundCopies, hotkey: str) -> dict[str, object]:
    """Return the miners that share work with a miner, largest overlap first, with their polling rounds."""
    others = sorted(
        ((part, other) for *pair, part in found.pairs if hotkey in pair for other in pair if other != hotkey),
        reverse=True,
    )
    return {
        "committed_in_round": found.committed.get(hotkey),
        "shared_with": [
            {"hotkey": other, "overlap": part, "committed_in_round": found.committed.get(other)}
            for part, other in others
        ],
    }


def _weight(
    weights: VectorRow,
    forecast: ForecastRow,
    overall: Sequence[OverallRow],
    inputs: VectorInputs | None,
) -> dict[str, object]:
    """Return how a miner came by its weight, under the hotkey that it had then."""
    renamed = inputs.renamed if inputs is not None else {}

    def name_of(run_id: str, hotkey: str) -> str:
        return present_name(renamed.get(run_id, {}), hotkey)

    hotkey = name_of(forecast.run_id, forecast.hotkey) or forecast.hotkey
    earned = [
        row
        for row in overall
        if name_of(row.run_id, row.hotkey) == hotkey
        and row.rule_set == weights.rule_set
        and row.run_id in weights.run_ids
    ]
    window = [{"run_id": row.run_id, "overall": row.overall, "counted": row.counted} for row in earned]
    counted = [row.overall for row in earned if row.counted]
    return {
        "hotkey": hotkey,
        "share": weights.weights.get(hotkey, 0.0),
        "epoch": weights.epoch,
        "block": weights.block,
        "block_hash": weights.block_hash,
        "extrinsic": weights.extrinsic,
        "vector_sha256": weights.vector_sha256,
        "runs": len(weights.run_ids),
        "window": window,
        "window_mean": fmean(counted) if counted else None,
        "copies": _copies(inputs.found, hotkey) if inputs is not None else None,
    }


def _lead(lead: LeadRow, run: StoredRun, hotkey: Hotkey) -> dict[str, object]:
    key = lead.rule_set, lead.kind, lead.lead_hours
    given = next((row for row in run.inputs if (row.rule_set, row.kind, row.lead_hours) == key), None)
    digests: Mapping[str, Mapping[str, str]] = given.digests if given else {}
    components = [
        {"field": row.field, **row.measures}
        | {"forecast_digest": row.forecast_digest, "truth_digest": row.truth_digest}
        | {f"{role}_digest": files[row.field] for role, files in digests.items() if row.field in files}
        for row in run.components
        if (row.hotkey, row.rule_set, row.kind, row.lead_hours) == (hotkey, *key)
    ]
    return {
        "kind": lead.kind,
        "lead_hours": lead.lead_hours,
        "score": lead.score,
        "reason": lead.reason,
        "cpu_s": lead.cpu_s,
        "handler": given.handler if given else None,
        "components": components,
    }


def _print(explained: Mapping[str, Any], only_lead: int | None) -> None:
    miner, rules, weight, overall = (
        explained["miner"],
        explained["rules"],
        explained["weight"],
        explained["overall"],
    )
    lines = [
        f"{explained['run_id']}, uid {miner['uid']}, {miner['hotkey']}",
        *(["run       open: these numbers are not final"] if explained["run_state"] == "open" else []),
        *([f"imported  from {explained['imported_from']}"] if explained["imported_from"] else []),
        f"state     {miner['state']}" + (f": {miner['reason']}" if miner["reason"] else ""),
        f"manifest  {explained['manifest']['sha256'] or 'none'}",
        f"rules     {rules['name']}, sha256 {rules['sha256'][:16]}",
        *_weight_lines(weight, miner["hotkey"]),
    ]
    if overall:
        lines.append(
            f"overall   {tables.shown(overall['overall'])}"
            f"{'' if overall['counted'] else ', not counted'}; day 1 {tables.shown(overall['day1'])}"
        )
        lines.append(f"          {rules['overall']}")
    tables.print_lines(*lines)
    leads = [lead for lead in explained["leads"] if only_lead in (None, lead["lead_hours"])]
    if not leads:
        tables.print_lines("leads     none is scored" + (" yet" if explained["run_state"] == "open" else ""))
        return
    tables.print_table(
        ("kind", ">lead h", ">score", "~reason", ">CPU s?", "handler??"),
        [
            tuple(lead[name] for name in ("kind", "lead_hours", "score", "reason", "cpu_s", "handler"))
            for lead in leads
        ],
    )
    _print_components(leads)


def _weight_lines(weight: Mapping[str, Any] | None, asked: str) -> list[str]:
    if weight is None:
        return ["weight    none was set from this run under these rules"]
    earned = ", ".join(
        f"{row['run_id']} {tables.shown(row['overall'])}{'' if row['counted'] else ' (excused)'}"
        for row in weight["window"]
    )
    shared = [
        f"          shares {other['overlap']:.2f} of its work with {other['hotkey']}: committed in polling"
        f" round {weight['copies']['committed_in_round']}, the other in {other['committed_in_round']}"
        for other in (weight["copies"] or {}).get("shared_with", ())
    ]
    return [
        *([f"hotkey    swapped since for {weight['hotkey']}"] if weight["hotkey"] != asked else []),
        (
            f"weight    {weight['share']:.6f} of the vector of epoch {weight['epoch']}, block {weight['block']},"
            f" sha256 {weight['vector_sha256'][:16]}"
        ),
        f"          from {tables.counted(weight['runs'], 'run')}, mean {tables.shown(weight['window_mean'])}: {earned}",
        *shared,
    ]


def _print_components(leads: Sequence[Mapping[str, Any]]) -> None:
    rows = [(lead, component) for lead in leads for component in lead["components"]]
    if not rows:
        return
    roles = sorted({name for _, component in rows for name in component if name.endswith("_digest")})
    roles.sort(key=lambda name: name != "forecast_digest")
    measures = [name for name in _SHOWN if any(component.get(name) is not None for _, component in rows)]
    tables.print_table(
        (
            *("kind", ">lead h", "field"),
            *(f">{name.replace('skill_', 'skill ')}" for name in measures),
            *(name.replace("_digest", " sha256?") for name in roles),
        ),
        [
            (
                *(lead["kind"], lead["lead_hours"], component["field"]),
                *(component[name] for name in measures),
                *((component.get(name) or "-")[:12] for name in roles),
            )
            for lead, component in rows
        ],
    )
