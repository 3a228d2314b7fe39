"""A node that contradicts the others is named, then believed no more, and believed again after a while."""

from __future__ import annotations

import pytest

from gaia.validator.core.chain.nodes.standing import (
    AT_DEPTH,
    AT_HEAD,
    FORGOTTEN_S,
    LIMIT,
    REDEEMED,
    Standing,
)


class _Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> _Clock:
    return _Clock()


@pytest.fixture
def standing(clock: _Clock) -> Standing:
    return Standing("one.example", is_alone=False, clock=clock)


def _contradict(standing: Standing, blocks: range, weight: int) -> None:
    for block in blocks:
        standing.contradicted(block, "LastUpdate", "7, not 8", weight)


def test_second_contradiction_at_depth_costs_the_trust(standing: Standing) -> None:
    _contradict(standing, range(1), AT_DEPTH)
    assert standing.is_trusted
    _contradict(standing, range(1, 2), AT_DEPTH)

    assert not standing.is_trusted
    assert standing.problem == "LastUpdate: 7, not 8"
    assert standing.contradictions == 2


def test_forks_at_the_newest_block_cost_it_later(standing: Standing) -> None:
    _contradict(standing, range(LIMIT - 1), AT_HEAD)
    assert standing.is_trusted
    _contradict(standing, range(LIMIT, LIMIT + 1), AT_HEAD)

    assert not standing.is_trusted


def test_all_that_one_fork_changes_counts_once(standing: Standing) -> None:
    for question in ("LastUpdate", "Weights", "Uids", "the metagraph", "the time"):
        standing.contradicted(7, question, "7, not 8", AT_HEAD)

    assert standing.is_trusted
    assert not standing.is_disputed


def test_same_contradiction_counts_once(standing: Standing) -> None:
    for _ in range(10):
        standing.contradicted(5, "LastUpdate", "7, not 8", AT_DEPTH)

    assert standing.is_trusted
    assert standing.contradictions == 1


def test_contradictions_are_forgotten_after_an_hour(standing: Standing, clock: _Clock) -> None:
    _contradict(standing, range(1), AT_DEPTH)
    clock.now += FORGOTTEN_S
    _contradict(standing, range(1, 2), AT_DEPTH)

    assert standing.is_trusted


def test_node_is_believed_again_after_comparisons_in_succession_alone(standing: Standing) -> None:
    _contradict(standing, range(2), AT_DEPTH)
    for _ in range(REDEEMED - 1):
        standing.agreed()
    standing.contradicted(9, "LastUpdate", "7, not 8", AT_DEPTH)
    for _ in range(REDEEMED - 1):
        standing.agreed()
    assert not standing.is_trusted
    standing.agreed()

    assert standing.is_trusted
    assert not standing.problem


def test_only_node_is_always_asked_and_believed(clock: _Clock) -> None:
    alone = Standing("one.example", is_alone=True, clock=clock)
    _contradict(alone, range(9), AT_DEPTH)
    alone.failed("away")

    assert alone.is_trusted
    assert alone.is_due


def test_failures_of_one_moment_count_once(standing: Standing, clock: _Clock) -> None:
    for _ in range(6):
        standing.failed("away")
    clock.now += 2.0

    assert standing.is_due


def test_silent_node_is_left_alone_twice_as_long_each_time_up_to_a_minute(
    standing: Standing, clock: _Clock
) -> None:
    waits = []
    for _ in range(8):
        standing.failed("away")
        began = clock.now
        while not standing.is_due:
            clock.now += 1.0
        waits.append(clock.now - began)

    assert waits == [2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0, 60.0]
    assert (standing.is_up, standing.problem) == (False, "away")
    standing.answered()
    assert (standing.is_up, standing.is_due, standing.problem) == (True, True, "")
