"""Pay of useless and dishonest forecasts under each rule set: the table of docs/explanation/scoring.md."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

import numpy as np

from gaia.localnet.tournament.match import Match
from gaia.localnet.tournament.players import catalogue
from gaia.localnet.tournament.world import world_of
from gaia.tasks.defined_tasks.weather.rules import RULE_SETS

SEED, RUNS, HONEST = 1, 15, 20
EDGES: Final = (
    "honest, median model",
    "persistence",
    "NaN",
    "inf",
    "1e38, -1e38",
    "constant",
    "GFS upside down",
    "truth + 5 K",
    "GFS + 0.06 K noise",
    "blended GFS",
)


def earnings() -> dict[str, dict[str, tuple[float, float]]]:
    """Return rule set -> forecast -> (mean overall score, pay relative to the median honest miner)."""
    strategies = {strategy.name: strategy for strategy in catalogue()}
    result: dict[str, dict[str, tuple[float, float]]] = {}
    for rule_set in sorted(RULE_SETS):
        world = world_of(SEED, RUNS, HONEST)
        match = Match(world, rule_set)
        result[rule_set] = {}
        for name in EDGES:
            (uid,) = strategies[name].uids(world)
            scored = match.scored(uid)
            paid = match.pay([scored])
            pay = float(paid.player.sum()) / float(np.median(paid.honest))
            result[rule_set][name] = float(np.mean([score or 0.0 for score in scored.runs])), pay
    return result


def table(earned: Mapping[str, Mapping[str, tuple[float, float]]]) -> Iterator[str]:
    """Yield the lines of the table, in Markdown."""
    yield "| forecast | " + " | ".join(f"{name}: score | {name}: pay" for name in earned) + " |"
    yield "|---|" + "--:|--:|" * len(earned)
    for name in EDGES:
        cells = (f"{score:z.2f} | {pay:.2f}" for score, pay in (of[name] for of in earned.values()))
        yield f"| {name} | {' | '.join(cells)} |"


if __name__ == "__main__":
    print("\n".join(table(earnings())))
