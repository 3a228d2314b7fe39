"""Tests of what becomes of vectors in doubt: found, lost, or still unknown."""

from __future__ import annotations

from typing import Any

from gaia.validator.core.weights.doubts import ERA_BLOCKS, Doubt, Landed, Lost, as_stored, settle
from gaia.validator.utils.signer_messages import WeightsRead

OURS = [[1, 65535], [2, 300]]
OTHER = [[3, 65535]]
LATER = 50


def _held(**changes: Any) -> WeightsRead:
    held: dict[str, Any] = {
        "request_id": 1,
        "block": 120,
        "last_update": 110,
        "update_hash": "0xab",
        "pairs": OURS,
    }
    return WeightsRead(**held | changes)


def _doubt(**changes: Any) -> Doubt:
    doubt: dict[str, Any] = {"epoch": 10, "vector": OURS, "promised_block": 100, "tried_block": 100}
    return Doubt(**doubt | changes)


def test_a_vector_that_stands_on_chain_since_its_promise_is_found() -> None:
    assert settle([_doubt()], _held(), known_block=0, current_epoch=11) == {10: Landed(110)}


def test_weights_older_than_the_promise_are_no_answer_while_an_attempt_may_still_land() -> None:
    held = _held(last_update=90, block=100 + ERA_BLOCKS)

    assert settle([_doubt()], held, known_block=0, current_epoch=LATER) == {}


def test_an_equal_vector_of_before_the_promise_is_not_taken_for_it() -> None:
    assert settle([_doubt()], _held(last_update=100), known_block=0, current_epoch=10) == {}


def test_a_vector_whose_last_attempt_can_land_no_more_is_lost() -> None:
    held = _held(last_update=90, block=101 + 2 * ERA_BLOCKS)

    assert isinstance(settle([_doubt()], held, known_block=0, current_epoch=LATER)[10], Lost)


def test_the_vector_of_the_epoch_that_runs_may_be_tried_again_however_long_ago_the_last_attempt_was() -> None:
    held = _held(last_update=90, block=100_000)

    assert settle([_doubt()], held, known_block=0, current_epoch=10) == {}


def test_a_vector_over_which_others_were_set_is_lost_even_in_its_own_epoch() -> None:
    found = settle([_doubt()], _held(pairs=OTHER), known_block=0, current_epoch=10)

    assert isinstance(found[10], Lost)
    assert "block 110" in found[10].reason


def test_an_update_that_is_known_to_be_another_epochs_finds_nothing() -> None:
    assert isinstance(settle([_doubt()], _held(), known_block=110, current_epoch=11)[10], Lost)


def test_of_two_equal_vectors_the_newer_is_found() -> None:
    older = _doubt(epoch=9, promised_block=90, tried_block=90)

    found = settle([older, _doubt()], _held(), known_block=0, current_epoch=11)

    assert found[10] == Landed(110)
    assert isinstance(found[9], Lost)


def test_the_vector_that_landed_is_found_though_a_newer_one_was_promised_after_it() -> None:
    newer = _doubt(epoch=11, vector=OTHER, promised_block=115, tried_block=115)

    assert settle([_doubt(), newer], _held(), known_block=0, current_epoch=11) == {10: Landed(110)}


def test_vectors_are_compared_as_the_runtime_stores_them() -> None:
    assert as_stored([[2, 3], [1, 9], [5, 0]]) == as_stored([(1, 65535), (2, 21845)])
    assert as_stored([]) == {}


def test_vector_that_stands_with_other_uids_is_found_if_the_signer_knows_it() -> None:
    doubts = [_doubt(), _doubt(epoch=9, promised_block=99)]

    found = settle(doubts, _held(pairs=OTHER, epochs=[10]), known_block=0, current_epoch=11)

    assert found[10] == Landed(110)
    assert isinstance(found[9], Lost)
