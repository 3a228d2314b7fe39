"""What became of vectors whose signing was cut short: decided from what the chain holds of us."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

ERA_BLOCKS = 64
"""For so many blocks after it was signed, an extrinsic of ours may be included."""
_MARGIN = 2
"""Eras to wait: the block of a try is that of the newest metagraph, which may be old by then."""
_U16_MAX = 65535


class Held(Protocol):
    """What the chain holds of us, as of one block."""

    @property
    def block(self) -> int: ...

    @property
    def last_update(self) -> int: ...

    @property
    def pairs(self) -> Sequence[Sequence[int]]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Doubt:
    """A promised vector of which nobody knows whether it landed."""

    epoch: int
    vector: Sequence[Sequence[int]]
    promised_block: int
    """Block as of which it was promised; it can only have landed later."""
    tried_block: int
    """Block as of which it was last handed to the signer."""


@dataclass(frozen=True, slots=True)
class Landed:
    """The chain holds it since `block`."""

    block: int


@dataclass(frozen=True, slots=True)
class Lost:
    """It is not on chain and will not be."""

    reason: str


def settle(
    doubts: Sequence[Doubt], held: Held, known_block: int, current_epoch: int
) -> dict[int, Landed | Lost]:
    """Say of each doubt what the chain tells; those of which it tells nothing yet are left out.

    Parameters
    ----------
    held
        What the chain holds of us now.
    known_block
        Newest block in which a vector is known to have landed; 0: none is known.
    current_epoch
        Its vector may still be tried again, so it is lost only to a newer update.

    Returns
    -------
    dict
        Epoch -> outcome. The chain keeps our last update alone, so at most one vector is found;
        of two equal ones it is the newer.
    """
    found: dict[int, Landed | Lost] = {}
    is_explained = held.last_update <= known_block
    for doubt in sorted(doubts, key=lambda doubt: doubt.epoch, reverse=True):
        if held.last_update > doubt.promised_block:
            if not is_explained and as_stored(held.pairs) == as_stored(doubt.vector):
                found[doubt.epoch] = Landed(held.last_update)
                is_explained = True
            else:
                found[doubt.epoch] = Lost(f"other weights of ours stand since block {held.last_update}")
        elif doubt.epoch != current_epoch and held.block > doubt.tried_block + _MARGIN * ERA_BLOCKS:
            found[doubt.epoch] = Lost(f"not on chain by block {held.block}")
    return found


def as_stored(pairs: Iterable[Sequence[int]]) -> dict[int, int]:
    """Return [uid, u16] pairs as the runtime stores them: the largest at 65535, without zeros.

    Examples
    --------
    >>> as_stored([[1, 9], [2, 3], [5, 0]])
    {1: 65535, 2: 21845}
    """
    kept = {int(uid): int(weight) for uid, weight in pairs if weight}
    top = max(kept.values(), default=0)
    return {uid: scaled for uid, weight in kept.items() if (scaled := weight * _U16_MAX // top)}
