"""Compares each lead of a run with one set of values, from its first forecast to its last."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

import structlog

from gaia.tasks.defined_tasks.weather.lead_kinds import LeadKind
from gaia.tasks.defined_tasks.weather.references.files import FieldFiles
from gaia.tasks.defined_tasks.weather.references.keys import ReferenceKey, lead_keys
from gaia.validator.db import inputs
from gaia.validator.utils.errors import OwnFailure

if TYPE_CHECKING:
    from gaia.tasks.defined_tasks.weather.forecasts.score_book import Lead
    from gaia.tasks.defined_tasks.weather.references.shelf import ReferenceShelf
    from gaia.tasks.defined_tasks.weather.rules import RuleSet
    from gaia.validator.db.connection import Database
    from gaia.validator.db.inputs import LeadInputs
    from gaia.validator.db.queries import Run
    from gaia.validator.utils.settings.contract import ContractSettings

log = structlog.get_logger(__name__)

PATIENCE: Final = timedelta(hours=24)
"""How long a lead waits for lost files whose source has other values now; then its other forecasts do without it."""
_LOOK_AGAIN: Final = timedelta(minutes=15)

References = Mapping[str, FieldFiles]
"""Role, such as "truth" -> its fields."""
_Scored = tuple[str, str, "Lead"]
"""Run, rule set and lead."""


class NotPrepared(OwnFailure):
    """What a lead is compared with is missing by a fault of ours, which no rules can have caused."""


class LeadReferences:
    """Finds the reference sets of leads.

    The first score of a lead records the digests of its reference fields. All its other forecasts are
    compared with the same values, whatever the sources publish meanwhile. If these values are lost, the
    lead waits for `PATIENCE`: another data folder or a copy may bring them back. Other leads and other
    runs do not wait.
    """

    def __init__(self, contract: ContractSettings, *, database: Database, shelf: ReferenceShelf) -> None:
        self._contract = contract
        self._database = database
        self._shelf = shelf
        self._lost_since: dict[_Scored, datetime] = {}
        """In memory only: after a restart or a takeover, each lead waits anew."""

    async def take(
        self, run: Run, lead: Lead, rules: RuleSet, now: datetime, *, on_trial: bool = False
    ) -> References | None:
        """Return what the lead is compared with; None while a set is missing or its values are lost.

        Rules on trial lose the lead if None is returned, because the active rules do not wait for them.

        Raises
        ------
        NotPrepared
            If the rules are on trial, and a set is missing by a fault of ours.
        OwnFailure
            If the database or the disk fails.
        """
        scored, keys = (run.run_id, rules.name, lead), self._keys(run, lead, rules)
        async with self._database.reading() as connection:
            begun = await inputs.read_inputs(connection, run.run_id, rules.name, *lead)
        own, faults = await self._own(begun) if begun is not None else ({}, [])
        if not faults and all(own.get(role, {}).keys() >= set(key.fields) for role, key in keys.items()):
            self._lost_since.pop(scored, None)
            return own
        taken: dict[str, FieldFiles] = {}
        for role, key in keys.items():
            files = await self._shelf.take(key, now)
            if files is None and on_trial and self._shelf.failed_by_us(key):
                raise NotPrepared(f"{key.reference_id} could not be prepared here")
            if files is None:
                return None
            taken[role] = files
        revised = differing(own, taken)
        if revised and faults:
            self._wait(scored, revised, faults, now)
            return None
        self._lost_since.pop(scored, None)
        return {role: {**files, **own.get(role, {})} for role, files in taken.items()} if revised else taken

    async def hopeless(self, run: Run, lead: Lead, rules: RuleSet, now: datetime) -> str | None:
        """Return why the forecasts of a lead that are not scored yet can never be; None if they still can."""
        since = self._lost_since.get((run.run_id, rules.name, lead))
        if since is not None and now - since >= PATIENCE:
            return "its source has revised what other forecasts were compared with, and no copy came back"
        for key in self._keys(run, lead, rules).values():
            if await self._shelf.is_given_up(key):
                return f"{key.reference_id} was not there in time"
        return None

    async def _own(self, begun: LeadInputs) -> tuple[References, list[str]]:
        """Return the values that a lead began with, and one sentence for each file that is lost."""
        own: dict[str, FieldFiles] = {}
        faults: list[str] = []
        for role, digests in begun.digests.items():
            paths = begun.payload[role]
            recorded = {field: {"path": paths[field], "sha256": sha} for field, sha in digests.items()}
            own[role] = self._shelf.files.placed(recorded)
            damage = await asyncio.to_thread(self._shelf.files.damage, own[role])
            faults += [f"{role}: {fault}" for fault in damage]
        return own, faults

    def _wait(self, scored: _Scored, revised: list[str], lost: list[str], now: datetime) -> None:
        """Let the lead wait for lost values that its source has revised."""
        until = self._lost_since.setdefault(scored, now) + PATIENCE
        self._shelf.look_again(min(max(until, now), now + _LOOK_AGAIN))
        log.error(
            "lead_inputs_lost",
            lead_hours=scored[2].hours,
            revised=revised,
            lost=lost,
            until=until.isoformat(),
            once=(" ".join(map(str, scored)), str(until)),
        )

    def _keys(self, run: Run, lead: Lead, rules: RuleSet) -> dict[str, ReferenceKey]:
        fields = self._contract.day1_fields if lead.kind == LeadKind.DAY1 else self._contract.final_fields
        return lead_keys(lead.kind, run.init_time, lead.hours, fields, rules.measures)


def differing(own: References, taken: References) -> list[str]:
    """Return "role field" of each field in both whose values differ, sorted."""
    return sorted(
        f"{role} {field}"
        for role, files in own.items()
        for field, entry in files.items()
        if field in taken.get(role, {}) and taken[role][field].sha256 != entry.sha256
    )
