"""Running totals by key, for the most recently used keys."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)


class Tally(Generic[K]):
    """Sums amounts by key; a new key replaces the least recently used one.

    Examples
    --------
    >>> tally = Tally()
    >>> tally.add("a", 2), tally.add("a", 3), tally.total("b")
    (2, 5, 0)
    """

    def __init__(self, capacity: int = 8192) -> None:
        self._capacity = capacity
        self._totals: dict[K, int] = {}

    def add(self, key: K, amount: int = 1) -> int:
        """Add `amount` to the total of `key`; return the new total."""
        total = self._totals.pop(key, 0) + amount
        self._totals[key] = total
        if len(self._totals) > self._capacity:
            del self._totals[next(iter(self._totals))]
        return total

    def total(self, key: K) -> int:
        return self._totals.get(key, 0)

    def forget(self, key: K) -> None:
        self._totals.pop(key, None)
