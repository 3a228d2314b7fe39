"""The words by which the schema says where things stand; its CHECKs list the same."""

from __future__ import annotations

from enum import StrEnum


class ForecastState(StrEnum):
    """Where a forecast stands."""

    PLANNED = "planned"
    REQUESTED = "requested"
    FROZEN = "frozen"
    """Its manifest is frozen; nothing of the data is verified yet."""
    SCORED_DAY1 = "scored_day1"
    SCORED = "scored"
    REJECTED = "rejected"
    EXCUSED = "excused"


class RunState(StrEnum):
    """Whether scores of a run are still to come."""

    OPEN = "open"
    COMPLETED = "completed"


class VectorState(StrEnum):
    """What became of a weight vector that was promised."""

    INTENDED = "intended"
    SET = "set"
    FAILED = "failed"
    """It may be tried again, or may yet be found on chain."""
    LOST = "lost"
    """It is not on chain and will not be."""
