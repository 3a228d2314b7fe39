"""Until when a manifest may be frozen: our own absence never shortens a miner's time."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from gaia.validator.utils.errors import MinerFault, MissedByUs

if TYPE_CHECKING:
    from gaia.validator.db.queries import Forecast

LONGEST_ABSENCE: Final = timedelta(hours=6)
"""A window grows by this at most: later, the analysis of a scored lead may be public."""


@dataclass(frozen=True, slots=True)
class FreezeWindow:
    """The time in which one run's manifests are frozen.

    A question is late by the time between its due moment and the moment we put it.
    Lateness of `grain` or more is our absence, and moves the end of the miner's window.
    """

    length: timedelta
    """From the opening of the run, when we are always there."""
    grain: timedelta
    """Time between two questions; less lateness loses no question."""

    def end_of(self, forecast: Forecast) -> datetime:
        """Return the last due moment at which a question may still freeze the manifest."""
        return forecast.window_ends_at or forecast.opened_at + self.length

    def extended(self, forecast: Forecast, now: datetime) -> datetime | None:
        """Return the new end of a window when a question put at `now` is late; None when it is not.

        >>> from datetime import UTC
        >>> opened = datetime(2026, 3, 25, 18, tzinfo=UTC)
        >>> due = Forecast(run_id="", hotkey="", uid=1, registered_at=0, state="requested", attempts=0,
        ...     opened_at=opened, next_at=opened, job_id=None, manifest_sha256=None, window_ends_at=None)
        >>> window = FreezeWindow(timedelta(hours=2), timedelta(minutes=5))
        >>> window.extended(due, opened + timedelta(hours=3)) - opened
        datetime.timedelta(seconds=18000)
        >>> window.extended(due, opened + timedelta(minutes=1)) is None
        True
        """
        late = now - forecast.next_at
        if late < self.grain:
            return None
        return min(self.end_of(forecast) + late, self._latest(forecast))

    def require_open(self, forecast: Forecast, now: datetime) -> None:
        """Return if the question that is put at `now` may still bind the miner.

        Raises
        ------
        MinerFault
            If it was due after the window: the miner had its time.
        MissedByUs
            If it was due in time, and we were away so long that nobody may be bound any more.
        """
        if forecast.next_at > self.end_of(forecast):
            raise MinerFault(f"no manifest within {self.length.total_seconds() / 3600:g} h")
        if now > self._latest(forecast):
            raise MissedByUs(f"not asked between {forecast.next_at:%Y-%m-%d %H:%M} and {now:%Y-%m-%d %H:%M}")

    def _latest(self, forecast: Forecast) -> datetime:
        return forecast.opened_at + self.length + LONGEST_ABSENCE
