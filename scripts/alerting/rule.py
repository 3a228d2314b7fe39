"""Alerts and recording rules as data, and their expressions with all durations divided by one number."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

PREFIX: Final = "Validator"
INSTANCE: Final = "gaia:9090"
"""Instance in the tests of the rules."""
JOB: Final = "gaia"
"""Name of the scrape job; `up` and `absent` need it."""

_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_DURATION: Final = r"(\d+)([smhd])"
_IN_SECONDS: Final = re.compile(rf"seconds\({_DURATION}\)")
_ON_THE_CALENDAR: Final = re.compile(rf"calendar\({_DURATION}\)")
_RANGES: Final = re.compile(rf"(\[|offset ){_DURATION}(\]?)")
_SHORTEST_RANGE_S: Final = 5
"""A range must hold a few samples, also where durations are divided."""


class Severity(StrEnum):
    """What an alert asks of the operator."""

    CRITICAL = "critical"
    WARNING = "warning"
    INFO = "info"
    NONE = "none"
    """It only shows that alerts arrive."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """One series of a test, in promtool's notation."""

    name: str
    values: str
    labels: Mapping[str, str] = field(default_factory=dict)

    @property
    def selector(self) -> str:
        """The series with the labels that each scrape adds."""
        every = {"instance": INSTANCE, "job": JOB, **self.labels}
        return self.name + "{" + ", ".join(f'{key}="{value}"' for key, value in every.items()) + "}"


def series(name: str, values: str, **labels: str) -> Series:
    """Return a series of a test.

    >>> series("gaia_ipc_queue_depth", "0+1x9", queue="work").selector
    'gaia_ipc_queue_depth{instance="gaia:9090", job="gaia", queue="work"}'
    """
    return Series(name=name, values=values, labels=labels)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """Samples, and the moment at which an alert is looked at."""

    given: Sequence[Series]
    at: str
    labels: Mapping[str, str] = field(default_factory=dict)
    """Labels of the alert besides instance, job, severity and page."""
    says: str = ""
    """Expected description."""
    every: str = "1m"
    """Interval of the samples."""
    of_instance: bool = True
    """Whether the alert names the validator."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """One alert with its tests.

    `expr` is PromQL, but `seconds(3h)` and `calendar(3h)` in it become numbers. The latter is a time of
    the validator's calendar, which a rehearsal runs through in minutes.
    """

    name: str
    """Name without the prefix."""
    expr: str
    severity: Severity
    summary: str
    description: str
    fires: Case
    silent: Case | None
    """None: the alert always fires."""
    wait: str = ""
    """Time for which the condition must hold; empty: none."""
    page: bool = False
    """Whether it wakes a person."""
    why: str = ""
    """Reason for the threshold or the form; a comment beside the rule."""

    @property
    def full_name(self) -> str:
        return PREFIX + self.name


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """An expression that is used more than once."""

    name: str
    expr: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Rules about one part of the validator."""

    name: str
    alerts: Sequence[Alert]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """Number by which a rehearsal divides all durations but those of the calendar."""

    speed: float = 1.0

    def expression(self, expr: str) -> str:
        """Return PromQL with plain numbers and divided durations.

        >>> Pace().expression("time() - x > seconds(3h)")
        'time() - x > 10800'
        >>> Pace(speed=60).expression("rate(x[15m]) > seconds(1h)")
        'rate(x[15s]) > 60'
        >>> Pace(speed=60).expression("age > calendar(1h)")
        'age > 3600'
        """
        dated = _ON_THE_CALENDAR.sub(lambda found: str(int(found[1]) * _UNITS[found[2]]), expr)
        plain = _IN_SECONDS.sub(lambda found: f"{self._seconds(found[1], found[2]):g}", dated)
        return _RANGES.sub(
            lambda found: f"{found[1]}{self._range(found[2], found[3])}{found[4]}",
            plain,
        )

    def wait(self, duration: str) -> str:
        """Return the duration of `for`, divided.

        >>> Pace(speed=60).wait("10m"), Pace().wait("10m"), Pace(speed=600).wait("5m")
        ('10s', '10m', '1s')
        """
        found = re.fullmatch(_DURATION, duration)
        assert found is not None, duration
        return duration if self.speed == 1 else f"{max(1, round(self._seconds(found[1], found[2])))}s"

    def _range(self, number: str, unit: str) -> str:
        if self.speed == 1:
            return number + unit
        return f"{max(_SHORTEST_RANGE_S, round(self._seconds(number, unit)))}s"

    def _seconds(self, number: str, unit: str) -> float:
        return int(number) * _UNITS[unit] / self.speed


def seconds_of(duration: str) -> float:
    """Return the length of a duration.

    >>> seconds_of("6h")
    21600.0
    """
    found = re.fullmatch(_DURATION, duration)
    assert found is not None, duration
    return float(int(found[1]) * _UNITS[found[2]])
