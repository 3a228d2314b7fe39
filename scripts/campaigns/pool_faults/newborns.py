"""Workers that are still starting: killing many in a row would be a crash loop, which the Supervisor must end."""

from __future__ import annotations

import math
import os
import time
from collections import Counter

import psutil

_MOST = 6
"""Half of the deaths in a row at which the Supervisor halts."""
_STARTS_WITHIN_S = 0.5
_STABLE_AFTER_S = 5.0


class Newborns:
    """Counts how often in a row each seat lost a worker that was still starting."""

    def __init__(self) -> None:
        self._in_a_row: Counter[str] = Counter()
        self._seats: dict[int, str] = {}

    def spares(self, name: str, pid: int) -> bool:
        """Return whether the worker `name` must be left to start."""
        self._seats[pid] = name.partition(".")[0]
        return self._in_a_row[self._seats[pid]] >= _MOST and _is_starting(pid)

    def note_kill(self, pid: int | None) -> None:
        """Note that a worker, if there is one, is about to be killed."""
        if pid is None:
            return
        seat = self._seats.pop(pid)
        if _is_starting(pid):
            self._in_a_row[seat] += 1
        elif _age_s(pid) > _STABLE_AFTER_S:
            # What dies in between of its unit does not interrupt the row.
            self._in_a_row[seat] = 0


def _is_starting(pid: int) -> bool:
    """Return whether a process is younger than a start takes at the present load."""
    crowd = max(1.0, os.getloadavg()[0])
    return _age_s(pid) < _STARTS_WITHIN_S * crowd


def _age_s(pid: int) -> float:
    """Return the age of a process; infinite if it has ended."""
    try:
        return time.time() - psutil.Process(pid).create_time()
    except psutil.NoSuchProcess:
        return math.inf
