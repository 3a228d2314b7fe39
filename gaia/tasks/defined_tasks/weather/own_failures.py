"""Which forecasts wait because something of ours failed; nothing of it is written or charged."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

FIRST_WAIT_S: Final = 1.0
LONGEST_WAIT_S: Final = 300.0
GIVE_UP_S: Final = 24 * 3600.0
"""A forecast whose step failed for so long without a success is excused: it may be a poison of its own."""

Key = tuple[str, str]
"""Run and hotkey."""


@dataclass(slots=True)
class _Wait:
    began_at: float
    until: float
    length_s: float


class OwnFailures:
    """Waits of the real clock, one a forecast, each twice as long as the last up to five minutes.

    They live in memory: after a restart each forecast is tried at once.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._waits: dict[Key, _Wait] = {}
        self._stirred = False

    def note(self, key: Key) -> float:
        """Record one more failure of ours; return for how many seconds they have gone on."""
        now = self._monotonic()
        self._stirred = True
        wait = self._waits.get(key)
        if wait is None:
            wait = self._waits[key] = _Wait(now, now + FIRST_WAIT_S, FIRST_WAIT_S)
        else:
            wait.length_s = min(2 * wait.length_s, LONGEST_WAIT_S)
            wait.until = now + wait.length_s
        return now - wait.began_at

    def forget(self, key: Key) -> None:
        """Say that a step got as far as the miner."""
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
