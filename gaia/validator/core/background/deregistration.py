"""Notices which miners left the subnet or swapped their hotkey, and forgets what was kept for them."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Protocol

import structlog

if TYPE_CHECKING:
    from gaia.validator.utils.chain.metagraph import Metagraph, Neuron
    from gaia.validator.utils.identities import Hotkey

log = structlog.get_logger(__name__)


class ForgetsMiners(Protocol):
    """Keeps something for each miner."""

    def forget(self, hotkeys: Collection[Hotkey]) -> int:
        """Forget what is kept for these miners; return the number of things forgotten."""
        ...


class Deregistrations:
    """Compares each metagraph with the one before.

    A registration is a hotkey and the block at which it was registered; a swap of the hotkey leaves uid and
    block as they are. Scores need no care here: weights are set by registration, and a forecast of a miner
    that left ends with its window.

    Parameters
    ----------
    latest
        Returns the newest metagraph, or None before the first.
    """

    def __init__(self, latest: Callable[[], Metagraph | None], miners: ForgetsMiners) -> None:
        self._latest = latest
        self._miners = miners
        self._known: dict[tuple[Hotkey, int], Neuron] | None = None

    async def handle_miner_deregistration_loop(self) -> None:
        """Log what ended or was swapped since the last call, with the successor at the uid, and forget its keys."""
        metagraph = self._latest()
        if metagraph is None:
            return
        present = {(neuron.hotkey, neuron.registered_at): neuron for neuron in metagraph.neurons}
        known, self._known = self._known, present
        gone = [neuron for key, neuron in (known or {}).items() if key not in present]
        if not gone:
            return
        successors = {neuron.uid: neuron.hotkey for neuron in metagraph.neurons}
        for neuron in gone:
            holder = metagraph.holder(neuron.registration)
            if holder is not None:
                log.info(
                    "miner_swapped_hotkey",
                    hotkey=neuron.hotkey,
                    new_hotkey=holder.hotkey,
                    uid=holder.uid,
                    registered_at=neuron.registered_at,
                    block=metagraph.block,
                )
                continue
            log.info(
                "miner_deregistered",
                hotkey=neuron.hotkey,
                uid=neuron.uid,
                registered_at=neuron.registered_at,
                successor=successors.get(neuron.uid),
                block=metagraph.block,
            )
        forgotten = self._miners.forget({neuron.hotkey for neuron in gone})
        log.info("deregistrations_handled", miners=len(gone), sessions_forgotten=forgotten)
