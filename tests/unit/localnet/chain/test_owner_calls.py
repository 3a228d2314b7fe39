"""Rules that the owner changes: only the owner, not near the end of an epoch, and not twice in a while."""

from __future__ import annotations

from typing import Any

import pytest

from gaia.localnet.chain.calls import DispatchError
from gaia.localnet.chain.pallet import SubnetRules, SubtensorPallet
from gaia.localnet.chain.runtime import ChainRuntime
from gaia.localnet.chain.storage import ChainStorage
from tests.support.subnet import NETUID, OWNER, RULES, VALIDATOR, neurons

_TEMPO, _WINDOW = 40, 10


class Subnet:
    """A pallet whose block number the test decides."""

    def __init__(self) -> None:
        self.number = 5
        self.storage = ChainStorage(ChainRuntime.load())
        self.pallet = SubtensorPallet(self.storage, NETUID, lambda: self.number)
        self.pallet.found(SubnetRules(**RULES | {"tempo": _TEMPO}), neurons())

    def call(self, function: str, signer: str = OWNER, **arguments: Any) -> Any:
        return self.pallet.dispatch(signer, function, {"netuid": NETUID} | arguments)

    def refusal(self, function: str, signer: str = OWNER, **arguments: Any) -> str:
        with pytest.raises(DispatchError) as refused:
            self.call(function, signer, **arguments)
        return refused.value.name


@pytest.fixture
def subnet() -> Subnet:
    return Subnet()


@pytest.mark.parametrize(
    ("function", "argument", "value", "item"),
    [
        ("sudo_set_weights_version_key", "weights_version_key", 4711, "WeightsVersionKey"),
        ("sudo_set_min_allowed_weights", "min_allowed_weights", 4, "MinAllowedWeights"),
        ("sudo_set_commit_reveal_weights_enabled", "enabled", True, "CommitRevealWeightsEnabled"),
        ("sudo_set_commit_reveal_weights_interval", "interval", 3, "RevealPeriodEpochs"),
    ],
)
def test_owner_changes_a_rule_and_nobody_else_does(
    subnet: Subnet, function: str, argument: str, value: Any, item: str
) -> None:
    assert subnet.refusal(function, VALIDATOR, **{argument: value}) == "BadOrigin"

    subnet.call(function, **{argument: value})

    assert subnet.storage.read(item, NETUID) == value


def test_rules_do_not_change_in_the_last_blocks_of_an_epoch(subnet: Subnet) -> None:
    name = "sudo_set_min_allowed_weights"
    assert subnet.storage.read("AdminFreezeWindow") == _WINDOW
    subnet.number = _TEMPO - _WINDOW + 1

    assert subnet.refusal(name, min_allowed_weights=3) == "AdminActionProhibitedDuringWeightsWindow"
    subnet.number -= 1
    subnet.call(name, min_allowed_weights=3)


def test_same_rule_changes_once_in_some_epochs(subnet: Subnet) -> None:
    wait = subnet.storage.read("OwnerHyperparamRateLimit") * _TEMPO
    subnet.call("sudo_set_min_allowed_weights", min_allowed_weights=3)
    subnet.storage.write("LastEpochBlock", NETUID, value=wait)

    subnet.number += wait - 1
    assert subnet.refusal("sudo_set_min_allowed_weights", min_allowed_weights=4) == "TxRateLimitExceeded"
    subnet.call("sudo_set_weights_version_key", weights_version_key=1)
    subnet.number += 1
    subnet.call("sudo_set_min_allowed_weights", min_allowed_weights=4)


def test_new_tempo_begins_the_present_epoch_anew(subnet: Subnet) -> None:
    assert subnet.refusal("sudo_set_tempo", tempo=0) == "TempoOutOfBounds"
    assert subnet.refusal("sudo_set_tempo", tempo=50_401) == "TempoOutOfBounds"

    events = subnet.call("sudo_set_tempo", tempo=60)

    assert events == [("SubtensorModule", "TempoSet", [NETUID, 60])]
    assert [subnet.storage.read(item, NETUID) for item in ("Tempo", "LastEpochBlock")] == [60, 5]


def test_call_of_earlier_specs_changes_no_tempo(subnet: Subnet) -> None:
    assert subnet.call("set_tempo", tempo=60) == []
    assert subnet.storage.read("Tempo", NETUID) == _TEMPO


def test_owner_triggers_an_epoch_that_begins_after_the_window(subnet: Subnet) -> None:
    ((_, name, told),) = subnet.call("trigger_epoch")

    assert (name, told["fires_at"]) == ("EpochTriggered", 5 + _WINDOW)
    subnet.storage.write("OwnerHyperparamRateLimit", value=0)
    assert subnet.refusal("trigger_epoch") == "EpochTriggerAlreadyPending"
    epochs = subnet.pallet.weights.epochs
    assert [epochs.present(block) for block in (14, 15)] == [0, 1]
    assert (
        subnet.refusal("sudo_set_min_allowed_weights", min_allowed_weights=3)
        == "AdminActionProhibitedDuringWeightsWindow"
    )


def test_no_epoch_is_triggered_beside_sealed_weights_or_just_before_the_next(subnet: Subnet) -> None:
    subnet.number = _TEMPO - _WINDOW + 1
    assert subnet.refusal("trigger_epoch") == "AutoEpochAlreadyImminent"

    subnet.number = 5
    subnet.storage.write("CommitRevealWeightsEnabled", NETUID, value=True)
    assert subnet.refusal("trigger_epoch") == "DynamicTempoBlockedByCommitReveal"
