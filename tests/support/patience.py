"""How long tests wait: seconds as on a machine of one's own, times how many others want its cores.

Patience follows the load; counts and order never do. Waiting longer costs a test that passes nothing.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

MOST = 20.0
"""Times longer than on a free machine, at most: what hangs is to be found in minutes."""

LEAST_PACE, MOST_PACE = 2.0, 10.0
"""Bounds of `pace`."""

_PROCESSES = Path("/proc/loadavg")
_LOOK_EVERY_S = 0.5
_MEASURED = [float("-inf"), 1.0]
"""When the load was measured last, on the monotonic clock, and what was found."""


def slowness() -> float:
    """Return how many times longer than on a free machine work may take here now, from 1 to `MOST`.

    A process gets a core for a share of the time, and what a test waits for takes several turns of several
    processes. So each process that wants a core counts twice once there are more of them than cores.
    """
    measured_at, found = _MEASURED
    now = time.monotonic()
    if now - measured_at >= _LOOK_EVERY_S:
        found = slowness_of(_wanting(), os.cpu_count() or 1)
        _MEASURED[:] = now, found
    return found


def slowness_of(wanting: float, cores: int) -> float:
    """Return `slowness` where so many processes want one of so many cores; one for each core is a free machine."""
    return min(max(2.0 * wanting / cores - 1.0, 1.0), MOST)


def pace() -> float:
    """Return how many times longer the blocks of a campaign's chain last, which all its times are made of.

    A campaign takes minutes, so the average of the last minute decides, and not the moment. Others begin beside it,
    so it is never as fast as on a free machine.
    """
    return min(max(slowness_of(os.getloadavg()[0], os.cpu_count() or 1), LEAST_PACE), MOST_PACE)


def patience(seconds: float, times: float = 1.0) -> float:
    """Return how long to wait for what takes at most `seconds` on a free machine, and here `times` as long."""
    return seconds * max(slowness(), times)


class Deadline:
    """The end of a wait that was to take at most `seconds`; it moves away when the machine gets busier."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._began_at = time.monotonic()
        self._worst = 1.0

    @property
    def has_passed(self) -> bool:
        """Whether waiting any longer is in vain."""
        self._worst = max(self._worst, slowness())
        return time.monotonic() - self._began_at > self._seconds * self._worst

    def __str__(self) -> str:
        return f"{self._seconds * self._worst:.1f} s"


def _wanting() -> float:
    """Return how many processes want a core: now, or on the average of the last minute, if that is more."""
    try:
        minute, _, _, processes, _ = _PROCESSES.read_text().split()
    except (OSError, ValueError):
        # Not Linux, or no /proc here.
        return os.getloadavg()[0]
    return max(float(minute), float(processes.partition("/")[0]) - 1.0)
