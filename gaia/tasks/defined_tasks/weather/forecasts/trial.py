"""Scores leads by rules on trial, which may do anything, but not to the active ones."""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from typing import TYPE_CHECKING, Final

import structlog

from gaia.tasks.defined_tasks.weather.references.lead_references import PATIENCE, NotPrepared
from gaia.validator.utils.errors import OwnFailure
from gaia.validator.utils.identities import Hotkey

if TYPE_CHECKING:
    from gaia.tasks.defined_tasks.weather.forecasts.score_book import Lead, ScoreBook
    from gaia.tasks.defined_tasks.weather.forecasts.steps import Scoring
    from gaia.tasks.defined_tasks.weather.units import Spooled
    from gaia.validator.db.queries import Forecast

log = structlog.get_logger(__name__)

ATTEMPTS: Final = 5
"""Attempts at a lead that failures of ours may end; then the lead goes on without the rules on trial."""


class Trial:
    """Scores by the shadow rules.

    Parameters
    ----------
    book
        Where scores are stored.
    """

    def __init__(self, book: ScoreBook) -> None:
        self._book = book
        self._spent: Counter[tuple[object, ...]] = Counter()
        """What was tried -> attempts that failures of ours have ended."""
        self._unprepared_since: dict[tuple[object, ...], datetime] = {}
        """In memory only: after a restart, each lead waits anew."""

    def is_tried_again(self, what: tuple[object, ...], error: Exception, now: datetime) -> bool:
        """Return whether `what` failed by a failure of ours, and has attempts left; count this one.

        What the rules cannot have caused is tried again for a day, however often.
        """
        if isinstance(error, NotPrepared):
            return now - self._unprepared_since.setdefault(what, now) < PATIENCE
        self._spent[what] += 1
        return isinstance(error, OwnFailure) and self._spent[what] < ATTEMPTS

    async def score(
        self, forecast: Forecast, lead: Lead, shadow: Scoring, spooled: Spooled, now: datetime
    ) -> None:
        """Score a lead by the shadow rules; log what they make of it if they fail.

        Raises
        ------
        OwnFailure
            If our pool or database failed. It is not raised for ever, because the rules may be its cause.
        """
        key = (forecast.run_id, forecast.hotkey, lead)
        try:
            scored = await shadow.batches.score(Hotkey(forecast.hotkey), spooled)
            await self._book.record_shadow(forecast, lead, scored, shadow.inputs, now)
        except Exception as error:
            if self.is_tried_again(key, error, now):
                raise
            log.error(
                "shadow_failed",
                rule_set=shadow.rules.name,
                kind=lead.kind,
                lead_hours=lead.hours,
                error=f"{type(error).__name__}: {error}",
                once=(shadow.rules.name, type(error).__name__),
            )
        else:
            self._spent.pop(key, None)
