"""What a weight rule is given and what it decides."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

Run = Mapping[str, float | None]
"""Hotkey -> score in one run. None, excused: not counted. Absent: not asked."""


class Standing(StrEnum):
    """Where a forecast stands, as far as weights care."""

    AWAITED = "awaited"
    """Not delivered yet."""
    DELIVERED = "delivered"
    """Its leads are scored as their truths appear."""
    REJECTED = "rejected"
    EXCUSED = "excused"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One miner in one run."""

    standing: Standing
    overall: float | None
    """None: nothing of it is scored yet."""
    leads: Mapping[int, float]
    """Lead hours -> score, of the leads scored so far."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Copies:
    """What is known of forecasts that are not their own; empty: nothing."""

    overlap: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """Hotkey -> other hotkey -> how much of the work is the same, in [0, 1], both ways; absent: 0."""
    committed: Mapping[str, float] = field(default_factory=dict)
    """Hotkey -> when it binds itself to its forecasts, any unit, equal: at once; absent: last."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightRule:
    """One named, unchanging way from scores to shares of the weight."""

    name: str
    run_scores: Callable[[Mapping[str, Entry]], Run]
    """What counts of a run whose leads may not all be scored yet."""
    shares: Callable[[Sequence[Run], Collection[str], float, Copies], dict[str, float]]
    """(runs, oldest first; hotkeys that may earn; contrast gamma; copies) -> shares, all positive,
    summing to 1; empty where nobody earned anything."""
    earning: Callable[[Sequence[Run], Collection[str]], list[str]] | None = None
    """(runs, hotkeys that may earn) -> those among whom copies are to be looked for; None: the rule pays
    no heed to copies."""
