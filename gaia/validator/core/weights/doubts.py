"""Decides the outcome of vectors in doubt from our weights on chain."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

ERA_BLOCKS = 64
"""Number of blocks after its signing within which an extrinsic can be included."""
_MARGIN = 2
"""Eras to wait, because the block of an attempt is that of a metagraph that may be old."""
_U16_MAX = 65535


class Held(Protocol):
    """Our weights on chain, at one block."""

    @property
    def block(self) -> int: ...

    @property
    def last_update(self) -> int: ...

    @property
    def pairs(self) -> Sequence[Sequence[int]]: ...


class HeldAndKnown(Held, Protocol):
    """Our weights on chain, and what the signer knows of them."""

    @property
    def epochs(self) -> Sequence[int]:
        """Epochs whose vector the pairs are."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Doubt:
    """A journalled vector of unknown outcome."""

    epoch: int
    vector: Sequence[Sequence[int]]
    promised_block: int
    """Block at which it was journalled; it can only be on chain after it."""
    tried_block: int
    """Block of its last attempt."""


@dataclass(frozen=True, slots=True)
class Landed:
    """The vector is on chain since `block`."""

    block: int


@dataclass(frozen=True, slots=True)
class Lost:
    """The vector is not on chain and will not be."""

    reason: str


def settle(
    doubts: Sequence[Doubt], held: HeldAndKnown, known_block: int, current_epoch: int
) -> dict[int, Landed | Lost]:
    """Return epoch -> outcome of the doubts that the chain can decide by now.

    Parameters
    ----------
    held
        Our weights on chain now.
    known_block
        Newest block in which a vector of ours is known to be set; 0: none.
    current_epoch
        The present epoch; its vector may be tried again, so it is lost only to a newer update.

    Returns
    -------
    dict
        Epoch -> outcome. The chain keeps only our last update, so at most one vector is found. Of
        two equal ones it is the newer.
    """
    found: dict[int, Landed | Lost] = {}
    is_explained = held.last_update <= known_block
    for doubt in sorted(doubts, key=lambda doubt: doubt.epoch, reverse=True):
        if held.last_update > doubt.promised_block:
            if not is_explained and (doubt.epoch in held.epochs or is_held(held.pairs, doubt.vector)):
                found[doubt.epoch] = Landed(held.last_update)
                is_explained = True
            else:
                found[doubt.epoch] = Lost(f"other weights of ours stand since block {held.last_update}")
        elif doubt.epoch != current_epoch and held.block > doubt.tried_block + _MARGIN * ERA_BLOCKS:
            found[doubt.epoch] = Lost(f"not on chain by block {held.block}")
    return found


def is_held(pairs: Sequence[Sequence[int]], vector: Sequence[Sequence[int]]) -> bool:
    """Return whether the chain's pairs are the vector; it clears the weight of a uid that is replaced later."""
    held = {int(uid): int(weight) for uid, weight in pairs if weight}
    ours = as_stored(vector)
    return bool(held) and held.items() <= ours.items()


def has_fewer(pairs: Sequence[Sequence[int]], vector: Sequence[Sequence[int]]) -> bool:
    """Return whether the chain's pairs are the vector without some uids, scaled to the largest that is left.

    Examples
    --------
    >>> has_fewer([[2, 65535], [3, 21845]], [[1, 65535], [2, 30000], [3, 10000]])
    True
    >>> has_fewer([[3, 65535], [2, 21845]], [[1, 65535], [2, 30000], [3, 10000]])
    False
    """
    held = {int(uid) for uid, weight in pairs if weight}
    return bool(held) and as_stored(pairs) == as_stored([pair for pair in vector if int(pair[0]) in held])


def has_weights_of(pairs: Sequence[Sequence[int]], vector: Sequence[Sequence[int]]) -> bool:
    """Return whether the chain's pairs are most weights of the vector, under whatever uids, scaled or not.

    Examples
    --------
    >>> has_weights_of([[4, 65535], [7, 21845]], [[1, 65535], [2, 30000], [3, 10000]])
    False
    >>> has_weights_of([[4, 65535], [7, 10000]], [[1, 65535], [2, 30000], [3, 10000]])
    True
    """
    held = Counter(int(weight) for _, weight in pairs if weight)
    promised = [int(weight) for _, weight in vector if weight]
    if 2 * held.total() <= len(promised):
        return False
    standing = sum(weight * count for weight, count in held.items())
    return any(
        held <= Counter(weight * _U16_MAX // top for weight in promised if weight <= top)
        and 2 * standing * top > _U16_MAX * sum(promised)
        for top in set(promised)
    )


def as_stored(pairs: Iterable[Sequence[int]]) -> dict[int, int]:
    """Return uid -> u16 as the runtime stores [uid, u16] pairs: the largest at 65535, without zeros.

    Examples
    --------
    >>> as_stored([[1, 9], [2, 3], [5, 0]])
    {1: 65535, 2: 21845}
    """
    kept = {int(uid): int(weight) for uid, weight in pairs if weight}
    top = max(kept.values(), default=0)
    return {uid: scaled for uid, weight in kept.items() if (scaled := weight * _U16_MAX // top)}
