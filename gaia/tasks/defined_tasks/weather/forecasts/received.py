"""Counts the bytes that miners delivered, by run."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gaia.validator.utils.identities import RunId


class Received:
    """Bytes of complete downloads by run, counted in memory since this process began.

    Examples
    --------
    >>> received = Received()
    >>> received.begin("2026-03-25T00Z")
    >>> received.add("2026-03-25T00Z", 7)
    >>> received.take("2026-03-25T00Z")
    (7, True)
    """

    def __init__(self) -> None:
        self._bytes: Counter[RunId] = Counter()
        self._begun: set[RunId] = set()

    def begin(self, run_id: RunId) -> None:
        """Note that the run opens now, so that its count will be whole."""
        self._begun.add(run_id)

    def add(self, run_id: RunId, count: int) -> None:
        self._bytes[run_id] += count

    def take(self, run_id: RunId) -> tuple[int, bool]:
        """Return the bytes of a run, and whether they are counted since it opened; forget the run."""
        is_whole = run_id in self._begun
        self._begun.discard(run_id)
        return self._bytes.pop(run_id, 0), is_whole
