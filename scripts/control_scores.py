#!/usr/bin/env python3
"""Recomputes every score and the weight vector of a local subnet from its archived inputs and the formulas.

It shares no code with the validator. It prints one JSON object with the largest differences. It
exits 1 if a component differs by more than 1e-6, or a score or weight by more than 1e-9.

    .venv/bin/python scripts/control_scores.py .localnet/20260401-120000
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from control.inputs import Inputs, Row, Values, split

COMPONENT_TOLERANCE = 1e-6
SCORE_TOLERANCE = 1e-9

CLONE = {"2t": 0.0025, "msl": 400.0, "10u": 0.01, "10v": 0.01, "z500": 100.0}

RULE_SET = "gaia-2.9"


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("state_dir", type=Path, help="folder of the local subnet, with its summary.json")
    state_dir = parser.parse_args().state_dir
    path = state_dir / "summary.json"
    if not path.exists():
        raise SystemExit(f"{path} is not there: a local subnet writes it when it has come to its end")
    summary = json.loads(path.read_text())
    played = summary.get("rule_set", RULE_SET)
    if played != RULE_SET:
        raise SystemExit(f"{state_dir} was played under {played}; this program knows {RULE_SET} only")
    report = compare(summary, Inputs(state_dir, summary))
    print(json.dumps(report, indent=1))
    return 0 if report["agrees"] else 1


def compare(summary: Row, inputs: Inputs) -> dict[str, Any]:
    """Return the largest difference of each kind between `summary` and the recomputed values."""
    differences: dict[str, float] = defaultdict(float)
    computed: dict[tuple[str, str, str, int], list[Row]] = defaultdict(list)
    for stored in summary["components"]:
        own = measure(inputs, stored)
        computed[stored["run_id"], stored["hotkey"], stored["kind"], stored["lead_hours"]].append(own)
        for name, value in own.items():
            if name not in ("field", "lead_hours"):
                differences[name] = max(differences[name], difference(name, stored[name], value, own["rmse"]))
    overall: dict[str, dict[str, float | None]] = defaultdict(dict)
    for score in summary["scores"]:
        own_score = judge(summary, score, computed)
        overall[score["run_id"]][score["hotkey"]] = own_score["overall"]
        for name in ("day1", "overall"):
            distance = apart(score[name], own_score[name])
            differences[f"score_{name}"] = max(differences[f"score_{name}"], distance)
        for lead, value in score["leads"].items():
            distance = apart(value, own_score["leads"][int(lead)])
            differences["score_lead"] = max(differences["score_lead"], distance)
    weighed = summary.get("weighed_run_ids", [run["run_id"] for run in summary["runs"]])
    weights = weigh([overall.get(run_id, {}) for run_id in weighed], summary)
    for hotkey in weights.keys() | summary["weights"].keys():
        distance = abs(weights.get(hotkey, 0.0) - summary["weights"].get(hotkey, 0.0))
        differences["weight"] = max(differences["weight"], distance)
    return verdict(summary, differences, quantised(weights, summary["metagraph"]["neurons"]))


def verdict(summary: Row, differences: Mapping[str, float], vector: list[list[int]]) -> dict[str, Any]:
    limits = {
        name: SCORE_TOLERANCE if name == "weight" or name.startswith("score_") else COMPONENT_TOLERANCE
        for name in differences
    }
    exceeded = sorted(name for name in differences if not differences[name] <= limits[name])
    same_vector = sorted(vector) == sorted(summary["vector"])
    return {
        "agrees": not exceeded and same_vector and bool(summary["components"]) and bool(vector),
        "components": len(summary["components"]),
        "scores": len(summary["scores"]),
        "weights": len(vector),
        "exceeded": exceeded,
        "differences": dict(sorted(differences.items())),
        "vector_equal": same_vector,
    }


# Measures


def measure(inputs: Inputs, stored: Row) -> dict[str, Any]:
    """Return the recomputed component that `stored` names."""
    run_id, hotkey, kind = stored["run_id"], stored["hotkey"], stored["kind"]
    field, lead = stored["field"], stored["lead_hours"]
    f = inputs.forecast(run_id, hotkey, field, lead)
    o = inputs.truth(kind, run_id, field, lead)
    c = inputs.climatology(run_id, field, lead)
    w = np.repeat(np.cos(np.radians(np.linspace(90, -90, o.shape[0])))[:, None].clip(0), o.shape[1], axis=1)
    corrected = f - np.mean(f - o)
    result = {
        "field": field,
        "lead_hours": lead,
        "rmse": math.sqrt(np.average((f - o) ** 2, weights=w)),
        "mse": float(np.average((f - o) ** 2, weights=w)),
        "mae": float(np.average(np.abs(f - o), weights=w)),
        "bias": float(np.average(f - o, weights=w)),
        "acc": pearson(f - c, o - c, w),
        "skill_climatology": skill(corrected, o, c, w),
        "skill_gfs": None,
        "pattern_correlation": None,
        "clone_distance": None,
    }
    if kind == "day1":
        g = inputs.gfs(inputs.init_times[run_id], field, lead)
        result["skill_gfs"] = skill(corrected, o, g, w)
        result["pattern_correlation"] = pearson(f, g, w)
        result["clone_distance"] = float(np.average((f - g) ** 2, weights=w))
    return result


def pearson(a: Values, b: Values, w: Values) -> float | None:
    (aa, ab), (_, bb) = np.cov(a.ravel(), b.ravel(), aweights=w.ravel(), ddof=0)
    if min(aa, bb) < 1e-24:
        return None
    return float(ab / math.sqrt(aa * bb))


def skill(f: Values, o: Values, reference: Values, w: Values) -> float | None:
    base = float(np.average((reference - o) ** 2, weights=w))
    return 1 - float(np.average((f - o) ** 2, weights=w)) / base if base > 0 else None


def difference(name: str, stored: float | None, own: float | None, rmse: float) -> float:
    """Return the difference: relative for errors, absolute for correlations and for skills above -1."""
    if stored is None or own is None:
        return 0.0 if stored is own else math.inf
    if name == "bias":
        return abs(stored - own) / max(rmse, 1e-300)
    floor = 1e-300 if name in ("rmse", "mse", "mae", "clone_distance") else 1.0
    return abs(stored - own) / max(abs(stored), abs(own), floor)


# Scores, rule set gaia-2.9


def judge(
    summary: Row, score: Row, computed: Mapping[tuple[str, str, str, int], Sequence[Row]]
) -> dict[str, Any]:
    """Score one forecast; a lead that was scored without components was forfeited."""
    key = score["run_id"], score["hotkey"]
    leads = {
        int(lead): lead_score(computed.get((*key, "final", int(lead)), []), summary["final_fields"])
        for lead in score["leads"]
    }
    first = [day1_score(computed.get((*key, "day1", lead), [])) for lead in summary["day1_leads"]]
    day1 = None if score["day1"] is None else sum(first) / len(first)
    final = sum(leads.values()) / len(summary["final_leads"])
    overall: float | None = 0.95 * final + (0.05 if day1 is not None and day1 >= 0.1 else 0.0)
    if score["state"] == "rejected":
        overall = 0.0
    if score["state"] == "excused" or (score["overall"] is None and not leads and day1 is None):
        overall = None
    return {"day1": day1, "leads": leads, "overall": overall}


def day1_score(rows: Sequence[Row]) -> float:
    if not rows:
        return 0.0
    copied = False
    skills: list[float] = []
    correlations: list[float] = []
    for row in rows:
        if row["pattern_correlation"] is None or row["pattern_correlation"] < 0.3:
            continue
        nearness = 1 - row["clone_distance"] / CLONE[row["field"]] if row["field"] in CLONE else 0.0
        copied = copied or nearness > 0
        if row["skill_gfs"] is not None:
            skills.append(max(0.0, row["skill_gfs"] - max(0.0, nearness)))
        if row["acc"] is not None:
            correlations.append((row["acc"] + 1) / 2)
    skill_part = np.mean(skills) if skills else 0.0
    acc_part = np.mean(correlations) if correlations else 0.0
    score = float(np.clip(0.6 * skill_part + 0.4 * acc_part, 0, 1))
    return min(score, 0.05) if copied else score


def lead_score(rows: Sequence[Row], expected: Sequence[str]) -> float:
    by_field = {row["field"]: row for row in rows}
    if set(expected) - set(by_field):
        return 0.0
    variables: dict[str, list[tuple[int | None, Row]]] = defaultdict(list)
    for field in expected:
        variable, level = split(field)
        variables[variable].append((level, by_field[field]))
    skills, correlations, errors = [], [], []
    for members in variables.values():
        members.sort(key=lambda member: member[0] or 0)
        weights = thickness([level for level, _ in members])
        of = [row for _, row in members]
        skills.append(np.clip(np.dot(weights, [row["skill_climatology"] or 0.0 for row in of]), 0, 1))
        accs = np.array([row["acc"] for row in of], float)
        if not np.isnan(accs).any():
            correlations.append(np.dot(weights, (accs + 1) / 2))
        errors.append(math.sqrt(np.dot(weights, [row["mse"] for row in of])))
    if not correlations:
        return float(np.mean(skills))
    middle = float(np.median(errors))
    near = [1 / (1 + error / middle) if middle > 0 else 0.5 for error in errors]
    return float(np.clip(0.6 * np.mean(skills) + 0.3 * np.mean(correlations) + 0.1 * np.mean(near), 0, 1))


def thickness(levels: Sequence[int | None]) -> Values:
    """Return each level's share; half the distance between its neighbours, half an interval at the ends."""
    if len(levels) == 1:
        return np.ones(1)
    edges = np.diff(np.array(levels, float)) / 2
    widths = np.concatenate([edges, [0.0]]) + np.concatenate([[0.0], edges])
    return np.asarray(widths / widths.sum(), float)


