"""Tracks in memory which forecasts wait because of our own failures; these cost no attempt."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

FIRST_WAIT_S: Final = 1.0
LONGEST_WAIT_S: Final = 300.0
GIVE_UP_S: Final = 24 * 3600.0
GIVE_UP_FAILURES: Final = 10
"""A forecast is excused if it fails for this time, and often while others succeed: it may be poison.

An outage that affects all forecasts excuses none, no matter how long it lasts.
"""

Key = tuple[str, str]
"""Run and hotkey."""


@dataclass(slots=True)
class _Wait:
    began_at: float
    failed_at: float
    until: float
    length_s: float
    alone: int = 0
    """Number of failures after a success of another forecast since the failure before."""


class OwnFailures:
    """Waits on the real clock, one per forecast; each doubles the last, up to five minutes.

    They are kept in memory only: after a restart each forecast is tried at once.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._waits: dict[Key, _Wait] = {}
        self._last_success_at: float | None = None
        self._stirred = False

    def note(self, key: Key) -> bool:
        """Record a failure of ours; return whether this forecast alone has failed for long enough to be excused."""
        now = self._monotonic()
        self._stirred = True
        wait = self._waits.get(key)
        if wait is None:
            self._waits[key] = _Wait(now, now, now + FIRST_WAIT_S, FIRST_WAIT_S)
            return False
        if self._last_success_at is not None and self._last_success_at > wait.failed_at:
            wait.alone += 1
        wait.failed_at = now
        wait.length_s = min(2 * wait.length_s, LONGEST_WAIT_S)
        wait.until = now + wait.length_s
        return now - wait.began_at >= GIVE_UP_S and wait.alone >= GIVE_UP_FAILURES

    def forget(self, key: Key) -> None:
        """Forget a forecast whose step is done, or was judged."""
        self._last_success_at = self._monotonic()
        self._waits.pop(key, None)

    def holds(self, key: Key) -> bool:
        """Return whether `key` must wait longer before its next try."""
        wait = self._waits.get(key)
        held = wait is not None and self._monotonic() < wait.until
        self._stirred |= held
        return held

    def stirred(self) -> bool:
        """Return whether a forecast failed or was held since the last call, so that work is left now."""
        stirred, self._stirred = self._stirred, False
        return stirred
