"""Draws the moments of a life that are backed up, and what becomes of each backup."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from random import Random
from typing import TYPE_CHECKING, Final

from gaia.localnet.options import BLOCK_TIME_S, FIRST_INIT_TIME, TEMPO

if TYPE_CHECKING:
    from gaia.localnet.options import Options

OPENS_AFTER: Final = timedelta(hours=18)
_LAST_WORK: Final = timedelta(days=15)
"""Time after the last initial time in which nearly all of its work is done."""
_ASKING: Final = (timedelta(minutes=-30), timedelta(minutes=40))
"""Around an opening, when runs are opened, miners are asked and manifests are frozen."""
_LEAST_LATER, _MOST_LATER = timedelta(minutes=10), timedelta(days=3)
_SPARED: Final = timedelta(hours=1)


class Way(StrEnum):
    """What the calendar does with a restore."""

    BACK = "back"
    """It goes back with the database, so that each run can be completed."""
    ON = "on"
    """It stands still while the validator is away, as the hours of a restore are few; what passed before, passed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One backup and its restore."""

    at: datetime
    """Calendar time of the backup, or the next moment after it at which the calendar stands."""
    later: timedelta
    """Time of the calendar until the restore."""
    delay_s: float
    """Real seconds of work before the backup, in which the calendar stands still."""
    wait_s: float
    """Real seconds of the chain before the restore, in which the calendar stands still."""
    is_killed: bool
    """Whether the validator is killed, and not stopped."""
    is_live_verified: bool
    """Whether the backup is verified beside the running validator, and not after its end."""
    is_elsewhere: bool
    """Whether nothing of the data folder but the backups is left, as on another machine."""
    is_of_one_epoch: bool
    """Whether the chain is in the same epoch before and after the restore, as it nearly always is on the network."""


def plans_of(random: Random, options: Options, number: int) -> list[Plan]:
    """Return so many plans, in the order of their moments; every other one is close to the opening of a run."""
    moments = sorted(_moment(random, options, is_close=not each % 2) for each in range(number))
    return [
        Plan(
            at=moment,
            later=_later(random),
            delay_s=random.uniform(0.2, 1.5),
            wait_s=random.uniform(0.2, 1.7 * TEMPO * BLOCK_TIME_S),
            is_killed=random.random() < 0.5,
            is_live_verified=random.random() < 0.5,
            is_elsewhere=random.random() < 0.25,
            is_of_one_epoch=random.random() < 0.75,
        )
        for moment in moments
    ]


def spared(begun: datetime, later: timedelta, openings: Sequence[datetime]) -> timedelta:
    """Return `later`, or a time short enough that the last run can still be asked after the restore."""
    last = openings[-1]
    loses_last = begun < last + _SPARED and begun + later > last
    return min(later, timedelta(minutes=30)) if loses_last else later


def openings_of(options: Options) -> list[datetime]:
    """Return when each run opens."""
    return [FIRST_INIT_TIME + timedelta(days=day) + OPENS_AFTER for day in range(options.days)]


def _moment(random: Random, options: Options, *, is_close: bool) -> datetime:
    if is_close:
        least, most = _ASKING
        return random.choice(openings_of(options)) + least + random.random() * (most - least)
    start = options.clock_start
    return start + random.random() * (options.last_init_time + _LAST_WORK - start)


def _later(random: Random) -> timedelta:
    """Return minutes as often as hours, and hours as often as days."""
    least, most = math.log(_LEAST_LATER.total_seconds()), math.log(_MOST_LATER.total_seconds())
    return timedelta(seconds=math.exp(random.uniform(least, most)))
