"""Decides whether a computed vector is held because its data are old, partial or unlike the last vector's."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from gaia.validator.core.weights.inputs import VectorInputs
from gaia.validator.core.weights.rules.base import Entry, Standing

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime


LEAST_RUNS: Final = 5
"""A last vector of fewer runs is no measure, because each new run changes much of it."""
LEAST_MINERS: Final = 8.0
"""Drift and spread are not judged after a last vector on fewer miners: one winner replaces another there."""

_ROUNDING: Final = 1e-9


class Gate(StrEnum):
    """A condition that weights have to meet; the one that they do not meet holds them."""

    SCORES = "scores"
    """There are scores in the window."""
    OVERLAPS = "overlaps"
    """The overlaps of forecasts are computed."""
    BURN = "burn"
    """The burn hotkey is registered, if there is a burn, and else some hotkey has earned."""
    FRESHNESS = "freshness"
    """The newest score is young enough."""
    COVERAGE = "coverage"
    """Nearly all delivered forecasts have the scores that the others have, and no runs are lost."""
    REGISTRY = "registry"
    """What moves weight is said by two readings of the chain: who left, and who receives the burn."""
    DRIFT = "drift"
    """The miners' shares are near those of the last vector."""
    SPREAD = "spread"
    """The weight is on nearly as many miners as in the last vector."""


