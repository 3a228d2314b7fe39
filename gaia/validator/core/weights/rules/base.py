"""Inputs and outputs of a weight rule."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

Run = Mapping[str, float | None]
"""Hotkey -> score in one run; None: excused and not counted; missing: not asked."""


class Standing(StrEnum):
    """Standing of a forecast for the weights."""

    AWAITED = "awaited"
    """Not delivered yet."""
    DELIVERED = "delivered"
    """Delivered; its leads are scored when their truths appear."""
    REJECTED = "rejected"
    EXCUSED = "excused"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One miner's forecast in one run."""

    standing: Standing
    overall: float | None
    """Overall score; None: nothing is scored yet."""
    leads: Mapping[int, float]
    """Lead in hours -> score, of the leads scored so far."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Copies:
    """Overlaps of forecasts; empty if none are known."""

    overlap: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """Hotkey -> other hotkey -> overlap in [0, 1], in both directions; missing: 0."""
    committed: Mapping[str, float] = field(default_factory=dict)
    """Hotkey -> commitment order; lower is earlier, equal is simultaneous, missing is last."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightRule:
    """Named, unchanging rules from scores to shares of the weight."""

    name: str
    run_scores: Callable[[Mapping[str, Entry]], Run]
    """Entries of a run -> scores that count, although some leads may not be scored yet."""
    worths: Callable[[Sequence[Run], Collection[str]], dict[str, float]]
    """(runs, hotkeys that may earn) -> the number that a hotkey's share follows from; only of those that were scored."""
    shares: Callable[[Sequence[Run], Collection[str], float, Copies], dict[str, float]]
    """(runs, oldest first; hotkeys that may earn; contrast gamma; copies) -> positive shares that
    sum to 1; empty if no hotkey earned anything."""
    earning: Callable[[Sequence[Run], Collection[str]], list[str]] | None = None
    """(runs, hotkeys that may earn) -> hotkeys among which copies matter; None: the rule ignores
    copies."""
