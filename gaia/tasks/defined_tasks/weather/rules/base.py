"""Inputs and outputs of a rule set."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from gaia.tasks.defined_tasks.weather.variables import level_weights, split_field

Measures = Literal["gaia-2.9", "plain"]
"""Ways to measure components; `validator/measures.py` defines both."""


def in_turn(values: Iterable[float]) -> float:
    """Return the sum from left to right, rounded at each step; `sum` rounds otherwise since Python 3.12."""
    total = 0.0
    for value in values:
        total += value
    return total


@dataclass(frozen=True, slots=True, kw_only=True)
class Component:
    """The measures of one field at one lead; None if undefined or not requested.

    `skill_climatology` and `skill_gfs` are those of gaia-2.9, for the forecast corrected with
    the truth; `skill_persistence` and `skill_blend` are plain. The four ``mse_<baseline>`` are
    the errors of the baselines, from which every plain skill follows.
    """

    field: str
    lead_hours: int
    rmse: float
    mse: float
    mae: float
    bias: float
    error_sd: float | None = None
    acc: float | None
    acc_uncentred: float | None = None
    skill_climatology: float | None
    skill_gfs: float | None = None
    skill_persistence: float | None = None
    skill_blend: float | None = None
    activity: float | None = None
    pattern_correlation: float | None = None
    clone_distance: float | None = None
    mse_climatology: float | None = None
    mse_gfs: float | None = None
    mse_persistence: float | None = None
    mse_blend: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleSet:
    """Named, unchanging rules from components to scores in [`worst`, 1]."""

    name: str
    measures: Measures
    """Way to measure components, which also decides the baselines (validator/measures.py)."""
    worst: float
    """Score of a forecast or lead that was not delivered, or differs from its commitment."""
    day1_score: Callable[[Sequence[Component]], float]
    lead_score: Callable[[Sequence[Component], Sequence[str]], float]
    overall_score: Callable[[float | None, Mapping[int, float], Sequence[int]], float]
    finds_copies: bool = False
    """Whether the errors of forecasts are compared with each other; see `weather/copies/copy_book.py`."""


def by_variable(fields: Sequence[str]) -> Mapping[str, Mapping[str, float]]:
    """Return variable -> its fields with the weights of their levels (scoring.md, 3.1)."""
    return _by_variable(tuple(fields))


@lru_cache(maxsize=64)
def _by_variable(fields: tuple[str, ...]) -> Mapping[str, Mapping[str, float]]:
    levels: dict[str, dict[int | None, str]] = {}
    for field in fields:
        variable, level = split_field(field)
        levels.setdefault(variable, {})[level] = field
    grouped: dict[str, dict[str, float]] = {}
    for variable, names in levels.items():
        weights = level_weights([level for level in names if level is not None])
        grouped[variable] = {name: 1.0 if level is None else weights[level] for level, name in names.items()}
    return grouped
