"""Scores stored runs under other fields, leads or rules, from the measures that are stored with them."""

from __future__ import annotations

import math
from collections.abc import AsyncIterable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from gaia.cli.replay.runs import same_bits
from gaia.tasks.defined_tasks.weather.forecasts.outcomes import Total, expected_leads, score_of, total_of
from gaia.tasks.defined_tasks.weather.lead_kinds import LeadKind
from gaia.tasks.defined_tasks.weather.rules import RULE_SETS, Component, RuleSet
from gaia.validator.db.journal import WindowScore
from gaia.validator.utils.errors import GaiaError
from gaia.validator.utils.identities import RunId

if TYPE_CHECKING:
    from gaia.validator.db.history import StoredRun
    from gaia.validator.db.inputs import Contract
    from gaia.validator.db.rows import ComponentRow, LeadRow
    from gaia.validator.utils.identities import Hotkey

_MEASURES = {each.name for each in fields(Component)} - {"field", "lead_hours"}
Lead = tuple["Hotkey", str, int]
"""(hotkey, kind, lead in hours)."""
Components = Mapping[Lead, Sequence[Component]]


class NotReplayed(GaiaError):
    """A stored run lacks what its scores under a change would be computed from."""


@dataclass(frozen=True, slots=True)
class Rescored:
    """The scores of one run under a change, or the stored ones and why."""

    run_id: RunId
    scores: Sequence[WindowScore]
    problem: str = ""


def rescored(
    run: StoredRun,
    components: Components,
    stored: Sequence[WindowScore],
    rule_set: str,
    changes: Mapping[str, Sequence[Any]],
) -> Rescored:
    """Return the scores of one run computed anew, or as they are stored, with the reason.

    The run is first computed as it was scored. Only if that gives every stored bit, its measures
    count as complete, and the changes are applied.

    Parameters
    ----------
    components
        The run's measures under `rule_set`.
    stored
        The run's scores under it.
    changes
        Name of a part of the contract -> its changed leads or fields.
    """
    try:
        measures = Measures(RULE_SETS[rule_set], of_rules(run.leads, rule_set), components)
        return Rescored(run.summary.run_id, _rescored(run, measures, stored, changes))
    except NotReplayed as error:
        return Rescored(run.summary.run_id, stored, str(error))


def _rescored(
    run: StoredRun, measures: Measures, stored: Sequence[WindowScore], changes: Mapping[str, Sequence[Any]]
) -> list[WindowScore]:
    contract = contract_of(run)
    as_it_was = [measures.under(contract, score) for score in stored]
    differing = sum(map(_differs, stored, as_it_was))
    if differing:
        raise NotReplayed(f"the stored measures do not give {differing} of its stored scores")
    changed = changed_contract(contract, changes)
    return [measures.under(changed, score) for score in stored]


def contract_of(run: StoredRun) -> Contract:
    """Return the leads and fields of a run.

    Raises
    ------
    NotReplayed
        If they were not recorded.
    """
    if run.summary.imported_from is not None:
        raise NotReplayed(f"it is imported from {run.summary.imported_from}")
    if run.summary.contract is None:
        raise NotReplayed("its leads and fields were not recorded")
    return run.summary.contract


def changed_contract(contract: Contract, changes: Mapping[str, Sequence[Any]]) -> Contract:
    """Return the contract with other leads and fields.

    Raises
    ------
    NotReplayed
        If one of them was not scored.
    """
    for name, wanted in changes.items():
        unscored = [str(each) for each in wanted if each not in getattr(contract, name)]
        if unscored:
            unit = " h" if name.endswith("hours") else ""
            raise NotReplayed(f"{unscored[0]}{unit} was not scored ({name})")
    return replace(contract, **changes)


class Measures:
    """Leads and measures of one run under one rule set.

    Parameters
    ----------
    leads
        Its leads; a reason says why one has no measures.
    components
        (hotkey, kind, lead in hours) -> its measures.
    """

    def __init__(self, rules: RuleSet, leads: Iterable[LeadRow], components: Components) -> None:
        self._rules = rules
        self._components = components
        self._leads: dict[str, list[LeadRow]] = {}
        for lead in leads:
            self._leads.setdefault(lead.hotkey, []).append(lead)

    def under(self, contract: Contract, score: WindowScore) -> WindowScore:
        """Return the scores of one forecast under `contract`; those of a forecast without any stay.

        Raises
        ------
        NotReplayed
            If measures are missing.
        """
        if score.overall is None:
            return score
        total = self._total(score, contract)
        # jsonb does not keep the sign of zero.
        leads = {lead: value + 0.0 for lead, value in total.leads.items()}
        return replace(score, overall=total.overall, leads=leads)

    def _total(self, score: WindowScore, contract: Contract) -> Total:
        scored = {
            (row.kind, row.lead_hours): self._score(row, contract)
            for row in self._leads.get(score.hotkey, ())
            if row.lead_hours in expected_leads(contract, row.kind)
        }
        return total_of(self._rules, scored, contract, score.state)

    def _score(self, row: LeadRow, contract: Contract) -> float:
        if row.reason is not None:
            # A lead that nobody can be scored at is NaN; a lead that a miner did not deliver has the worst score.
            return math.nan if math.isnan(row.score) else self._rules.worst
        measured = self._components.get((row.hotkey, row.kind, row.lead_hours))
        if measured is None:
            raise NotReplayed("measures of it are no longer stored")
        if row.kind == LeadKind.DAY1:
            measured = [each for each in measured if each.field in contract.day1_fields]
        return score_of(self._rules, row.kind, measured, contract.final_fields)


def of_rules(leads: Iterable[LeadRow], rule_set: str) -> list[LeadRow]:
    """Return the leads under one rule set."""
    return [lead for lead in leads if lead.rule_set == rule_set]


async def components_of(rows: AsyncIterable[ComponentRow]) -> Components:
    """Return the measures of stored rows by forecast and lead; measures of other releases are left out."""
    found: dict[Lead, list[Component]] = {}
    async for row in rows:
        known: Mapping[str, Any] = {name: value for name, value in row.measures.items() if name in _MEASURES}
        component = Component(field=row.field, lead_hours=row.lead_hours, **known)
        found.setdefault((row.hotkey, row.kind, row.lead_hours), []).append(component)
    return found


def _differs(stored: WindowScore, computed: WindowScore) -> bool:
    return (
        not same_bits(stored.overall, computed.overall)
        or stored.leads.keys() != computed.leads.keys()
        or any(not same_bits(stored.leads[lead] + 0.0, value) for lead, value in computed.leads.items())
    )
