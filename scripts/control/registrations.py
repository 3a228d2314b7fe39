"""Who was registered when a vector was computed, and when it was set; part of the independent check of weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

Neuron = list[Any]
"""[uid, hotkey, whether it may earn]."""


def is_held(
    held: Mapping[int, int], vector: Sequence[Sequence[int]], then: Sequence[Neuron], now: Sequence[Neuron]
) -> bool:
    """Return whether weights on chain are a vector of hotkeys that were registered `then`, with the uids of `now`.

    A hotkey that is gone has left, and gets nothing, or was swapped for a new one in the same slot.
    """
    before, after = {name: uid for uid, name, _ in then}, {name: uid for uid, name, _ in now}
    hotkeys, taken = {uid: name for uid, name, _ in then}, {uid: name for uid, name, _ in now}
    values = {hotkeys[uid]: value for uid, value in vector}
    paid = {}
    for name, value in values.items():
        uid = after.get(name, before[name])
        is_swapped = uid in taken and taken[uid] not in before and held.get(uid, 0)
        if name in after or is_swapped:
            paid[uid] = value
    # The chain clears the weight of a uid that is registered anew in the same block.
    cleared = {uid for uid, value in held.items() if not value}
    top = max(paid.values(), default=1)
    scaled = {uid: value * 65535 // top for uid, value in paid.items()}
    found = {uid: value for uid, value in held.items() if value}
    return found in [
        {uid: value for uid, value in each.items() if uid not in cleared} for each in (paid, scaled)
    ]


def as_told(
    neurons: Sequence[Neuron], earlier: Mapping[str, int], read: Callable[[int], Sequence[Neuron]]
) -> list[Neuron]:
    """Return the neurons; whether those in `earlier` may earn is as the chain said in the block named there."""
    then = {block: {hotkey: may for _, hotkey, may in read(block)} for block in {*earlier.values()}}
    return [
        [uid, hotkey, then[earlier[hotkey]].get(hotkey, False) if hotkey in earlier else may]
        for uid, hotkey, may in neurons
    ]
