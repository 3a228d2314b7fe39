"""What one reading of the chain says about a validator."""

from __future__ import annotations

from typing import Any

import pytest

from gaia.cli.watch.findings import State, judged
from gaia.validator.utils.identities import Hotkey
from tests.support.builders import a_metagraph, a_neuron

OURS = Hotkey("ours")


def finding_at(block: int, **ours: Any) -> State:
    values = {"hotkey": OURS, "validator_permit": True, "registered_at": 100, "last_update": 900}
    neuron = a_neuron(0, **values | ours)
    return judged(a_metagraph([neuron, a_neuron(1)], block=block), OURS, older_than=720).state


@pytest.mark.parametrize(("block", "expected"), [(900, State.WELL), (1620, State.WELL), (1621, State.OLD)])
def test_weights_are_old_one_block_after_the_limit(block: int, expected: State) -> None:
    assert finding_at(block) is expected


def test_block_of_the_registration_is_no_weight_setting() -> None:
    assert finding_at(1000, last_update=100) is State.NEVER


def test_weights_without_a_permit_count_for_nothing() -> None:
    assert finding_at(1000, validator_permit=False) is State.NO_PERMIT


def test_unknown_hotkey_is_named() -> None:
    found = judged(a_metagraph([a_neuron(1)], block=5), OURS, older_than=720)

    assert found.state is State.UNREGISTERED
    assert "hotkey ours is not registered on subnet" in found.sentence
    assert found.last_update is None
