"""Why our weights are not the others': our vector, computed again from its inputs under one change at a time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from gaia.validator.core.consensus.comparing import distance
from gaia.validator.core.weights.inputs import NOTHING_FOUND
from gaia.validator.core.weights.rules.base import Standing

if TYPE_CHECKING:
    from gaia.validator.core.weights.inputs import VectorInputs

AS_IT_IS: Final = "as it is"
_EXPLAINED: Final = 0.5
"""Part of a difference that a change removes where it is a reason."""
_LEAST: Final = 0.001
"""Part of the weight below which a change is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """Our vector under one change."""

    change: str
    shares: Mapping[int, float]
    """Uid -> part of the weight."""
    distance: float
    """Part of the weight that is elsewhere than the others'."""


def replays_of(inputs: VectorInputs, others: Mapping[int, float]) -> list[Replay]:
    """Return our vector as it is, and under each change that moves weight.

    Parameters
    ----------
    others
        Uid -> mean of the other validators' weights, which sum to 1.
    """
    found: list[Replay] = []
    for change, changed in [(AS_IT_IS, inputs), *_changes(inputs, others)]:
        shares = changed.weights() or {}
        apart = distance(shares, others)
        if not found or distance(shares, found[0].shares) >= _LEAST:
            found.append(Replay(change=change, shares=shares, distance=apart))
    return found


def _changes(inputs: VectorInputs, others: Mapping[int, float]) -> Iterator[tuple[str, VectorInputs]]:
    """Yield what another validator may do in another way, with the inputs that it would have."""
    terms = inputs.terms
    burner = inputs.burner or inputs.present.owner_hotkey
    burnt = others.get(inputs.present.uids.get(burner, -1), 0.0)
    changed = replace(terms, burn_enabled=burnt > 0.0, burn_fraction=burnt, burn_hotkey=burner)
    yield f"burn of {burnt:.1%}", replace(inputs, terms=changed)
    yield "without contrast", replace(inputs, terms=replace(terms, contrast_gamma=1.0))
    yield "copies not found", replace(inputs, found=NOTHING_FOUND)
    strict = {
        run: {
            hotkey: replace(entry, standing=Standing.REJECTED, overall=0.0, leads={})
            if entry.standing is Standing.EXCUSED
            else entry
            for hotkey, entry in entries.items()
        }
        for run, entries in inputs.runs.items()
    }
    yield "excused as failed", replace(inputs, runs=strict)
    if len(inputs.runs) > 1:
        newest = list(inputs.runs)[-1]
        earlier = {run: entries for run, entries in inputs.runs.items() if run != newest}
        yield f"without run {newest}", replace(inputs, runs=earlier)


def reason_of(uid: int, others: float, replays: Sequence[Replay], inputs: VectorInputs) -> str:
    """Return what makes our weight of a miner unlike the others' `others`; "" if no replay tells."""
    ours = replays[0].shares.get(uid, 0.0)
    nearest = min(replays, key=lambda each: abs(each.shares.get(uid, 0.0) - others))
    if abs(nearest.shares.get(uid, 0.0) - others) <= (1.0 - _EXPLAINED) * abs(ours - others):
        return "the newest weights are nearer" if nearest is replays[0] else nearest.change
    hotkey = next((name for name, at in inputs.present.uids.items() if at == uid), None)
    if hotkey is None:
        return "registered since"
    standings = Counter(entries[hotkey].standing for entries in inputs.runs.values() if hotkey in entries)
    failed = standings[Standing.REJECTED]
    if others > ours and failed:
        return f"rejected in {failed} of {len(inputs.runs)} runs"
    if others > ours and standings.total() < len(inputs.runs):
        return f"asked in {standings.total()} of {len(inputs.runs)} runs"
    return ""
