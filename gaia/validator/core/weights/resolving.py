"""Finds the uids that a promised vector pays by now; a slot that changed hands pays nobody new."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec
import structlog

from gaia.validator.core.weights.doubts import as_stored
from gaia.validator.core.weights.preflight import obstacle_to
from gaia.validator.utils.chain.metagraph import Registration
from gaia.validator.utils.errors import TransientError

if TYPE_CHECKING:
    from gaia.validator.utils.chain.metagraph import Metagraph
    from gaia.validator.utils.signer_messages import JournalledVector

log = structlog.get_logger(__name__)

LEAST_LEFT: Final = 0.5
"""Part of the promised weight whose owners must still be registered."""


def resolve(vector: JournalledVector, metagraph: Metagraph) -> JournalledVector:
    """Return the vector with the uids of now, as the chain stores it.

    It is a pure function of the promise and the registrations. A hotkey that left gets nothing, and one that
    was swapped for another keeps its share. Nobody who registered since gets any. A vector without hotkeys is
    returned as it is.

    Raises
    ------
    TransientError
        If the burn, or more than half of the weight, has lost its owner. The epoch keeps the weights that
        stand; the next one has its own vector.
    WeightsImpossible
        If the chain would refuse what is left.
    """
    if not vector.hotkeys:
        if obstacle := obstacle_to(list(zip(vector.uids, vector.weights, strict=True)), metagraph):
            raise obstacle
        return vector
    now = _uids_of(vector, metagraph)
    if vector.burner in vector.hotkeys and vector.burner not in now:
        raise TransientError(f"the burn of epoch {vector.epoch} has no owner: {vector.burner} has left")
    promised = dict(zip(vector.hotkeys, vector.weights, strict=True))
    left = sum(promised[hotkey] for hotkey in now)
    if left < LEAST_LEFT * sum(vector.weights):
        raise TransientError(
            f"only {left / sum(vector.weights):.1%} of the weight of epoch {vector.epoch} has its owner by now;"
            " the next epoch has its own vector"
        )
    pairs = sorted(as_stored([uid, promised[hotkey]] for hotkey, uid in now.items()).items())
    if obstacle := obstacle_to(pairs, metagraph):
        raise obstacle
    resolved = msgspec.structs.replace(
        vector, uids=[uid for uid, _ in pairs], weights=[weight for _, weight in pairs]
    )
    _tell(vector, now, resolved)
    return resolved


def _uids_of(vector: JournalledVector, metagraph: Metagraph) -> dict[str, int]:
    """Return promised hotkey -> its uid now, of those that are still registered."""
    if not vector.registered:
        present = {neuron.uid: neuron.hotkey for neuron in metagraph.neurons}
        owners = zip(vector.uids, vector.hotkeys, strict=True)
        return {hotkey: uid for uid, hotkey in owners if present.get(uid) == hotkey}
    found: dict[str, int] = {}
    rows = zip(vector.hotkeys, vector.uids, vector.registered, strict=True)
    for row in rows:
        neuron = metagraph.holder(Registration(*row))
        if neuron is not None and (neuron.hotkey == row[0] or _is_swapped(row[2], neuron.hotkey, vector)):
            found[row[0]] = neuron.uid
    return found


def _is_swapped(registered_at: int, present: str, vector: JournalledVector) -> bool:
    """Return whether the other hotkey in a slot must be its own miner's.

    It is not if it has its own share, or if a trim may have moved another miner of the same block there.
    """
    return present not in vector.hotkeys and vector.registered.count(registered_at) == 1


def _tell(vector: JournalledVector, now: dict[str, int], resolved: JournalledVector) -> None:
    moved = [
        hotkey for hotkey, uid in zip(vector.hotkeys, vector.uids, strict=True) if now.get(hotkey) != uid
    ]
    if moved:
        log.warning(
            "vector_resolved_anew",
            epoch=vector.epoch,
            left=[hotkey for hotkey in moved if hotkey not in now],
            moved=sum(hotkey in now for hotkey in moved),
            miners=len(resolved.uids),
            once=(str(vector.epoch), str(moved)),
        )
