"""The answer that more than half of the nodes give wins, and nobody wins otherwise."""

from __future__ import annotations

import itertools

import pytest

from gaia.validator.core.chain.nodes.ballot import MOST_LETTERS, Ballot, difference


def _ballot(voters: int, answers: dict[str, object], silent: int = 0) -> Ballot:
    ballot = Ballot(voters)
    for node, answer in answers.items():
        ballot.add(node, answer)
    for _ in range(silent):
        ballot.abstain(OSError("away"))
    return ballot


@pytest.mark.parametrize(
    ("answers", "silent", "winners", "dissenters"),
    [
        ({"a": 1, "b": 1, "c": 2}, 0, ["a", "b"], ["c"]),
        ({"a": 2, "b": 1, "c": 1}, 0, ["b", "c"], ["a"]),
        ({"a": 1, "b": 2, "c": 3}, 0, [], []),
        ({"a": 1, "b": 2}, 1, [], []),
        ({"a": 1}, 2, ["a"], []),
        ({"a": None, "b": None, "c": 0}, 0, ["a", "b"], ["c"]),
        ({"a": [1], "b": (1,), "c": [1]}, 0, ["a", "c"], ["b"]),
        ({}, 3, [], []),
    ],
)
def test_most_answers_win(
    answers: dict[str, object], silent: int, winners: list[str], dissenters: list[str]
) -> None:
    ballot = _ballot(3, answers, silent)

    assert ballot.is_decided
    assert (ballot.winners(), ballot.dissenters()) == (winners, dissenters)


def test_vote_ends_once_no_answer_can_change_it_and_not_before() -> None:
    ballot = Ballot(3)
    ballot.add("a", 1)
    assert not ballot.is_decided
    ballot.add("b", 2)
    assert not ballot.is_decided
    ballot.add("c", 2)
    assert ballot.is_decided

    early = Ballot(3)
    early.add("a", 1)
    early.add("b", 1)
    assert early.is_decided


@pytest.mark.parametrize("order", itertools.permutations("abcde"))
def test_order_of_the_answers_does_not_matter(order: tuple[str, ...]) -> None:
    told = {"a": 1, "b": 2, "c": 1, "d": 3, "e": 1}

    ballot = _ballot(5, {node: told[node] for node in order})

    assert sorted(ballot.winners()) == ["a", "c", "e"]


def test_dispute_names_the_first_place_in_which_answers_differ() -> None:
    ballot = _ballot(2, {"one": {"axons": [{"ip": 1}]}, "two": {"axons": [{"ip": 2}]}})

    assert ballot.dispute() == "for one and two, axons[0].ip is 1, not 2"


@pytest.mark.parametrize(
    ("told", "true", "words"),
    [
        ({"a": 1}, {"a": 1, "b": 2}, "b is None, not 2"),
        ({"a": 1, "c": 3}, {"a": 1}, "c is 3, not None"),
        ([1, 2], [1, 2, 3], "[1, 2], not [1, 2, 3]"),
        ([[1, 2]], [[1, 5]], "[0][1] is 2, not 5"),
        ("", None, "'', not None"),
    ],
)
def test_difference_is_told_at_its_place(told: object, true: object, words: str) -> None:
    assert difference(told, true) == words


def test_long_answer_is_cut() -> None:
    words = difference("x" * 10_000, "y")

    assert len(words) < 2 * MOST_LETTERS
