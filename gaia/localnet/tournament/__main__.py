"""The tournament of the rules: honest miners against all known strategies, as a table and three bars."""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import statistics
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import numpy as np

from gaia.localnet.tournament.match import Match
from gaia.localnet.tournament.players import (
    BEST_SKILL,
    MEDIAN_SKILL,
    Kind,
    Uid,
    catalogue,
    mixtures,
    own_model,
    ruined,
    sybils,
)
from gaia.localnet.tournament.world import world_of
from gaia.tasks.defined_tasks.weather.rules import RULE_SETS

OTHER_WEATHER: Final = 10_000
LEAST_CORRELATION: Final = 0.95
MOST_FOR_SYBILS: Final = 1.5
"""Upper limit of the pay of many uids, relative to one uid with the same model."""
MOST_WITHOUT_SKILL: Final = 0.05
"""Upper limit of the pay without skill, relative to the median honest miner."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Size of a tournament."""

    rule_set: str
    honest: int = 60
    seeds: int = 20
    runs: int = 40
    sybils: tuple[int, ...] = (5, 20, 64)
    noises: tuple[float, ...] = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5)
    """Sizes of the noise, relative to the model's own error."""
    mixed: tuple[float, ...] = (0.2, 0.4, 0.6)
    """Shares of the public forecast in the last of `tricksters` uids; it grows from none in the first."""
    ruined: tuple[float, ...] = (0.01, 0.05, 0.1)
    """Fractions of the fields that are replaced by pure noise."""
    tricksters: int = 20

    def quick(self) -> Plan:
        """Return the plan of a short tournament with rougher numbers."""
        return Plan(
            rule_set=self.rule_set,
            honest=40,
            seeds=2,
            runs=20,
            sybils=(5, 20),
            noises=(0.0, 0.2, 0.4),
            mixed=(0.4,),
            ruined=(0.05,),
        )


def main(arguments: Sequence[str] | None = None) -> int:
    """Play the tournament, print it, and return 0 if all three bars hold, else 1."""
    options = _parser().parse_args(arguments)
    plan = Plan(rule_set=options.rule_set, honest=options.honest, seeds=options.seeds, runs=options.runs)
    report = play(plan.quick() if options.quick else plan)
    print(json.dumps(report, indent=1) if options.json else "\n".join(table(report)))
    return 0 if all(bar["holds"] for bar in report["bars"].values()) else 1


def play(plan: Plan) -> dict[str, Any]:
    """Play every seed, one process per CPU core; return all numbers."""
    workers = min(plan.seeds, os.cpu_count() or 1)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        return report_of(plan, list(pool.map(partial(play_seed, plan), range(plan.seeds))))


def play_seed(plan: Plan, seed: int) -> dict[str, Any]:
    """Play one seed: each strategy alone against the same honest miners."""
    world = world_of(seed, plan.runs, plan.honest)
    match = Match(world, plan.rule_set)
    honest = match.pay().honest
    strategies = {}
    for strategy in catalogue():
        paid = match.pay([match.scored(uid) for uid in strategy.uids(world)])
        strategies[strategy.name] = {
            "pay": _part(paid.player.sum(), np.median(paid.honest)),
            "best_honest": _part(paid.honest[0] * np.median(honest), honest[0] * np.median(paid.honest)),
        }
    # The same models in other weather give the skill of each, or 0 if it is no better than public forecasts.
    elsewhere = Match(world_of(OTHER_WEATHER + seed, plan.runs, plan.honest), plan.rule_set)
    skill = np.maximum(elsewhere.honest_scores(), 0.0)
    return {
        "correlation": float(np.corrcoef(honest, skill)[0, 1]),
        "correlation_with_error": float(np.corrcoef(honest, -world.skills)[0, 1]),
        "zeroed": float((honest == 0.0).mean()),
        "false_duplicates": match.overlapping_pairs(),
        "strategies": strategies,
        "sybils": {
            f"{name}, {trick}": value
            for name, skill in (("best model", BEST_SKILL), ("median model", MEDIAN_SKILL))
            for trick, value in _sybil_gains(plan, match, skill)
        },
    }


