"""Recomputes stored runs and compares every stored number, bit for bit."""

from __future__ import annotations

import math
import struct
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gaia.cli.replay.units import InputMissing, Key, Outcome, compute, key_of, pool, units_of
from gaia.tasks.defined_tasks.weather.forecasts.outcomes import score_of, total_of
from gaia.tasks.defined_tasks.weather.rules import RULE_SETS, Component, RuleSet
from gaia.validator.db.inputs import Contract
from gaia.validator.utils.identities import Hotkey, RunId

if TYPE_CHECKING:
    from gaia.tasks.defined_tasks.weather.units import LeadScored
    from gaia.validator.db.history import StoredRun
    from gaia.validator.db.rows import ComponentRow, LeadRow

_UNSCORED = Contract(day1_lead_hours=(), final_lead_hours=(), day1_fields=(), final_fields=())
"""Contract of a run without scores; rejected and excused forecasts score the same under any contract."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One stored value that differs from the recomputed one."""

    where: str
    stored: Any
    computed: Any


@dataclass(slots=True, kw_only=True)
class Comparison:
    """Result of comparing stored values with recomputed ones."""

    numbers: int = 0
    """Number of stored values that were compared."""
    differences: list[Difference] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    """Reasons why something could not be recomputed."""

    @property
    def is_same(self) -> bool:
        return not self.differences and not self.problems

    def compare(self, where: str, stored: Any, computed: Any) -> None:
        """Count one value, and note it if a bit differs."""
        self.numbers += 1
        if not same_bits(stored, computed):
            self.differences.append(Difference(where, stored, computed))


@dataclass(slots=True)
class Verdict(Comparison):
    """Result of the replay of one run."""

    run_id: RunId
    imported_from: str | None = None
    """Run of the original validator that its scores come from; they cannot be computed anew."""


def replay(
    runs: Iterable[StoredRun], data_dir: Path, workers: int, done: Callable[[Verdict], None]
) -> list[Verdict]:
    """Recompute `runs` in `workers` processes; call `done` after each run."""
    verdicts = []
    with pool(workers, data_dir) as executor:
        for run in runs:
            verdicts.append(replay_run(run, data_dir, executor))
            done(verdicts[-1])
    return verdicts


def replay_run(run: StoredRun, data_dir: Path, executor: ProcessPoolExecutor) -> Verdict:
    """Recompute one run and compare its components, lead scores and overall scores.

    Of an open run, compare what is scored so far; of an imported run, nothing.
    """
    verdict = Verdict(run.summary.run_id, run.summary.imported_from)
    if verdict.imported_from is not None:
        return verdict
    if run.summary.contract is None and run.leads:
        verdict.problems.append("its leads and fields were not recorded")
        return verdict
    if not run.components and any(row.reason is None for row in run.leads):
        verdict.problems.append("its scores of fields were removed, as GAIA_KEEP_SCORES_DAYS says")
        return verdict
    try:
        units = units_of(run, data_dir)
    except InputMissing as error:
        verdict.problems.append(str(error))
        return verdict
    values: dict[Key, LeadScored] = {}
    for outcome in compute(executor, units):
        values |= _values_of(outcome, verdict)
    _compare_components(run.components, values, verdict)
    scored = _compare_leads(run, values, verdict)
    _compare_totals(run, scored, verdict)
    return verdict


def same_bits(stored: Any, computed: Any) -> bool:
    """Return whether two values are equal, numbers to the last bit and the sign of zero."""
    if isinstance(stored, float) and isinstance(computed, float):
        return struct.pack("<d", stored) == struct.pack("<d", computed)
    return type(stored) is type(computed) and bool(stored == computed)


def _values_of(outcome: Outcome, verdict: Verdict) -> dict[Key, LeadScored]:
    if outcome.value is None:
        verdict.problems += [f"{_name(*key)}: {outcome.problem}" for key in outcome.keys]
        return {}
    return dict.fromkeys(outcome.keys, outcome.value)


def _compare_components(
    stored: Sequence[ComponentRow], values: Mapping[Key, LeadScored], verdict: Verdict
) -> None:
    computed: dict[tuple[Key, str], tuple[Component | None, str | None]] = {
        (key, component.field): (component, value.field_digests[component.field])
        for key, value in values.items()
        for component in value.components
    }
    for row in stored:
        key = key_of(row)
        if key not in values:
            continue
        where = f"{_name(*key)} {row.field}"
        found, digest = computed.pop((key, row.field), (None, None))
        for name, value in sorted(row.measures.items()):
            verdict.compare(f"{where} {name}", value, getattr(found, name, None))
        verdict.compare(f"{where} forecast_digest", row.forecast_digest, digest)
    verdict.problems += [f"{_name(*key)} {name}: was not stored" for key, name in computed]


def _compare_leads(
    run: StoredRun, values: Mapping[Key, LeadScored], verdict: Verdict
) -> dict[tuple[str, str], dict[tuple[str, int], float]]:
    """Compare the score of every lead; return the recomputed scores of each (hotkey, rule set)."""
    contract = run.summary.contract or _UNSCORED
    scored: dict[tuple[str, str], dict[tuple[str, int], float]] = {}
    for row in run.leads:
        rules = RULE_SETS[row.rule_set]
        key = key_of(row)
        score = _lead_score(row, rules, values.get(key), contract)
        if score is not None:
            scored.setdefault(key[:2], {})[row.kind, row.lead_hours] = score
            verdict.compare(f"{_name(*key)} score", row.score, score)
    return scored


def _lead_score(row: LeadRow, rules: RuleSet, value: LeadScored | None, contract: Contract) -> float | None:
    if row.reason is not None:
        # A lead that nobody can be scored at is NaN; a lead that a miner did not deliver has the worst score.
        return math.nan if math.isnan(row.score) else rules.worst
    if value is None:
        return None
    return score_of(rules, row.kind, value.components, contract.final_fields)


def _compare_totals(
    run: StoredRun, scored: Mapping[tuple[str, str], Mapping[tuple[str, int], float]], verdict: Verdict
) -> None:
    contract = run.summary.contract or _UNSCORED
    states = {row.hotkey: row.state for row in run.forecasts}
    stored = Counter((row.hotkey, row.rule_set) for row in run.leads)
    for row in run.scores:
        rules = RULE_SETS[row.rule_set]
        leads = scored.get((row.hotkey, row.rule_set), {})
        if len(leads) < stored[row.hotkey, row.rule_set]:
            continue  # a lead could not be computed, which was said
        active = scored.get((row.hotkey, run.summary.rule_set), {})
        is_whole = active.keys() <= leads.keys()
        state = states[row.hotkey]
        total = total_of(rules, leads, contract, state, is_whole=is_whole)
        where = f"{row.hotkey} {row.rule_set}"
        verdict.compare(f"{where} day1", row.day1, total.day1)
        for lead, score in sorted(row.leads.items()):
            # jsonb does not keep the sign of zero.
            computed = total.leads.get(int(lead))
            verdict.compare(
                f"{where} leads {lead}", score + 0.0, None if computed is None else computed + 0.0
            )
        verdict.compare(f"{where} overall", row.overall, total.overall)
        verdict.compare(f"{where} counted", row.counted, total.counted)


def _name(hotkey: Hotkey, rule_set: str, kind: str, lead_hours: int) -> str:
    return f"{hotkey} {rule_set} {kind} +{lead_hours}h"
