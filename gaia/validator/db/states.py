"""States in the schema; its CHECKs list the same words."""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class ForecastState(StrEnum):
    """State of a forecast."""

    PLANNED = "planned"
    REQUESTED = "requested"
    FROZEN = "frozen"
    """Its manifest is frozen; its data are not verified yet."""
    SCORED_DAY1 = "scored_day1"
    SCORED = "scored"
    REJECTED = "rejected"
    EXCUSED = "excused"


class RunState(StrEnum):
    """State of a run: open while scores are missing."""

    OPEN = "open"
    COMPLETED = "completed"


class VectorState(StrEnum):
    """State of a journalled weight vector."""

    INTENDED = "intended"
    SET = "set"
    COMMITTED = "committed"
    """The sealed vector is on chain and waits for its reveal."""
    REVEALED = "revealed"
    """The chain has revealed the sealed vector, so that it stands as if it was set."""
    FAILED = "failed"
    """The last attempt failed; it may be tried again, or may still be found on chain."""
    LOST = "lost"
    """It is not on chain and will not be."""


STANDING: Final = frozenset({VectorState.SET, VectorState.REVEALED})
"""States of vectors that stand, or stood, on chain."""
SETTLED: Final = STANDING | {VectorState.LOST}
"""States of vectors that are not tried any more."""
