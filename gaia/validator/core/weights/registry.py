"""Decides who is registered and may earn: no miner loses its weight because of one reading of the chain."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from gaia.validator.core.weights.gates import Gate, Hold
from gaia.validator.core.weights.vector import Registered, registered

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from gaia.validator.core.weights.gates import LastVector
    from gaia.validator.core.weights.inputs import VectorInputs
    from gaia.validator.core.weights.rules import Entry
    from gaia.validator.core.weights.vector import Terms
    from gaia.validator.utils.chain.metagraph import Metagraph


@dataclass(frozen=True, slots=True)
class Reading:
    """Who was registered at one block."""

    block: int
    present: Registered
    registrations: Mapping[str, int]
    """Hotkey -> block of its registration."""


def reading_of(metagraph: Metagraph) -> Reading:
    """Return what a metagraph says of registrations."""
    registrations: dict[str, int] = {neuron.hotkey: neuron.registered_at for neuron in metagraph.neurons}
    return Reading(metagraph.block, registered(metagraph), registrations)


class Readings:
    """The two newest readings of the chain."""

    def __init__(self) -> None:
        self._newest: Reading | None = None
        self._before: Reading | None = None

    def note(self, metagraph: Metagraph) -> None:
        """Keep a metagraph; another one of the same block is no second reading."""
        if self._newest is None or metagraph.block != self._newest.block:
            self._before, self._newest = self._newest, reading_of(metagraph)

    def note_agreed(self, metagraph: Metagraph) -> None:
        """Keep a metagraph as if two readings had told it."""
        self._before = self._newest = reading_of(metagraph)

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
        hotkey: before.block
        for hotkey in before.present.eligible
        if hotkey not in now.eligible and now.uids.get(hotkey) == before.present.uids[hotkey]
    }
    return replace(now, eligible=frozenset(now.eligible) | kept.keys(), earlier=kept) if kept else now


def unconfirmed(
    now: Reading,
    before: Reading | None,
    terms: Terms,
    last: LastVector | None,
    swapped: Mapping[str, str],
) -> Iterator[Hold]:
    """Yield what one reading alone says, if weight would move because of it.

    That are paid hotkeys that left, were registered anew or swapped, and another receiver of the burn.

    Parameters
    ----------
    now
        The newest reading, with the rights to earn of `confirmed`.
    before
        The reading before it; None after a start, when one reading is all there is.
    last
        The last vector, with the hotkeys of now; None: there is none.
    swapped
        Hotkeys of the last vector -> those that they were swapped for since.
    """
    paid = last.shares() if last is not None else {}
    for old, new in swapped.items():
        if new in paid and (before is None or new not in before.registrations):
            yield _told_once(f"{old} was swapped for {new}")
    lost = sorted(hotkey for hotkey in paid if _is_lost(hotkey, now, before))
    if lost:
        yield _told_once(
            f"{lost[0]}{f' and {len(lost) - 1} more' if len(lost) > 1 else ''} may not earn any more"
        )
    if terms.burn_enabled and not terms.burn_hotkey:
        known = (
            before.present.owner_hotkey
            if before is not None
            else last.inputs.burner
            if last is not None
            else ""
        )
        if known and known != now.present.owner_hotkey:
            yield _told_once(f"the burn goes to {now.present.owner_hotkey or 'nobody'} instead of {known}")


def _is_lost(hotkey: str, now: Reading, before: Reading | None) -> bool:
    if before is None:
        return hotkey not in now.present.eligible
    known = before.registrations.get(hotkey)
    return known is not None and now.registrations.get(hotkey) != known


def _told_once(what: str) -> Hold:
    return Hold(
        gate=Gate.REGISTRY, reason=f"by the newest reading of the chain, {what}; a second reading must agree"
    )


def renewed(inputs: VectorInputs, block: int, metagraph: Metagraph) -> VectorInputs:
    """Return the inputs of an earlier vector with the uids of now, to set its weights again.

    Hotkeys that left the subnet, or were registered anew, get nothing; those that came since earn
    nothing. The weight rule divides again what they had.

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
    others = {neuron.hotkey for neuron in metagraph.neurons if neuron.registered_at > block}
    runs = {run_id: _without(others, entries) for run_id, entries in inputs.runs.items()}
    return replace(inputs, present=replace(now, eligible=eligible, earlier=earlier), runs=runs)


def _without(hotkeys: Collection[str], entries: Mapping[str, Entry]) -> dict[str, Entry]:
    return {hotkey: entry for hotkey, entry in entries.items() if hotkey not in hotkeys}
