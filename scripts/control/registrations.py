"""Who was registered when a vector was computed, and when it was set; part of the independent check of weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

Neuron = list[Any]
"""[uid, hotkey, whether it may earn]."""


def is_held(
    held: Mapping[int, int],
    vector: Sequence[Sequence[int]],
    present: Mapping[str, Any],
    now: Sequence[Neuron],
    registered: Sequence[int],
) -> bool:
    """Return whether weights on chain are a vector with the uids of now.

    A registration keeps its weight under another uid, as after a trim, and under another hotkey, as after a
    swap. One that has ended gets nothing, and so does whoever came since.

    Parameters
    ----------
    held
        Uid -> u16 on chain.
    present
        The part of the inputs that tells who was registered when the vector was computed.
    now, registered
        Neurons when the weights stood, and the block in which each was registered.
    """
    hotkeys = {uid: hotkey for uid, hotkey, _ in present["neurons"]}
    blocks: Mapping[str, int] = present.get("registered", {})
    if not blocks:
        # A file of an earlier release: its vectors name the uids themselves.
        return _stands(held, {uid: value for uid, value in vector})  # noqa: C416 - of lists
    by_hotkey = {hotkey: (uid, registered[uid]) for uid, hotkey, _ in now}
    taken = {uid: hotkey for uid, hotkey, _ in now}
    promised = {hotkeys[uid]: (uid, value) for uid, value in vector}
    together = [blocks[hotkey] for hotkey in promised]
    paid = {}
    for hotkey, (uid, value) in promised.items():
        block = blocks[hotkey]
        if by_hotkey.get(hotkey, (0, -1))[1] == block:
            paid[by_hotkey[hotkey][0]] = value
        elif (
            taken.get(uid) is not None
            and registered[uid] == block
            and taken[uid] not in promised
            and together.count(block) == 1
        ):
            paid[uid] = value
    return _stands(held, paid)


def _stands(held: Mapping[int, int], paid: Mapping[int, int]) -> bool:
    """Return whether weights on chain are these, as they are or scaled to the largest."""
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
