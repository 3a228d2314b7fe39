"""Swaps of hotkeys that the chain tells while runs are open: believed once a later reading agrees."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gaia.validator.utils.chain.metagraph import Metagraph, Registration


class Swaps:
    """Remembers when each swap was told first."""

    def __init__(self) -> None:
        self._first: dict[tuple[Registration, str], int] = {}
        """Registration and its hotkey now -> block of the reading that told it first."""

    def are_told(self, registration: Registration, metagraph: Metagraph) -> bool:
        """Return whether an earlier block, too, has told which hotkey the registration has now, and nodes agree.

        `metagraph` has another hotkey for the registration than it was read with.
        """
        neuron = metagraph.holder(registration)
        if neuron is None or not metagraph.is_confirmed:
            return False
        return self._first.setdefault((registration, neuron.hotkey), metagraph.block) < metagraph.block
