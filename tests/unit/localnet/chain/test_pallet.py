"""Tests of the pallet: what is refused, with which name, and what is stored."""

from __future__ import annotations

from typing import Any

import pytest

from gaia.localnet.chain.calls import DispatchError
from gaia.localnet.chain.pallet import SubnetRules, SubtensorPallet
from gaia.localnet.chain.runtime import ChainRuntime
from gaia.localnet.chain.storage import ChainStorage
from gaia.localnet.chain.subnet.neurons import neurons_of
from tests.support.subnet import MINERS, NETUID, OWNER, RULES, VALIDATOR, neurons

_VECTOR: dict[str, Any] = {
    "netuid": NETUID,
    "mecid": 0,
    "dests": [1, 2],
    "weights": [10, 5],
    "version_key": 7,
}
_AXON: dict[str, Any] = {
    "netuid": NETUID,
    "version": 1,
    "ip": 2130706434,
    "port": 8091,
    "ip_type": 4,
    "protocol": 4,
    "placeholder1": 0,
    "placeholder2": 0,
}


class Subnet:
    """A pallet whose block number the test decides."""

    def __init__(self, **rules: Any) -> None:
        self.number = 0
        self.storage = ChainStorage(ChainRuntime.load())
        self.pallet = SubtensorPallet(self.storage, NETUID, lambda: self.number)
        self.pallet.found(SubnetRules(**RULES | rules), neurons())

    def set_weights(self, signer: str = VALIDATOR, **changes: Any) -> Any:
        return self.pallet.dispatch(signer, "set_mechanism_weights", _VECTOR | changes)

    def refusal(self, signer: str = VALIDATOR, **changes: Any) -> str:
        with pytest.raises(DispatchError) as refused:
            self.set_weights(signer, **changes)
        return refused.value.name


@pytest.fixture
def subnet() -> Subnet:
    return Subnet(weights_version=7)


def test_weights_are_scaled_up_to_the_largest_u16_and_dated(subnet: Subnet) -> None:
    subnet.number = 5

    events = subnet.set_weights()

    assert subnet.storage.read("Weights", NETUID, 0) == [(1, 65535), (2, 32767)]
    assert subnet.storage.read("LastUpdate", NETUID)[0] == 5
    assert events == [("SubtensorModule", "WeightsSet", [NETUID, 0])]


@pytest.mark.parametrize(
    ("refused_as", "changes"),
    [
        ("CanNotSetRootNetworkWeights", {"netuid": 0}),
        ("WeightVecNotEqualSize", {"weights": [1]}),
        ("MechanismDoesNotExist", {"mecid": 1}),
        ("UidsLengthExceedUidsInSubNet", {"dests": [0, 1, 2, 3, 4], "weights": [1] * 5}),
        ("HotKeyNotRegisteredInSubNet", {"signer": OWNER}),
        ("IncorrectWeightVersionKey", {"version_key": 6}),
        ("NeuronNoValidatorPermit", {"signer": MINERS[0]}),
        ("DuplicateUids", {"dests": [1, 1]}),
        ("UidVecContainInvalidOne", {"dests": [1, 9]}),
        ("WeightVecLengthIsLow", {"dests": [1], "weights": [1]}),
    ],
)
def test_a_wrong_vector_is_refused_by_the_runtimes_name(
    subnet: Subnet, refused_as: str, changes: dict[str, Any]
) -> None:
    subnet.storage.write("CommitRevealWeightsEnabled", 0, value=False)
    assert subnet.refusal(**changes) == refused_as


def test_the_first_fault_in_the_runtimes_order_is_the_one_named(subnet: Subnet) -> None:
    assert subnet.refusal(OWNER, weights=[1]) == "WeightVecNotEqualSize"
    assert subnet.refusal(MINERS[0], version_key=0, dests=[1, 1]) == "IncorrectWeightVersionKey"
    assert subnet.refusal(MINERS[0], dests=[1, 1]) == "NeuronNoValidatorPermit"


def test_weights_set_again_too_soon_are_refused_until_the_limit_has_passed(subnet: Subnet) -> None:
    subnet.number = 3
    subnet.set_weights()

    subnet.number = 4
    assert subnet.refusal() == "SettingWeightsTooFast"
    subnet.number = 5
    subnet.set_weights()

    assert subnet.storage.read("LastUpdate", NETUID)[0] == 5


def test_a_neuron_without_permit_may_weigh_itself_alone(subnet: Subnet) -> None:
    subnet.set_weights(MINERS[0], dests=[1], weights=[3])
    assert subnet.storage.read("Weights", NETUID, 1) == [(1, 65535)]


def test_a_weight_above_the_subnets_limit_is_refused(subnet: Subnet) -> None:
    subnet.storage.write("MaxWeightsLimit", NETUID, value=40000)
    assert subnet.refusal() == "MaxWeightExceeded"


def test_too_little_stake_is_refused(subnet: Subnet) -> None:
    subnet.storage.write("StakeThreshold", value=10**15)
    assert subnet.refusal() == "NotEnoughStakeToSetWeights"


def test_plain_weights_are_refused_where_weights_are_sealed() -> None:
    assert Subnet(commit_reveal=True).refusal() == "CommitRevealEnabled"


def test_an_axon_is_served_under_the_address_given(subnet: Subnet) -> None:
    subnet.number = 9
    subnet.pallet.dispatch(MINERS[2], "serve_axon", _AXON)
    served = neurons_of(subnet.storage, NETUID)[3]["axon"]
    assert (served["ip"], served["port"], served["block"]) == (2130706434, 8091, 9)


@pytest.mark.parametrize(
    ("refused_as", "changes"),
    [
        ("InvalidIpAddress", {"ip": 2130706433}),
        ("InvalidIpType", {"ip_type": 5}),
        ("InvalidPort", {"port": 0}),
    ],
)
def test_an_axon_nobody_could_reach_is_refused(
    subnet: Subnet, refused_as: str, changes: dict[str, Any]
) -> None:
    with pytest.raises(DispatchError, match=refused_as):
        subnet.pallet.dispatch(MINERS[2], "serve_axon", _AXON | changes)


def test_a_stranger_cannot_serve_an_axon(subnet: Subnet) -> None:
    with pytest.raises(DispatchError, match="HotKeyNotRegisteredInNetwork"):
        subnet.pallet.dispatch(OWNER, "serve_axon", _AXON)


def test_a_newcomer_gets_the_next_uid_and_its_block(subnet: Subnet) -> None:
    subnet.number = 12
    subnet.pallet.dispatch(OWNER, "burned_register", {"netuid": NETUID, "hotkey": OWNER})
    row = neurons_of(subnet.storage, NETUID)[-1]
    assert (row["uid"], row["hotkey"], row["block_at_registration"]) == (4, OWNER, 12)


@pytest.mark.parametrize(
    ("refused_as", "netuid", "hotkey"),
    [
        ("HotKeyAlreadyRegisteredInSubNet", NETUID, VALIDATOR),
        ("SubnetNotExists", 3, OWNER),
        ("RegistrationNotPermittedOnRootSubnet", 0, OWNER),
    ],
)
def test_a_registration_that_makes_no_sense_is_refused(
    subnet: Subnet, refused_as: str, netuid: int, hotkey: str
) -> None:
    with pytest.raises(DispatchError, match=refused_as):
        subnet.pallet.dispatch(OWNER, "burned_register", {"netuid": netuid, "hotkey": hotkey})


def test_a_call_that_is_not_modelled_is_filtered(subnet: Subnet) -> None:
    with pytest.raises(DispatchError, match="CallFiltered"):
        subnet.pallet.dispatch(OWNER, "add_stake", {})
