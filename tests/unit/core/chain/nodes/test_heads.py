"""The block to read is the newest that most nodes have, whatever the others claim."""

from __future__ import annotations

import pytest

from gaia.validator.core.chain.nodes.heads import LARGEST_LEAD, are_apart, following, judged


@pytest.mark.parametrize(
    ("told", "block"),
    [
        ({"a": 100}, 100),
        ({"a": 100, "b": 98}, 98),
        ({"a": 100, "b": 98, "c": 99}, 99),
        ({"a": 100, "b": 98, "c": 10**9}, 100),
        ({"a": 100, "b": 101 + LARGEST_LEAD, "c": 100}, 100),
        ({"a": 5, "b": 100, "c": 100}, 100),
        ({"a": 100, "b": 100, "c": 900, "d": 100, "e": 901}, 100),
    ],
)
def test_a_minority_cannot_move_the_block_forward(told: dict[str, int], block: int) -> None:
    assert judged(told) == block


@pytest.mark.parametrize(
    "told", [{"a": 100, "b": 900}, {"a": 100, "b": 900, "c": 100, "d": 901}], ids=["two", "four"]
)
def test_nobody_decides_where_half_are_ahead(told: dict[str, int]) -> None:
    assert judged(told) is None


def test_nodes_are_apart_beyond_the_largest_lead() -> None:
    assert not are_apart({"a": 1, "b": 1 + LARGEST_LEAD})
    assert are_apart({"a": 1, "b": 2 + LARGEST_LEAD})


@pytest.mark.parametrize(
    ("ages_s", "believed"),
    [
        ({"stuck": 4000.0, "good": 12.0}, ["good"]),
        ({"future": -31.0, "good": 12.0}, ["good"]),
        ({"a": 4000.0, "b": 4012.0}, ["a", "b"]),
        ({"a": 0.0, "b": 90.0}, ["a", "b"]),
    ],
)
def test_node_whose_newest_block_is_old_or_to_come_does_not_count(
    ages_s: dict[str, float], believed: list[str]
) -> None:
    assert following(ages_s) == believed
