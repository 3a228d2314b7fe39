"""Who may earn: one reading of the chain takes no miner's weight, and gives none to a newcomer."""

from __future__ import annotations

import pytest

from gaia.validator.core.weights.gates import Gate
from gaia.validator.core.weights.inputs import VectorInputs
from gaia.validator.core.weights.registry import Reading, Readings, confirmed, renewed, unconfirmed
from gaia.validator.core.weights.vector import Registered, Terms
from tests.support.fakes import a_metagraph

TERMS = Terms(rule="gaia-2.9", burn_fraction=0.5, burn_enabled=True, burn_hotkey="", contrast_gamma=1.3)


def there(uids: dict[str, int], *eligible: str, **earlier: int) -> Registered:
    return Registered(uids=uids, eligible=frozenset(eligible), owner_hotkey="owner", earlier=earlier)


UIDS = {"owner": 0, "a": 1, "b": 2}


def test_another_metagraph_of_the_same_block_is_no_second_reading() -> None:
    readings = Readings()
    readings.note(a_metagraph(["a"], block=10))
    readings.note(a_metagraph([], block=10))
    assert readings.before() is None

    readings.note(a_metagraph([], block=11))
    before = readings.before()
    assert before is not None
    assert (before.block, set(before.present.eligible)) == (10, {"a"})


def test_miner_that_may_not_earn_in_one_reading_keeps_its_right_and_the_block_is_told() -> None:
    present = confirmed(there(UIDS, "b"), Reading(90, there(UIDS, "a", "b")))

    assert present.eligible == {"a", "b"}
    assert present.earlier == {"a": 90}


def test_second_reading_confirms() -> None:
    present = confirmed(there(UIDS, "b"), Reading(90, there(UIDS, "b")))

    assert present == there(UIDS, "b")


@pytest.mark.parametrize("uids", [{"owner": 0, "b": 2}, {"owner": 0, "a": 7, "b": 2}], ids=["gone", "moved"])
def test_hotkey_without_its_uid_keeps_no_right(uids: dict[str, int]) -> None:
    assert confirmed(there(uids, "b"), Reading(90, there(UIDS, "a", "b"))).eligible == {"b"}


def test_first_reading_stands_alone() -> None:
    assert confirmed(there(UIDS, "b"), None) == there(UIDS, "b")


def test_paid_hotkey_that_leaves_is_held_for_one_reading() -> None:
    gone = there({"owner": 0, "b": 2}, "b")

    hold = unconfirmed(gone, Reading(90, there(UIDS, "a", "b")), ["a", "b"])
    assert hold is not None
    assert hold.gate is Gate.REGISTRY
    assert "a may not earn" in hold.reason
    assert unconfirmed(gone, Reading(95, gone), ["a", "b"]) is None
    assert unconfirmed(gone, Reading(90, there(UIDS, "a", "b")), ["b"]) is None


def test_after_a_start_one_reading_takes_nobodys_weight() -> None:
    hold = unconfirmed(there(UIDS, "b"), None, ["a", "b", "c"])

    assert hold is not None
    assert "a and 1 more may not earn" in hold.reason
    assert unconfirmed(there(UIDS, "a", "b"), None, ["a", "b"]) is None


def test_renewal_pays_those_of_then_by_the_uids_of_now() -> None:
    then = VectorInputs(terms=TERMS, present=there({**UIDS, "gone": 3}, "a", "b", "gone"), runs={})

    inputs = renewed(then, 500, a_metagraph(["b", "new", "a"], block=900))

    present = inputs.present
    assert present.eligible == {"a", "b"}
    assert {hotkey: present.uids[hotkey] for hotkey in "ab"} == {"b": 1, "a": 3}
    assert present.earlier == {"new": 500}
    assert inputs.runs == then.runs


def test_renewal_of_a_renewal_names_the_first_block() -> None:
    then = VectorInputs(terms=TERMS, present=there({**UIDS, "new": 3}, "a", new=500), runs={})

    assert renewed(then, 900, a_metagraph(["a", "b", "new"], block=950)).present.earlier == {
        "b": 900,
        "new": 500,
    }
