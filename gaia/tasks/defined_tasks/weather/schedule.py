"""Computes which runs are due, and when the next run opens."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING

from gaia.validator.utils.identities import RunId

if TYPE_CHECKING:
    from gaia.validator.utils.settings.schedule import ScheduleSettings

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TEST_EVERY = timedelta(minutes=30)
_GFS_CYCLE = timedelta(hours=6)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cadence:
    """Rule that decides when runs open.

    The run for 00Z of a day opens on that day at `opens_after`, plus a random part of `jitter`.
    The part is drawn once a day from `salt`, so that validators do not all ask at once. With
    `hindcast`, a run opens every half hour, for the GFS cycle `hindcast` ago.
    """

    opens_after: timedelta
    jitter: timedelta
    look_back: timedelta
    salt: str
    last_run: datetime | None = None
    hindcast: timedelta | None = None

    @classmethod
    def of(cls, settings: ScheduleSettings, *, salt: str) -> Cadence:
        """Return the cadence that the operator has set."""
        return cls(
            opens_after=timedelta(hours=settings.run_hour_utc, minutes=settings.run_minute_utc),
            jitter=timedelta(minutes=settings.run_jitter_minutes),
            look_back=timedelta(hours=settings.run_look_back_hours),
            salt=salt,
            last_run=settings.last_run,
            hindcast=timedelta(days=settings.hindcast_days) if settings.test_mode else None,
        )

    def earliest(self, now: datetime) -> datetime:
        """Return a time before the initial time of every run that could be due now."""
        return now - self.look_back - (self.hindcast or timedelta()) - timedelta(days=2)

    def openings(self, start: datetime, end: datetime) -> Iterator[tuple[datetime, datetime]]:
        """Yield (opens_at, init_time) of all runs that open in [start, end], oldest first."""
        if self.hindcast is not None:
            moment = _floor(start, _TEST_EVERY)
            while moment <= end:
                if moment >= start:
                    yield moment, _floor(moment - self.hindcast, _GFS_CYCLE)
                moment += _TEST_EVERY
            return
        day = _floor(start, timedelta(days=1)) - timedelta(days=1)
        while day <= end:
            opens_at = day + self.opens_after + self.jitter * _fraction(self.salt, day)
            if start <= opens_at <= end and (self.last_run is None or day <= self.last_run):
                yield opens_at, day
            day += timedelta(days=1)


def due_runs(now: datetime, recorded: Collection[datetime], cadence: Cadence) -> list[datetime]:
    """Return the initial times of runs that opened recently and are not recorded, oldest first.

    It looks for what is missing, not for what just happened. A late, lost or repeated tick
    therefore does no harm.
    """
    due: list[datetime] = []
    for _, init_time in cadence.openings(now - cadence.look_back, now):
        if init_time not in recorded and init_time not in due:
            due.append(init_time)
    return due


def next_opening(now: datetime, recorded: Collection[datetime], cadence: Cadence) -> datetime | None:
    """Return when the next unrecorded run opens; None if none opens within two days."""
    for opens_at, init_time in cadence.openings(now, now + timedelta(days=2)):
        if opens_at > now and init_time not in recorded:
            return opens_at
    return None


def run_id_of(init_time: datetime) -> RunId:
    """Return the id of a run, such as "2026-03-25T00Z"."""
    return RunId(init_time.strftime("%Y-%m-%dT%HZ"))


def _floor(moment: datetime, step: timedelta) -> datetime:
    return _EPOCH + (moment - _EPOCH) // step * step


@lru_cache(maxsize=64)
def _fraction(salt: str, day: datetime) -> float:
    """Return a number in [0, 1) that depends only on the day and the salt."""
    digest = hashlib.sha256(f"{salt}:{day:%Y%m%d}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64
