"""Tallies of what happens in this process, for code that must not know who shows them."""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Hashable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate
from typing import Final, Generic, TypeVar

K = TypeVar("K", bound=Hashable)

OTHER: Final = "other"
"""Key that stands for all without a key of their own."""


class Totals(Generic[K]):
    """Totals by a closed set of keys: each exists at 0 from the start, and none ever falls.

    Examples
    --------
    >>> totals = Totals(["ok", "failed"])
    >>> totals.add("ok")
    >>> totals.add("ok", 2)
    >>> totals.items()
    [('ok', 3.0), ('failed', 0.0)]
    """

    def __init__(self, keys: Iterable[K]) -> None:
        self._totals: dict[K, float] = dict.fromkeys(keys, 0.0)

    def add(self, key: K, amount: float = 1.0) -> None:
        """Add `amount`, which is not negative, to the total of `key`.

        Raises
        ------
        KeyError
            If `key` is not one of the closed set.
        """
        self._totals[key] += amount

    def items(self) -> list[tuple[K, float]]:
        """Return (key, total) of every key."""
        return list(self._totals.items())

    def __contains__(self, key: object) -> bool:
        return key in self._totals


class Durations:
    """A histogram of seconds.

    Parameters
    ----------
    bounds
        Upper bounds of the buckets, in seconds, ascending; longer durations have a bucket of their own.
    """

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = tuple(bounds)
        self._counts = [0] * (len(bounds) + 1)
        self._sum_s = 0.0

    def observe(self, seconds: float) -> None:
        """Count one duration."""
        self._counts[bisect_left(self._bounds, seconds)] += 1
        self._sum_s += seconds

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Count the duration of the body, however it ends."""
        began = time.monotonic()
        try:
            yield
        finally:
            self.observe(time.monotonic() - began)

    def buckets(self) -> list[tuple[float, int]]:
        """Return (upper bound, number of durations up to it) of every bucket; the last bound is infinite."""
        return list(zip((*self._bounds, float("inf")), accumulate(self._counts), strict=True))

    @property
    def sum_s(self) -> float:
        """Sum of all durations."""
        return self._sum_s