def report_of(plan: Plan, seeds: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return means and extremes over seeds, and whether each bar holds."""
    strategies: list[dict[str, Any]] = [
        {
            "name": one.name,
            "kind": str(one.kind),
            "pay": _summary([seed["strategies"][one.name]["pay"] for seed in seeds]),
            "best_honest": _summary([seed["strategies"][one.name]["best_honest"] for seed in seeds]),
        }
        for one in catalogue()
    ]
    gains: list[dict[str, Any]] = [
        {"name": name, "pay": _summary([seed["sybils"][name] for seed in seeds])}
        for name in seeds[0]["sybils"]
    ]
    idle = [one for one in strategies if one["kind"] == Kind.NO_SKILL]
    correlation = _summary([seed["correlation"] for seed in seeds])
    best_gain = max(gains, key=lambda gain: gain["pay"]["mean"])
    best_idle = max(idle, key=lambda one: one["pay"]["mean"])
    return {
        "rule_set": plan.rule_set,
        "honest": plan.honest,
        "seeds": plan.seeds,
        "runs": plan.runs,
        "bars": {
            "correlation": {**correlation, "holds": correlation["mean"] >= LEAST_CORRELATION},
            "sybils": {**best_gain["pay"], "by": best_gain["name"]}
            | {"holds": best_gain["pay"]["mean"] <= MOST_FOR_SYBILS},
            "no_skill": {**best_idle["pay"], "by": best_idle["name"]}
            | {"holds": best_idle["pay"]["mean"] <= MOST_WITHOUT_SKILL},
        },
        "correlation_with_error": _summary([seed["correlation_with_error"] for seed in seeds]),
        "zeroed": _summary([seed["zeroed"] for seed in seeds]),
        "false_duplicates": _summary([seed["false_duplicates"] for seed in seeds]),
        "strategies": strategies,
        "sybils": gains,
    }


def table(report: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines of a report for people."""
    yield (
        f"{report['rule_set']}: {report['honest']} honest miners, {report['runs']} runs, {report['seeds']} seeds; "
        "mean over seeds [least, most]"
    )
    yield ""
    yield f"{'strategy':<46} {'kind':<10} {'pay, in that of the median honest':<34} best honest keeps"
    for one in report["strategies"]:
        yield f"{one['name']:<46} {one['kind']:<10} {_shown(one['pay']):<34} {one['best_honest']['mean']:.3f}"
    yield ""
    yield f"{'many uids, one model':<57} pay, in that of one uid (mixed: the best of them)"
    for one in report["sybils"]:
        yield f"{one['name']:<57} {_shown(one['pay'])}"
    yield ""
    bars = report["bars"]
    yield _bar("correlation of weight and skill", bars["correlation"], f">= {LEAST_CORRELATION}")
    yield _bar("sybils at their best", bars["sybils"], f"<= {MOST_FOR_SYBILS}")
    yield _bar("best without skill", bars["no_skill"], f"<= {MOST_WITHOUT_SKILL}")
    yield f"correlation of weight and size of error, also of those worth nothing: {_shown(report['correlation_with_error'])}"
    yield f"honest miners that earn nothing: {_shown(report['zeroed'])}"
    yield f"honest pairs taken for copies: {_shown(report['false_duplicates'])}"


def _sybil_gains(plan: Plan, match: Match, skill: float) -> Iterator[tuple[str, float]]:
    """Yield each way to use one model with many uids, and its pay relative to one uid."""
    world = match.world
    model = own_model(world, skill)
    alone = match.pay([match.scored(Uid(errors=model))]).player.sum()
    noises = np.stack([world.noise() for _ in range(max(plan.sybils))])
    for parts in plan.noises:
        uids = [match.scored(uid) for uid in sybils(model, noises, parts)]
        for count in plan.sybils:
            yield f"{count} uids, {parts:.0%} noise", _part(match.pay(uids[:count]).player.sum(), alone)
    for parts in plan.mixed:
        uids = [match.scored(uid) for uid in mixtures(model, world, plan.tricksters, parts)]
        # Mixing in a public forecast can improve a forecast, but one uid can do that too.
        best = max(match.pay([uid]).player.sum() for uid in uids[:: max(1, len(uids) // 4)])
        yield f"{len(uids)} uids, up to {parts:.0%} public", _part(match.pay(uids).player.sum(), best)
    for parts in plan.ruined:
        uids = [match.scored(uid) for uid in ruined(model, noises[: plan.tricksters], parts)]
        yield f"{len(uids)} uids, {parts:.0%} of fields ruined", _part(match.pay(uids).player.sum(), alone)


def _summary(values: Sequence[float]) -> dict[str, float]:
    return {"mean": statistics.fmean(values), "least": min(values), "most": max(values)}


def _part(value: Any, whole: Any) -> float:
    return float(value) / float(whole) if whole else 0.0


def _shown(summary: Mapping[str, float]) -> str:
    return f"{summary['mean']:.3f} [{summary['least']:.3f}, {summary['most']:.3f}]"


def _bar(name: str, bar: Mapping[str, Any], limit: str) -> str:
    by = f" ({bar['by']})" if "by" in bar else ""
    return f"{name}: {_shown(bar)}{by}, to be {limit}: {'holds' if bar['holds'] else 'MISSED'}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="scripts/tournament.py", description=__doc__)
    parser.add_argument("--rule-set", choices=sorted(RULE_SETS), default="gaia-next")
    parser.add_argument(
        "--honest", type=int, default=60, metavar="N", help="number of honest miners; default: 60"
    )
    parser.add_argument(
        "--seeds", type=int, default=20, metavar="N", help="number of simulated worlds; default: 20"
    )
    parser.add_argument(
        "--runs", type=int, default=40, metavar="N", help="number of daily runs in each; default: 40"
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help="2 seeds and fewer strategies: half a minute, but rougher numbers",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
