"""Ends holds that are limited in time: counts for how long their gates have held."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from gaia.validator.core.weights.gates import BOUNDED, Gate, Hold

if TYPE_CHECKING:
    from collections.abc import Sequence

LONGEST_GAP: Final = timedelta(hours=1)
"""Most time that counts between two looks: a gate that nobody looked at did not hold."""


class HoldClock:
    """Decides which hold counts, look by look.

    Time counts for a gate between two looks that both found it holding, while nothing else did
    that is not limited. A gate that has held for its time lets pass until it was found open once.

    Parameters
    ----------
    limit
        Time for which a limited gate holds.
    """

    def __init__(self, limit: timedelta) -> None:
        self._limit = limit
        self._held: dict[Gate, timedelta] = {}
        self._passing: set[Gate] = set()
        """Gates that have held for their time before an earlier vector."""
        self._looked_at: datetime | None = None
        """Time of the last look; None: time does not count from it."""
        self._holding: dict[Gate, Hold] = {}
        """Limited gates that the last look found."""

    def judge(self, holds: Sequence[Hold], now: datetime) -> Hold | None:
        """Return the hold that counts; None: the vector may be set."""
        lasting = next((hold for hold in holds if hold.gate not in BOUNDED), None)
        if lasting is not None:
            self._looked_at = None
            return lasting
        found = {hold.gate: hold for hold in reversed(holds)}
        for gate in BOUNDED - found.keys():
            self._held.pop(gate, None)
            self._passing.discard(gate)
        if self._looked_at is not None:
            passed = min(max(now - self._looked_at, timedelta()), LONGEST_GAP)
            for gate in found.keys() & self._holding.keys():
                self._held[gate] = self._held.get(gate, timedelta()) + passed
        self._looked_at, self._holding = now, found
        return next((hold for gate, hold in found.items() if not self._is_over(gate)), None)

    def journalled(self) -> list[Hold]:
        """Note that the judged vector is promised; return the holds that have ended by time."""
        ended = [hold for gate, hold in self._holding.items() if gate not in self._passing]
        self._passing |= self._holding.keys()
        self._held.clear()
        return ended

    def _is_over(self, gate: Gate) -> bool:
        return gate in self._passing or self._held.get(gate, timedelta()) >= self._limit
