"""Who may earn: one reading of the chain takes no miner's weight, and gives none to a newcomer."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gaia.validator.core.weights.gates import Gate, LastVector
from gaia.validator.core.weights.inputs import VectorInputs
from gaia.validator.core.weights.registry import Reading, Readings, confirmed, renewed, unconfirmed
from gaia.validator.core.weights.rules import Entry
from gaia.validator.core.weights.rules.base import Standing
from gaia.validator.core.weights.vector import Registered, Terms
from tests.support.fakes import a_metagraph

TERMS = Terms(rule="gaia-2.9", burn_fraction=0.5, burn_enabled=True, burn_hotkey="", contrast_gamma=1.3)


def there(uids: dict[str, int], *eligible: str, owner: str = "owner", **earlier: int) -> Registered:
    return Registered(uids=uids, eligible=frozenset(eligible), owner_hotkey=owner, earlier=earlier)


def at(block: int, present: Registered, **registrations: int) -> Reading:
    """A reading in which each hotkey was registered in the block of its uid."""
    return Reading(block, present, {**present.uids, **registrations})


def a_last(**weights: float) -> LastVector:
    return LastVector(
        weights=weights, inputs=VectorInputs(terms=TERMS, present=there(UIDS, "a", "b"), runs={})
    )


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
    present = confirmed(there(UIDS, "b"), at(90, there(UIDS, "a", "b")))

    assert present.eligible == {"a", "b"}
    assert present.earlier == {"a": 90}


def test_second_reading_confirms() -> None:
    present = confirmed(there(UIDS, "b"), at(90, there(UIDS, "b")))

    assert present == there(UIDS, "b")


@pytest.mark.parametrize("uids", [{"owner": 0, "b": 2}, {"owner": 0, "a": 7, "b": 2}], ids=["gone", "moved"])
def test_hotkey_without_its_uid_keeps_no_right(uids: dict[str, int]) -> None:
    assert confirmed(there(uids, "b"), at(90, there(UIDS, "a", "b"))).eligible == {"b"}


def test_first_reading_stands_alone() -> None:
    assert confirmed(there(UIDS, "b"), None) == there(UIDS, "b")


def reasons(now: Reading, before: Reading | None, last: LastVector | None) -> list[str]:
    holds = list(unconfirmed(now, before, TERMS, last, {}))
    assert {hold.gate for hold in holds} <= {Gate.REGISTRY}
    return [hold.reason for hold in holds]


def test_paid_hotkey_that_leaves_is_held_for_one_reading() -> None:
    gone = there({"owner": 0, "b": 2}, "b")
    before = at(90, there(UIDS, "a", "b"))

    (reason,) = reasons(at(95, gone), before, a_last(a=0.5, b=0.5))
    assert "a may not earn any more" in reason
    assert reasons(at(99, gone), at(95, gone), a_last(a=0.5, b=0.5)) == []
    assert reasons(at(95, gone), before, a_last(owner=0.5, b=0.5)) == []


def test_other_registration_of_a_paid_hotkey_is_held_for_one_reading() -> None:
    present = there(UIDS, "a", "b")

    (reason,) = reasons(at(95, present, a=94), at(90, present), a_last(a=1.0))
    assert "a may not earn any more" in reason
    assert reasons(at(99, present, a=94), at(95, present, a=94), a_last(a=1.0)) == []


def test_other_receiver_of_the_burn_is_held_for_one_reading() -> None:
    now, then = at(95, there(UIDS, "a", owner="b")), at(90, there(UIDS, "a"))

    (reason,) = reasons(now, then, None)
    assert "the burn goes to b instead of owner" in reason
    assert reasons(at(99, now.present), now, None) == []
    assert len(reasons(now, None, a_last(a=1.0))) == 1
    fixed = replace(TERMS, burn_hotkey="owner")
    assert not list(unconfirmed(now, then, fixed, None, {}))


def test_after_a_start_one_reading_takes_nobodys_weight() -> None:
    (reason,) = reasons(at(90, there(UIDS, "b")), None, a_last(a=0.3, b=0.3, c=0.4))

    assert "a and 1 more may not earn" in reason
    assert reasons(at(90, there(UIDS, "a", "b")), None, a_last(a=0.5, b=0.5)) == []


def test_renewal_pays_those_of_then_by_the_uids_of_now() -> None:
    then = VectorInputs(terms=TERMS, present=there({**UIDS, "gone": 3}, "a", "b", "gone"), runs={})

    present = renewed(then, 500, a_metagraph(["b", "new", "a"], block=900)).present

    assert present.eligible == {"a", "b"}
    assert {hotkey: present.uids[hotkey] for hotkey in "ab"} == {"b": 1, "a": 3}
    assert present.earlier == {"new": 500}


def test_hotkey_that_was_registered_anew_is_another_miner_for_a_renewal() -> None:
    entry = Entry(standing=Standing.DELIVERED, overall=0.5, leads={})
    then = VectorInputs(terms=TERMS, present=there(UIDS, "a", "b"), runs={"run": {"a": entry, "b": entry}})

    # In this metagraph a hotkey was registered in the block of its uid.
    assert renewed(then, 1, a_metagraph(["a", "b"], block=900)).runs == {"run": {"a": entry}}
    assert renewed(then, 2, a_metagraph(["a", "b"], block=900)).runs == then.runs


def test_renewal_of_a_renewal_names_the_first_block() -> None:
    then = VectorInputs(terms=TERMS, present=there({**UIDS, "new": 3}, "a", new=500), runs={})

    assert renewed(then, 900, a_metagraph(["a", "b", "new"], block=950)).present.earlier == {
        "b": 900,
        "new": 500,
    }
