"""Chooses the block at which several nodes are read: the newest one that most of them have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

LARGEST_LEAD: Final = 10
"""Blocks by which a node may be ahead of the others: those of two minutes."""
OLDEST_S: Final = 90.0
"""Age of the newest block of a node that follows the chain."""
EARLIEST_S: Final = -30.0
"""Age below which a block is in the future, and its node lies or our clock is wrong."""


def are_apart(told: Mapping[str, int]) -> bool:
    """Return whether the nodes are so far apart that the age of their blocks must tell who follows the chain."""
    return max(told.values()) - min(told.values()) > LARGEST_LEAD


def following(ages_s: Mapping[str, float]) -> list[str]:
    """Return the nodes whose newest block is of now, node -> age of its newest block in seconds.

    If no node has such a block, the chain stands still, or our clock is wrong: all are returned.
    """
    fresh = [node for node, age_s in ages_s.items() if EARLIEST_S <= age_s <= OLDEST_S]
    return fresh or list(ages_s)


def judged(told: Mapping[str, int]) -> int | None:
    """Return the newest block that more than half of the nodes have, of node -> its newest block.

    None: as many are far ahead of it as have it, so that nobody can tell who is right.

    >>> judged({"a": 100, "b": 99, "c": 900})
    100
    """
    blocks = sorted(told.values())
    middle = blocks[(len(blocks) - 1) // 2]
    ahead = sum(block - middle > LARGEST_LEAD for block in blocks)
    return None if 2 * ahead >= len(told) else middle
