"""Compares each lead of a run with one set of values, from its first forecast to its last."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

import structlog

from gaia.tasks.defined_tasks.weather.lead_kinds import LeadKind
from gaia.tasks.defined_tasks.weather.references.files import FieldFiles, ReferenceFiles
from gaia.tasks.defined_tasks.weather.references.keys import ReferenceKey, lead_keys
from gaia.validator.db import inputs

if TYPE_CHECKING:
    from gaia.tasks.defined_tasks.weather.forecasts.score_book import Lead
    from gaia.tasks.defined_tasks.weather.references.shelf import ReferenceShelf
    from gaia.tasks.defined_tasks.weather.rules import RuleSet
    from gaia.validator.db.connection import Database
    from gaia.validator.db.inputs import LeadInputs
    from gaia.validator.db.queries import Run
    from gaia.validator.utils.settings.contract import ContractSettings
    from gaia.validator.utils.settings.files import FilesSettings

log = structlog.get_logger(__name__)

PATIENCE: Final = timedelta(hours=24)
"""How long a lead waits for lost files whose source has other values now; then its other forecasts do without it."""
_LOOK_AGAIN: Final = timedelta(minutes=15)

References = Mapping[str, FieldFiles]
"""Role, such as "truth" -> its fields."""
_Scored = tuple[str, str, "Lead"]
"""Run, rule set and lead."""


class LeadReferences:
    """Finds the reference sets of leads.

    The first score of a lead records the digests of its reference fields. All its other forecasts are
    compared with the same values, whatever the sources publish meanwhile. If these values are lost, the
    lead waits for `PATIENCE`: another data folder or a copy may bring them back. Other leads and other
    runs do not wait.
    """

    def __init__(
        self, contract: ContractSettings, files: FilesSettings, *, database: Database, shelf: ReferenceShelf
    ) -> None:
        self._contract = contract
        self._database = database
        self._shelf = shelf
        self._files = ReferenceFiles(files.data_dir.resolve())
        self._lost_since: dict[_Scored, datetime] = {}
        """In memory only: after a restart or a takeover, each lead waits anew."""

    async def take(self, run: Run, lead: Lead, rules: RuleSet, now: datetime) -> References | None:
        """Return what the lead is compared with; None while a set is missing or its values are lost.

        Raises
        ------
        OwnFailure
            If the database or the disk fails.
        """
        taken: dict[str, FieldFiles] = {}
        for role, key in self._keys(run, lead, rules).items():
            files = await self._shelf.take(key, now)
            if files is None:
                return None
            taken[role] = files
        async with self._database.reading() as connection:
            begun = await inputs.read_inputs(connection, run.run_id, rules.name, *lead)
        if begun is None or not (revised := differing(begun, taken)):
            self._lost_since.pop((run.run_id, rules.name, lead), None)
            return taken
        return await self._as_begun((run.run_id, rules.name, lead), begun, taken, revised, now)

    async def hopeless(self, run: Run, lead: Lead, rules: RuleSet, now: datetime) -> str | None:
        """Return why the forecasts of a lead that are not scored yet can never be; None if they still can."""
        since = self._lost_since.get((run.run_id, rules.name, lead))
        if since is not None and now - since >= PATIENCE:
            return "its source has revised what other forecasts were compared with, and no copy came back"
        if lead.kind != LeadKind.DAY1:
            return None
        for key in self._keys(run, lead, rules).values():
            if await self._shelf.is_given_up(key):
                return f"{key.reference_id} was not published in time"
        return None

    async def _as_begun(
        self, scored: _Scored, begun: LeadInputs, taken: References, revised: list[str], now: datetime
    ) -> References | None:
        """Return the values that the lead began with, from their own files; None if one is lost."""
        recorded = {
            role: self._files.placed(
                {
                    field: {"path": begun.payload[role][field], "sha256": sha256}
                    for field, sha256 in digests.items()
                }
            )
            for role, digests in begun.digests.items()
        }
        damage = [
            f"{role}: {fault}"
            for role, fields in recorded.items()
            for fault in await asyncio.to_thread(self._files.damage, fields)
        ]
        if not damage:
            self._lost_since.pop(scored, None)
            return {role: {**files, **recorded.get(role, {})} for role, files in taken.items()}
        until = self._lost_since.setdefault(scored, now) + PATIENCE
        self._shelf.look_again(min(max(until, now), now + _LOOK_AGAIN))
        log.error(
            "lead_inputs_lost",
            lead_hours=scored[2].hours,
            revised=revised,
            lost=damage,
            until=until.isoformat(),
            once=(*scored, until),
        )
        return None

    def _keys(self, run: Run, lead: Lead, rules: RuleSet) -> dict[str, ReferenceKey]:
        fields = self._contract.day1_fields if lead.kind == LeadKind.DAY1 else self._contract.final_fields
        return lead_keys(lead.kind, run.init_time, lead.hours, fields, rules.measures)


def differing(begun: LeadInputs, taken: References) -> list[str]:
    """Return "role field" of each field in both whose values differ, sorted."""
    return sorted(
        f"{role} {field}"
        for role, digests in begun.digests.items()
        for field, sha256 in digests.items()
        if field in taken.get(role, {}) and taken[role][field].sha256 != sha256
    )
