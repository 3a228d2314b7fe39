"""Makes sketches anew that only another data folder holds, so that copies are found at its leads, too."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

import structlog

from gaia.tasks.defined_tasks.weather.copies.copy_book import ATTEMPTS, sketch_folder
from gaia.tasks.defined_tasks.weather.copies.sketch_layout import sketch_name
from gaia.tasks.defined_tasks.weather.lead_kinds import LeadKind
from gaia.validator.db import gram_matrices, queries
from gaia.validator.utils.identities import Hotkey, RunId

if TYPE_CHECKING:
    from gaia.tasks.defined_tasks.weather.forecasts.steps import ForecastSteps, Scoring
    from gaia.tasks.defined_tasks.weather.rules import RuleSet
    from gaia.validator.db.connection import Database
    from gaia.validator.db.queries import Forecast, Run
    from gaia.validator.utils.settings.files import FilesSettings

log = structlog.get_logger(__name__)

PAUSE: Final = timedelta(minutes=5)
WAITS: Final = 288
"""Looks that may find no truth to make a sketch with: those of a day."""
"""Time between two attempts at the sketches of a run."""

ScoringOf = Callable[[int], Awaitable["Scoring | None"]]
"""Lead in hours -> what scores it against ERA5; None while a reference set is missing."""
_Lost = Mapping[int, Sequence[Hotkey]]
"""Lead in hours -> forecasts that were scored there, and whose sketch is not in this data folder."""


class LostSketches:
    """Looks once per run whether sketches of scored forecasts are missing, and makes them anew.

    The chunks come from the miners, as at first; the score stays. A process loses no sketch that it
    made, so a run is looked at until nothing is missing, and then no more.
    """

    def __init__(
        self,
        rules: RuleSet,
        files: FilesSettings,
        *,
        database: Database,
        steps: ForecastSteps,
        look_again: Callable[[datetime], None],
    ) -> None:
        self._rules = rules
        self._data_dir = files.data_dir.resolve()
        self._database = database
        self._steps = steps
        self._look_again = look_again
        self._whole: set[RunId] = set()
        self._attempts: Counter[tuple[RunId, int]] = Counter()
        self._waits: Counter[tuple[RunId, int]] = Counter()
        self._next_at: dict[RunId, datetime] = {}

    async def remake(self, run: Run, scoring: ScoringOf, now: datetime) -> bool:
        """Make the missing sketches of a run; return whether none is left that may still come.

        Raises
        ------
        OwnFailure
            If the database fails.
        """
        # Rules on trial make no sketches, so runs of before their time have none to miss.
        if not self._rules.finds_copies or run.rule_set != self._rules.name or run.run_id in self._whole:
            return True
        if now >= self._next_at.get(run.run_id, now):
            for lead_hours, hotkeys in (await self._lost(run)).items():
                await self._remake_lead(run, lead_hours, hotkeys, scoring)
            if not await self._lost(run):
                self._whole.add(run.run_id)
                return True
            self._next_at[run.run_id] = now + PAUSE
        self._look_again(self._next_at[run.run_id])
        return False

    async def _lost(self, run: Run) -> _Lost:
        """Return what is missing, without the leads that had all their attempts."""
        async with self._database.reading() as connection:
            scored = await gram_matrices.scored_without_matrix(connection, run.run_id, self._rules.name)
        return {
            lead_hours: lost
            for lead_hours, hotkeys in scored.items()
            if self._attempts[run.run_id, lead_hours] < ATTEMPTS
            and (lost := await asyncio.to_thread(self._absent, run, lead_hours, hotkeys))
        }

    def _absent(self, run: Run, lead_hours: int, hotkeys: Sequence[Hotkey]) -> list[Hotkey]:
        folder = sketch_folder(self._data_dir, self._rules, run.run_id, LeadKind.FINAL, lead_hours)
        if folder is None:
            return []
        return [hotkey for hotkey in hotkeys if not (folder / sketch_name(hotkey)).exists()]

    async def _remake_lead(
        self, run: Run, lead_hours: int, hotkeys: Sequence[Hotkey], scoring: ScoringOf
    ) -> None:
        active = await scoring(lead_hours)
        if active is None:
            self._note_wait(run, lead_hours)
            return
        self._attempts[run.run_id, lead_hours] += 1
        async with self._database.reading() as connection:
            forecasts = await queries.forecasts_named(connection, run.run_id, hotkeys)
        async with active.batches:
            made = await asyncio.gather(*(self._try(forecast, lead_hours, active) for forecast in forecasts))
        log.info("sketches_remade", lead_hours=lead_hours, made=sum(made), wanted=len(hotkeys))

    def _note_wait(self, run: Run, lead_hours: int) -> None:
        """Count a look that found no truth; after a day of them, the lead goes on without its sketches."""
        self._waits[run.run_id, lead_hours] += 1
        if self._waits[run.run_id, lead_hours] >= WAITS:
            self._attempts[run.run_id, lead_hours] = ATTEMPTS

    async def _try(self, forecast: Forecast, lead_hours: int, active: Scoring) -> bool:
        try:
            await self._steps.sketch(forecast, lead_hours, active)
        except Exception as error:  # noqa: BLE001 - one forecast's trouble must not stop the others of its run
            words = f"{type(error).__name__}: {error}"
            log.info("sketch_failed", hotkey=forecast.hotkey, lead_hours=lead_hours, error=words)
            return False
        return True
