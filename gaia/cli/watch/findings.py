"""Decides from one reading of the chain whether a validator's weights are as they should be."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gaia.validator.utils.chain.metagraph import Metagraph
    from gaia.validator.utils.identities import Hotkey

STANDS_STILL_S = 600.0
"""Seconds without a new block, or age of the newest, after which a node is not believed; blocks come every 12 s."""


class State(StrEnum):
    """What one look found."""

    WELL = "well"
    OLD = "old"
    NEVER = "never"
    UNREGISTERED = "unregistered"
    NO_PERMIT = "no permit"
    UNREADABLE = "unreadable"
    STANDING = "standing"

    @property
    def is_trouble(self) -> bool:
        return self is not State.WELL


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What one look found; its fields are the members of the object that `--json` prints."""

    state: State
    sentence: str
    remedy: str = ""
    block: int | None = None
    """Newest block of the node; None if no node answered."""
    last_update: int | None = None
    """Block of the newest weights; None if the hotkey is not registered or no node answered."""
    age_blocks: int | None = None


def judged(metagraph: Metagraph, hotkey: Hotkey, older_than: int) -> Finding:
    """Return the finding about the validator `hotkey`, whose weights may be `older_than` blocks old."""
    block = metagraph.block
    neuron = next((each for each in metagraph.neurons if each.hotkey == hotkey), None)
    if neuron is None:
        return Finding(
            state=State.UNREGISTERED,
            sentence=f"hotkey {hotkey} is not registered on subnet {metagraph.netuid}",
            remedy="register it again, or correct the hotkey",
            block=block,
        )
    last, age = neuron.last_update, block - neuron.last_update
    if not neuron.validator_permit:
        sentence = "the hotkey has no validator permit, so its weights count for nothing"
        remedy = "add stake; the permit is given at the end of an epoch"
        return Finding(
            state=State.NO_PERMIT,
            sentence=sentence,
            remedy=remedy,
            block=block,
            last_update=last,
            age_blocks=age,
        )
    if last <= neuron.registered_at:
        # Registration writes its own block there.
        return Finding(
            state=State.NEVER,
            sentence=f"no weights were set since the registration in block {neuron.registered_at}",
            remedy="wait for the first completed run, or look at `gaia status` on the validator",
            block=block,
            last_update=last,
            age_blocks=age,
        )
    if age > older_than:
        return Finding(
            state=State.OLD,
            sentence=f"the weights are {age} blocks old, and {older_than} are allowed",
            remedy="look at `gaia status` on the validator",
            block=block,
            last_update=last,
            age_blocks=age,
        )
    return Finding(
        state=State.WELL,
        sentence=f"the weights are {age} blocks old",
        block=block,
        last_update=last,
        age_blocks=age,
    )


def standing(reasons: list[str]) -> Finding:
    """Return the finding that nodes answer, but none has new blocks, for the given reasons."""
    return Finding(
        state=State.STANDING,
        sentence="no node has new blocks: " + "; ".join(reasons),
        remedy="name other nodes with --endpoint, and look at this machine's clock",
    )


def unreadable(reasons: list[str]) -> Finding:
    """Return the finding that no node could be read, for the given reasons."""
    return Finding(
        state=State.UNREADABLE,
        sentence="no node could be read: " + "; ".join(reasons),
        remedy="look at this machine's network, or name other nodes with --endpoint",
    )
