"""Freeze windows: our own absence never shortens a miner's time."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from gaia.validator.utils.errors import LateManifest, MissedByUs

if TYPE_CHECKING:
    from gaia.validator.db.queries import Forecast

LONGEST_ABSENCE: Final = timedelta(hours=6)
"""Largest extension of a window; later, the analysis of a scored lead may be public."""


@dataclass(frozen=True, slots=True)
class FreezeWindow:
    """The time in which manifests of one run can be frozen.

    The lateness of a request is the time between its due moment and its sending. Lateness of
    `grain` or more counts as our absence, and moves the end of the miner's window.
    """

    length: timedelta
    """Length of the window, from the opening of the run."""
    grain: timedelta
    """Time between two requests; less lateness loses no request."""

    def end_of(self, forecast: Forecast) -> datetime:
        """Return the last due moment of a request that may freeze the manifest."""
        return forecast.window_ends_at or forecast.opened_at + self.length

    def extended(self, forecast: Forecast, now: datetime) -> datetime | None:
        """Return the new end of the window if a request sent at `now` is late; None if it is in time.

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
        """Return if a request sent at `now` may still freeze the manifest.

        Raises
        ------
        MinerFault
            If the request was due after the window, so that the miner had its time.
        MissedByUs
            If it was due in time, but the validator was away for too long.
        """
        if forecast.next_at > self.end_of(forecast):
            raise LateManifest(f"no manifest within {self.length.total_seconds() / 3600:g} h")
        if now > self._latest(forecast):
            raise MissedByUs(
                f"the validator did not ask between {forecast.next_at:%Y-%m-%d %H:%M} and {now:%Y-%m-%d %H:%M}"
            )

    def _latest(self, forecast: Forecast) -> datetime:
        return forecast.opened_at + self.length + LONGEST_ABSENCE
