"""Which forecasts wait because something of ours failed; nothing of it is written or charged."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

FIRST_WAIT_S: Final = 1.0
LONGEST_WAIT_S: Final = 300.0
GIVE_UP_S: Final = 24 * 3600.0
GIVE_UP_FAILURES: Final = 10
"""A forecast that failed for so long, and so often while others got on, is excused: it may be a poison of its own.

An outage that hits all alike excuses nobody, however long it lasts.
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
    """Failures since the one before which some other forecast got on."""


class OwnFailures:
    """Waits of the real clock, one a forecast, each twice as long as the last up to five minutes.

    They live in memory: after a restart each forecast is tried at once.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._waits: dict[Key, _Wait] = {}
        self._last_success_at: float | None = None
        self._stirred = False

    def note(self, key: Key) -> bool:
        """Record one more failure of ours; say whether this forecast alone fails, and for long enough to end it."""
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
        """Say that a step was done, or settled otherwise than by waiting."""
        self._last_success_at = self._monotonic()
        self._waits.pop(key, None)

    def holds(self, key: Key) -> bool:
        """True while `key` is not to be tried again yet."""
        wait = self._waits.get(key)
        held = wait is not None and self._monotonic() < wait.until
        self._stirred |= held
        return held

    def stirred(self) -> bool:
        """Say whether a forecast failed or was held since the last call: something is left to do now."""
        stirred, self._stirred = self._stirred, False
        return stirred
