"""Compares two rule sets over the runs that both scored."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from statistics import fmean
from typing import TYPE_CHECKING, Any

from gaia.cli import tables
from gaia.cli.ranks import kendall, spearman
from gaia.cli.select import NotThere
from gaia.validator.db import history
from gaia.validator.db.states import RunState
from gaia.validator.utils.identities import RunId
from gaia.validator.utils.significance import half_width

if TYPE_CHECKING:
    from gaia.cli.source import Source
    from gaia.validator.db.connection import Connection
    from gaia.validator.db.rows import CostRow, OverallRow

Scores = Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """Agreement of two rule sets about the miners of one run."""

    run_id: RunId
    miners: int
    same_order: float | None
    """Fraction of miner pairs that both rule sets order alike, among pairs that at least one separates."""
    same_best: bool
    spearman: float | None
    kendall: float | None
    active_cpu_s: float
    shadow_cpu_s: float


def compare(source: Source, arguments: argparse.Namespace) -> int:
    """Print agreement, rank correlation and cost of two rule sets, run by run and on the whole."""

    async def read(connection: Connection) -> tuple[list[OverallRow], Mapping[tuple[str, str], CostRow]]:
        return await history.overall_scores(connection), await history.costs(connection)

    stored, costs = source.read(read)
    # An open run is not compared, because its missing leads count as nothing.
    rows = [row for row in stored if row.run_state is not RunState.OPEN]
    if stored and not rows:
        raise NotThere("no run is finished yet, and only finished runs are compared")
    active, shadow = _rule_sets(rows, arguments.active or source.settings.weights.rule_set, arguments.shadow)
    by_rules = {name: _by_run(rows, name) for name in (active, shadow)}
    agreements = [
        agreement_of(
            run_id,
            scores,
            by_rules[shadow][run_id],
            _cost(costs, run_id, active),
            _cost(costs, run_id, shadow),
        )
        for run_id, scores in by_rules[active].items()
        if run_id in by_rules[shadow]
    ]
    if not agreements:
        raise NotThere(f"no finished run was scored by both {active} and {shadow}; see GAIA_SHADOW_RULE_SET")
    whole = summary_of(agreements)
    if arguments.json:
        tables.print_json({"active": active, "shadow": shadow, "summary": whole, "runs": agreements})
    else:
        _print(active, shadow, agreements, whole)
    return 0


def agreement_of(
    run_id: RunId, active: Scores, shadow: Scores, active_cpu_s: float, shadow_cpu_s: float
) -> Agreement:
    """Compare two sets of overall scores by hotkey; skip miners that only one of them has."""
    hotkeys = sorted(active.keys() & shadow.keys())
    one, other = [active[hotkey] for hotkey in hotkeys], [shadow[hotkey] for hotkey in hotkeys]
    return Agreement(
        run_id=run_id,
        miners=len(hotkeys),
        same_order=same_order(one, other),
        same_best=bool(hotkeys) and _best(one) == _best(other),
        spearman=spearman(one, other),
        kendall=kendall(one, other),
        active_cpu_s=active_cpu_s,
        shadow_cpu_s=shadow_cpu_s,
    )


def same_order(one: Sequence[float], other: Sequence[float]) -> float | None:
    """Return the fraction of pairs in the same order, among pairs that at least one side separates.

    Examples
    --------
    >>> same_order([1, 2, 3], [1, 3, 2]), same_order([1, 1], [2, 2])
    (0.6666666666666666, None)
    """
    pairs = list(combinations(zip(one, other, strict=True), 2))
    told = [((a > b) - (a < b), (x > y) - (x < y)) for (a, x), (b, y) in pairs if a != b or x != y]
    return sum(first == second for first, second in told) / len(told) if told else None


def summary_of(agreements: Sequence[Agreement]) -> dict[str, object]:
    """Return the means over runs with the half width of their 95 % intervals; costs are summed."""
    summary: dict[str, object] = {"runs": len(agreements), "miners": sum(each.miners for each in agreements)}
    for name in ("same_order", "same_best", "spearman", "kendall"):
        values = [float(value) for each in agreements if (value := getattr(each, name)) is not None]
        summary[name] = fmean(values) if values else None
        summary[f"{name}_95"] = half_width(values)
    for name in ("active_cpu_s", "shadow_cpu_s"):
        summary[name] = sum(getattr(each, name) for each in agreements)
    return summary


def _rule_sets(rows: Sequence[OverallRow], active: str, shadow: str | None) -> tuple[str, str]:
    others = sorted({row.rule_set for row in rows} - {active})
    if shadow is None and len(others) != 1:
        found = ", ".join(others) if others else "none"
        raise NotThere(f"rule sets that scored beside {active}: {found}; choose one with --shadow")
    return active, shadow or others[0]


def _by_run(rows: Sequence[OverallRow], rule_set: str) -> dict[RunId, dict[str, float]]:
    runs: dict[RunId, dict[str, float]] = {}
    for row in rows:
        if row.rule_set == rule_set and row.counted:
            runs.setdefault(row.run_id, {})[row.hotkey] = row.overall
    return runs


def _cost(costs: Mapping[tuple[str, str], CostRow], run_id: RunId, rule_set: str) -> float:
    row = costs.get((run_id, rule_set))
    return row.cpu_s if row else 0.0


def _best(scores: Sequence[float]) -> set[int]:
    return {place for place, score in enumerate(scores) if score == max(scores)}


def _print(active: str, shadow: str, agreements: Sequence[Agreement], whole: Mapping[str, Any]) -> None:
    columns = (
        "run",
        ">miners",
        ">same order",
        "same best",
        ">Spearman",
        ">Kendall",
        f">{active} CPU s?",
        f">{shadow} CPU s?",
    )
    tables.print_table(columns, [tuple(asdict(each).values()) for each in agreements])
    tables.print_lines(
        f"{active} against {shadow}, {tables.counted(whole['runs'], 'run')}, mean and 95 % interval:",
        *(
            f"  {label:<12}{tables.shown(whole[name])}{_width(whole[f'{name}_95'])}"
            for label, name in (
                ("same order", "same_order"),
                ("same best", "same_best"),
                ("Spearman", "spearman"),
                ("Kendall", "kendall"),
            )
        ),
        f"  CPU         {whole['active_cpu_s']:.2f} s and {whole['shadow_cpu_s']:.2f} s",
    )


def _width(value: float | None) -> str:
    return "" if value is None else f" +- {value:.4f}"
