"""Waits after failures of a source, and the log levels of these failures."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Final

from gaia.tasks.defined_tasks.weather.sources.refusals import Overdue, Reason, SourceRefusal
from gaia.validator.utils.errors import (
    ConfigurationError,
    GaiaError,
    NotYetAvailable,
    OwnFailure,
)

LONGEST_WAIT: Final = timedelta(hours=1)
"""Longest wait after a failure that may end soon."""
LONGEST_WAIT_FOR_PEOPLE: Final = timedelta(hours=4)
"""Longest wait after a failure that needs an operator or another day."""

_MOST_DOUBLINGS = 10


def wait_after(error: GaiaError, attempt: int, usual: timedelta) -> timedelta:
    """Return the wait after `attempt` (1 is the first) failed with `error`.

    The first wait is `usual`, or what the source asks for. It doubles with each attempt,
    except after failures of our own.

    Examples
    --------
    >>> error = GaiaError("503")
    >>> [str(wait_after(error, attempt, timedelta(minutes=15))) for attempt in (1, 2, 3, 9)]
    ['0:15:00', '0:30:00', '1:00:00', '1:00:00']
    """
    if isinstance(error, OwnFailure):
        return usual
    first, longest = usual, LONGEST_WAIT
    if isinstance(error, ConfigurationError):
        longest = LONGEST_WAIT_FOR_PEOPLE
    elif isinstance(error, SourceRefusal):
        first = error.wait or usual
        if error.reason.needs_operator or error.reason in (Reason.DAILY, Reason.QUEUE):
            longest = LONGEST_WAIT_FOR_PEOPLE
    doublings = min(attempt - 1, _MOST_DOUBLINGS)
    grown: timedelta = first * 2**doublings
    return min(grown, max(longest, first))


def level_of(error: GaiaError) -> int:
    """Return the log level of `error`: ERROR if an operator must act."""
    if isinstance(error, Overdue):
        return logging.WARNING
    if isinstance(error, NotYetAvailable):
        return logging.INFO
    must_act = isinstance(error, ConfigurationError | OwnFailure)
    if must_act or (isinstance(error, SourceRefusal) and error.reason.needs_operator):
        return logging.ERROR
    return logging.WARNING


def subject_of(error: GaiaError) -> str:
    """Return the subject of `error`; only the first of several errors with one subject is logged loudly."""
    if isinstance(error, SourceRefusal):
        return f"refused: {error.reason}"
    if isinstance(error, NotYetAvailable):
        return type(error).__name__
    return f"{type(error).__name__}: {error}"
