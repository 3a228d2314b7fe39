"""Why each registered hotkey is in a weight vector, or is not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gaia.validator.core.weights.inputs import VectorInputs
    from gaia.validator.utils.chain.metagraph import Metagraph, Neuron


@dataclass(frozen=True, slots=True, kw_only=True)
class Unpaid:
    """A hotkey that gets no weight."""

    uid: int
    hotkey: str
    reason: str


def unpaid(inputs: VectorInputs, vector: Sequence[Sequence[int]], metagraph: Metagraph) -> list[Unpaid]:
    """Return the registered hotkeys that a vector leaves out, by uid, each with the reason."""
    paid = {uid for uid, _ in vector}
    worths = inputs.worths()
    scored = {hotkey for run in inputs.scores() for hotkey, score in run.items() if score is not None}
    left_out = [neuron for neuron in metagraph.neurons if neuron.uid not in paid]
    return [
        Unpaid(
            uid=neuron.uid,
            hotkey=neuron.hotkey,
            reason=_why_ineligible(neuron, inputs)
            or _why_worthless(worths.get(neuron.hotkey) if neuron.hotkey in scored else None),
        )
        for neuron in sorted(left_out, key=lambda neuron: neuron.uid)
    ]


def _why_ineligible(neuron: Neuron, inputs: VectorInputs) -> str:
    if neuron.hotkey in inputs.present.eligible:
        return ""
    return "a validator" if neuron.ip else "serves no address"


def _why_worthless(worth: float | None) -> str:
    if worth is None:
        return "no score in the window"
    if worth <= 0.0:
        return "its score is 0"
    # Only the price of copies, or the rounding to u16, takes all of a positive score.
    return "its work was committed by others before it, or its share rounds to 0"
