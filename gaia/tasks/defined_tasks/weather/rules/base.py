"""What a rule set is given and what it decides."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from gaia.tasks.defined_tasks.weather.variables import level_weights, split_field

Measures = Literal["gaia-2.9", "plain"]
"""How components are measured; `validator/measures.py` defines both ways."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Component:
    """The measures of one field at one lead; None where one is not defined or not asked for.

    `skill_climatology` and `skill_gfs` are those of gaia-2.9, of the forecast
    corrected with the truth; `skill_persistence` and `skill_blend` are plain. The four
    ``mse_<baseline>`` are the baselines' own errors, of which any plain skill follows.
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
    """One named, unchanging way from components to scores in [`worst`, 1]."""

    name: str
    measures: Measures
    """How components are taken for it, and so what they are held against (validator/measures.py)."""
    worst: float
    """What a forecast or lead is worth that was not delivered, or not as promised."""
    day1_score: Callable[[Sequence[Component]], float]
    lead_score: Callable[[Sequence[Component], Sequence[str]], float]
    overall_score: Callable[[float | None, Mapping[int, float], Sequence[int]], float]
    finds_copies: bool = False
    """Errors of forecasts are held against each other: see `weather/copies.py`."""


def by_variable(fields: Sequence[str]) -> Mapping[str, Mapping[str, float]]:
    """Return variable -> its fields, each with the weight of its level among them (scoring.md, 3.1)."""
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
