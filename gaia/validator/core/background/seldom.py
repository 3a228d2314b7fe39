"""Keeps frequent observations from filling the log."""

from __future__ import annotations

from collections.abc import Callable


class Seldom:
    """Says when a line is due for the log again, of the many that could be written.

    Parameters
    ----------
    clock
        Returns seconds.

    Examples
    --------
    >>> moments = iter([0.0, 60.0, 900.0])
    >>> seldom = Seldom(900.0, lambda: next(moments))
    >>> seldom.is_due(), seldom.is_due(), seldom.is_due()
    (True, False, True)
    """

    def __init__(self, every_s: float, clock: Callable[[], float]) -> None:
        self._every_s = every_s
        self._clock = clock
        self._last = float("-inf")

    def is_due(self) -> bool:
        """Return whether `every_s` have passed since this last returned True."""
        now = self._clock()
        if now < self._last + self._every_s:
            return False
        self._last = now
        return True
