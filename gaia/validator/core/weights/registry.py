"""Decides who is registered and may earn: no miner loses its weight because of one reading of the chain."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from gaia.validator.core.weights.gates import Gate, Hold
from gaia.validator.core.weights.vector import Registered, registered

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from gaia.validator.core.weights.inputs import VectorInputs
    from gaia.validator.utils.signer_messages import Metagraph


@dataclass(frozen=True, slots=True)
class Reading:
    """Who was registered at one block."""

    block: int
    present: Registered


class Readings:
    """The two newest readings of the chain."""

    def __init__(self) -> None:
        self._newest: Reading | None = None
        self._before: Reading | None = None

    def note(self, metagraph: Metagraph) -> None:
        """Keep a metagraph; another one of the same block is no second reading."""
        if self._newest is None or metagraph.block != self._newest.block:
            self._before, self._newest = self._newest, Reading(metagraph.block, registered(metagraph))

    def note_agreed(self, metagraph: Metagraph) -> None:
        """Keep a metagraph as if two readings had told it."""
        self._before = self._newest = Reading(metagraph.block, registered(metagraph))

    def before(self) -> Reading | None:
        """Return the reading before the newest; None: there is one at most."""
        return self._before


def confirmed(now: Registered, before: Reading | None) -> Registered:
    """Return who is registered now, with those that may earn in either of two readings.

    A miner whose address is missing, or that looks like a validator, in the newest reading only
    keeps its right to earn until the next reading.
    """
    if before is None:
        return now
    kept = {
        hotkey: before.present.earlier.get(hotkey, before.block)
        for hotkey in before.present.eligible
        if hotkey not in now.eligible and now.uids.get(hotkey) == before.present.uids[hotkey]
    }
    return replace(now, eligible=frozenset(now.eligible) | kept.keys(), earlier=kept) if kept else now


def unconfirmed(now: Registered, before: Reading | None, paid: Collection[str]) -> Hold | None:
    """Return the hold for paid hotkeys that would lose their weight because of one reading.

    Parameters
    ----------
    now
        The newest reading, see `confirmed`.
    before
        The reading before it; None after a start, when one reading is all there is.
    paid
        Hotkeys that the last vector pays.
    """
    if before is None:
        lost = [hotkey for hotkey in paid if hotkey not in now.eligible]
    else:
        lost = [hotkey for hotkey in paid if hotkey in before.present.uids and hotkey not in now.uids]
    return Hold(gate=Gate.REGISTRY, reason=_words(sorted(lost))) if lost else None


def _words(lost: Sequence[str]) -> str:
    others = f" and {len(lost) - 1} more" if len(lost) > 1 else ""
    return f"by the newest reading of the chain, {lost[0]}{others} may not earn; a second reading must agree"


def renewed(inputs: VectorInputs, block: int, metagraph: Metagraph) -> VectorInputs:
    """Return the inputs of an earlier vector with the uids of now, to set the same shares again.

    Hotkeys that left the subnet get nothing, and those that came since earn nothing.

    Parameters
    ----------
    block
        Block of the metagraph that the earlier vector was computed with.
    """
    now, then = registered(metagraph), inputs.present
    eligible = frozenset(then.eligible) & now.uids.keys()
    earlier = {
        hotkey: then.earlier.get(hotkey, block) for hotkey in sorted(eligible ^ frozenset(now.eligible))
    }
    return replace(inputs, present=replace(now, eligible=eligible, earlier=earlier))
