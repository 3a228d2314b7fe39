"""Runbooks as data: what an alert means, and the possible causes with their remedies."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from gaia.cli.runbooks.facts import Facts


@dataclass(frozen=True, slots=True, kw_only=True)
class Branch:
    """One possible cause of an alert."""

    sentence: str
    remedy: str
    look: Callable[[Facts], str]
    """Returns the evidence that the cause holds now; an empty text if it does not, or cannot be known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Runbook:
    """Page of one alert."""

    alert: str
    meaning: str
    impact: str
    branches: Sequence[Branch]