BOUNDED: Final = frozenset({Gate.COVERAGE, Gate.DRIFT, Gate.SPREAD})
"""Gates that hold for a limited time. A miner may cause them, and a real change passes them in the end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """Why no new vector is set."""

    gate: Gate
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What the gates let pass."""

    max_age: timedelta
    """Age of the newest score."""
    min_coverage: float
    """Fraction of the scores to be expected that are there."""
    max_drift: float
    """Fraction of the miners' weight that changes hands."""
    min_spread: float
    """Effective number of paid miners, as a fraction of the last vector's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LastVector:
    """The vector that a new one is compared with."""

    weights: Mapping[str, float]
    """Hotkey -> weight."""
    inputs: VectorInputs

    def shares(self) -> dict[str, float]:
        """Return hotkey -> part of what the miners got."""
        return shares_of(self.weights, self.inputs.burner)


def shares_of(weights: Mapping[str, float], burner: str) -> dict[str, float]:
    """Return the weights without the burn, as parts of their sum; empty if only the burn has weight.

    >>> shares_of({"owner": 0.75, "a": 0.125, "b": 0.125}, "owner")
    {'a': 0.5, 'b': 0.5}
    """
    paid = {hotkey: weight for hotkey, weight in weights.items() if hotkey != burner and weight > 0}
    total = math.fsum(paid.values())
    return {hotkey: weight / total for hotkey, weight in paid.items()}


def drift(one: Mapping[str, float], other: Mapping[str, float]) -> float:
    """Return the total variation distance of two sets of shares, in [0, 1]; 1 if exactly one is empty.

    >>> drift({"a": 0.5, "b": 0.5}, {"a": 0.5, "c": 0.5})
    0.5
    """
    if not one or not other:
        return float(bool(one) != bool(other))
    changes = (abs(one.get(each, 0.0) - other.get(each, 0.0)) for each in one.keys() | other.keys())
    return min(1.0, math.fsum(changes) / 2)


def effective_number(shares: Mapping[str, float]) -> float:
    """Return the exponential of the entropy of shares: the number of miners that equal shares would have.

    >>> round(effective_number({"a": 0.5, "b": 0.5}), 12)
    2.0
    """
    return math.exp(-math.fsum(share * math.log(share) for share in shares.values())) if shares else 0.0


def coverage(runs: Mapping[str, Mapping[str, Entry]]) -> float:
    """Return which part of the expected scores is there; 1 if none is expected.

    Expected of each delivered forecast of a run are an overall score, and a score at each lead
    at which another forecast of this run has one.
    """
    counts = _counts(runs).values()
    expected = sum(wanted for wanted, _ in counts)
    return sum(found for _, found in counts) / expected if expected else 1.0


def coverage_by_hotkey(runs: Mapping[str, Mapping[str, Entry]]) -> dict[str, float]:
    """Return hotkey -> which part of its expected scores is there, of those that delivered a forecast."""
    return {hotkey: found / expected for hotkey, (expected, found) in _counts(runs).items()}


def _counts(runs: Mapping[str, Mapping[str, Entry]]) -> dict[str, tuple[int, int]]:
    """Return hotkey -> (expected scores, scores that are there)."""
    counts: dict[str, tuple[int, int]] = {}
    for entries in runs.values():
        delivered = {h: entry for h, entry in entries.items() if entry.standing is Standing.DELIVERED}
        leads = {lead for entry in delivered.values() for lead in entry.leads}
        for hotkey, entry in delivered.items():
            expected, found = counts.get(hotkey, (0, 0))
            scored = len(entry.leads) + (entry.overall is not None)
            counts[hotkey] = (expected + len(leads) + 1, found + scored)
    return counts


def hold_on_data(inputs: VectorInputs, newest: datetime, now: datetime, limits: Limits) -> Iterator[Hold]:
    """Yield what is wrong with the scores themselves.

    Parameters
    ----------
    newest
        Time of the newest score.
    """
    if (age := now - newest) > limits.max_age:
        hours, most = age / timedelta(hours=1), limits.max_age / timedelta(hours=1)
        yield Hold(
            gate=Gate.FRESHNESS,
            reason=f"the newest score is {hours:.0f} hours old, and {most:g} are allowed",
        )
    if (found := coverage(inputs.runs)) < limits.min_coverage:
        yield Hold(
            gate=Gate.COVERAGE,
            reason=f"{found:.1%} of the scores of delivered forecasts are there, and {limits.min_coverage:.1%} are wanted",
        )


def hold_on_change(
    weights: Mapping[str, float], inputs: VectorInputs, last: LastVector | None, limits: Limits
) -> Iterator[Hold]:
    """Yield how the vector is worse founded than the last one, or differs too much from it.

    Nothing if the two cannot be compared: there is no last vector, the operator has changed the
    terms, or the last vector was computed from fewer than `LEAST_RUNS` runs.

    Parameters
    ----------
    weights
        Hotkey -> weight.
    """
    if last is None or last.inputs.terms != inputs.terms or len(last.inputs.runs) < LEAST_RUNS:
        return
    ours, theirs = shares_of(weights, inputs.burner), last.shares()
    yield from _hold_on_losses(inputs, len(last.inputs.runs), theirs, limits.min_coverage)
    before = effective_number(theirs)
    if before < LEAST_MINERS - _ROUNDING:
        return
    if (moved := drift(ours, theirs)) > limits.max_drift:
        yield Hold(
            gate=Gate.DRIFT,
            reason=f"{moved:.1%} of the miners' weight would change hands, and {limits.max_drift:.1%} are allowed",
        )
    number = effective_number(ours)
    if number < limits.min_spread * before:
        yield Hold(
            gate=Gate.SPREAD,
            reason=f"the weight would be on {number:.1f} miners (the exponential of its entropy), after {before:.1f}"
            f" in the last vector, and {limits.min_spread:.1%} of that are wanted",
        )


def _hold_on_losses(
    inputs: VectorInputs, runs: int, paid: Mapping[str, float], wanted: float
) -> Iterator[Hold]:
    """Yield that runs of the last vector, or scores of one that it pays, are missing."""
    if len(inputs.runs) < wanted * runs:
        yield Hold(
            gate=Gate.COVERAGE,
            reason=f"{len(inputs.runs)} runs have scores, and the last vector was computed from {runs}",
        )
    parts = coverage_by_hotkey(inputs.runs)
    least = min(sorted(paid.keys() & parts.keys()), key=parts.__getitem__, default=None)
    if least is not None and parts[least] < wanted:
        yield Hold(
            gate=Gate.COVERAGE,
            reason=f"{parts[least]:.1%} of the scores of {least} are there, which the last vector pays",
        )