def apart(stored: float | None, own: float | None) -> float:
    if stored is None or own is None:
        return 0.0 if (stored or 0.0) == (own or 0.0) else math.inf
    return abs(stored - own)


# Weights


def weigh(runs: Sequence[Mapping[str, float | None]], summary: Row) -> dict[str, float]:
    """Return hotkey -> weight; the weights sum to 1."""
    settings, metagraph = summary["settings"], summary["metagraph"]
    burner = settings["burn_hotkey"] or metagraph.get("owner_hotkey", "")
    eligible = {
        neuron["hotkey"]
        for neuron in metagraph["neurons"]
        if neuron["ip"]
        and not (neuron["validator_permit"] and metagraph["block"] - neuron["last_update"] < 500)
    }
    means = {hotkey: mean for hotkey, mean in window_means(runs).items() if hotkey in eligible and mean > 0}
    weights = contrasted(means, settings["contrast_gamma"])
    if not settings["burn_enabled"]:
        return weights
    burnt = settings["burn_fraction"] if weights else 1.0
    weights = {hotkey: (1 - burnt) * weight for hotkey, weight in weights.items()}
    weights[burner] = weights.get(burner, 0.0) + burnt
    return weights


def window_means(runs: Sequence[Mapping[str, float | None]]) -> dict[str, float]:
    scores: dict[str, list[float]] = defaultdict(list)
    hotkeys = {hotkey for run in runs for hotkey in run}
    for run in runs:
        counted = {hotkey: score for hotkey, score in run.items() if score is not None}
        best = max(counted.values(), default=0.0)
        winners = [hotkey for hotkey, score in counted.items() if score == best]
        for hotkey in hotkeys:
            if hotkey in run and run[hotkey] is None:
                continue
            bonus = 0.05 / len(winners) if hotkey in winners and best >= 0.7 and len(winners) <= 2 else 0.0
            scores[hotkey].append(float(np.clip(counted.get(hotkey, 0.0) + bonus, 0, 1.1)))
    return {hotkey: float(np.mean(values)) for hotkey, values in scores.items()}


def contrasted(means: Mapping[str, float], gamma: float) -> dict[str, float]:
    if not means:
        return {}
    x = np.array(list(means.values())) / max(means.values())
    distinct = np.unique(x)
    middle = np.percentile(distinct if len(distinct) >= 3 else x, 80)
    w = 0.98 / (1 + 8 * np.exp(-70 * (x - middle))) ** (1 / 0.3) + 0.01 * x
    if np.std(w) / np.mean(w) < 0.03:
        w = w * x**gamma
    return dict(zip(means, (w / w.sum()).tolist(), strict=True))


def quantised(weights: Mapping[str, float], neurons: Sequence[Row]) -> list[list[int]]:
    uids = {neuron["hotkey"]: neuron["uid"] for neuron in neurons}
    largest = max(weights.values(), default=0.0)
    pairs = [[uids[hotkey], round(weight / largest * 65535)] for hotkey, weight in weights.items()]
    return [pair for pair in sorted(pairs) if pair[1] > 0]


if __name__ == "__main__":
    sys.exit(main())
