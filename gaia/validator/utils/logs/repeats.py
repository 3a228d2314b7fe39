"""Decides which log lines repeat earlier ones, and counts those that are withheld."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass


@dataclass(slots=True)
class _Said:
    words: Hashable
    at: float
    withheld: int = 0


class Repeats:
    """Lets a line about one subject pass at first, when its words change, and once in `every_s` seconds.

    Parameters
    ----------
    every_s
        Seconds after which an unchanged line passes again.
    capacity
        Number of subjects that are remembered; a new one replaces the one that was longest unheard.

    Examples
    --------
    >>> repeats = Repeats()
    >>> [repeats.heard("weights", words) for words in ("no score", "no score", "no score", "no permit")]
    [0, None, None, 2]
    """

    def __init__(
        self,
        every_s: float = 3600.0,
        monotonic: Callable[[], float] = time.monotonic,
        capacity: int = 4096,
    ) -> None:
        self._every_s = every_s
        self._monotonic = monotonic
        self._capacity = capacity
        self._said: dict[Hashable, _Said] = {}

    def heard(self, subject: Hashable, words: Hashable = "") -> int | None:
        """Return the number of lines about `subject` that were withheld before this one; None: withhold it too."""
        now = self._monotonic()
        said = self._said.pop(subject, None)
        if said is not None and said.words == words and now - said.at < self._every_s:
            said.withheld += 1
            self._said[subject] = said
            return None
        self._said[subject] = _Said(words, now)
        if len(self._said) > self._capacity:
            del self._said[next(iter(self._said))]
        return said.withheld if said is not None else 0
