"""Scores runs under rules that never scored them, from the inputs that were kept."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from gaia.cli.replay.units import InputMissing, StoredUnit, compute, store_of, units_of
from gaia.cli.whatif.rescoring import (
    Lead,
    Measures,
    NotReplayed,
    Rescored,
    changed_contract,
    contract_of,
    of_rules,
)
from gaia.tasks.defined_tasks.weather.lead_kinds import LeadKind
from gaia.tasks.defined_tasks.weather.references.keys import lead_keys
from gaia.tasks.defined_tasks.weather.rules import RULE_SETS, Component, RuleSet

if TYPE_CHECKING:
    from gaia.validator.db.history import StoredRun
    from gaia.validator.db.journal import WindowScore


def remeasured(
    run: StoredRun,
    stored: Sequence[WindowScore],
    rule_set: str,
    changes: Mapping[str, Sequence[Any]],
    data_dir: Path,
    executor: ProcessPoolExecutor,
) -> Rescored:
    """Return the scores of a run under rules that never scored it, or none and the reason.

    Each forecast is decoded and measured again, as the compute workers would have done.

    Parameters
    ----------
    run
        The run with its manifests.
    stored
        Its scores under the rules that did score it.
    changes
        Name of a part of the contract -> its changed leads or fields.
    """
    rules = RULE_SETS[rule_set]
    try:
        contract = changed_contract(contract_of(run), changes)
        units = list(_units(run, rules, data_dir))
        measures = Measures(rules, of_rules(run.leads, run.summary.rule_set), _measured(units, executor))
        return Rescored(run.summary.run_id, [measures.under(contract, score) for score in stored])
    except (InputMissing, NotReplayed) as error:
        return Rescored(run.summary.run_id, [], str(error))


def _units(run: StoredRun, rules: RuleSet, data_dir: Path) -> Iterator[StoredUnit]:
    """Yield the units of the run's own rules, with the measures that `rules` need."""
    run_id = run.summary.run_id
    hotkeys = {row.hotkey for row in run.components}
    if any(not store_of(data_dir, run_id, hotkey).is_dir() for hotkey in hotkeys):
        raise NotReplayed("its chunks were not kept")
    for stored in units_of(run, data_dir, rule_set=run.summary.rule_set):
        (key,) = stored.keys
        _, _, kind, lead_hours = key
        fields = stored.unit.fields
        needed = lead_keys(kind, run.summary.init_time, lead_hours, fields, rules.measures)
        missing = [role for role in needed if not getattr(stored.unit, role)]
        if missing:
            raise NotReplayed(f"the {missing[0]} that {rules.name} compares with was not fetched")
        yield replace(stored, unit=msgspec.structs.replace(stored.unit, measures=rules.measures))


def _measured(units: Sequence[StoredUnit], executor: ProcessPoolExecutor) -> dict[Lead, list[Component]]:
    found: dict[Lead, list[Component]] = {}
    for outcome in compute(executor, units):
        if outcome.value is None:
            raise NotReplayed(outcome.problem)
        for hotkey, _, kind, lead_hours in outcome.keys:
            found[hotkey, LeadKind(kind), lead_hours] = outcome.value.components
    return found
