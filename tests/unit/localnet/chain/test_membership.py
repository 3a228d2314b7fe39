"""Slots of the local chain: whom a newcomer replaces, what a swap and a trim leave, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from gaia.localnet.chain.calls import DispatchError
from gaia.localnet.chain.subnet.neurons import neurons_of
from gaia.localnet.wallets import keypair
from tests.support.subnet import MINERS, NETUID, OWNER, VALIDATOR
from tests.unit.localnet.chain.test_pallet import Subnet

_NEW, _OTHER = (str(keypair(f"//New{number}").ss58_address) for number in range(2))


@pytest.fixture
def subnet() -> Subnet:
    """Four full slots: the validator, who has weighed all miners, and the miners."""
    subnet = Subnet()
    subnet.storage.write("MaxAllowedUids", NETUID, value=4)
    subnet.storage.write("ImmunityPeriod", NETUID, value=10)
    subnet.number = 20
    subnet.set_weights(dests=[1, 2, 3], weights=[3, 2, 1])
    return subnet


def _slots(subnet: Subnet) -> list[tuple[str, int]]:
    rows = neurons_of(subnet.storage, NETUID)
    assert [row["uid"] for row in rows] == list(range(len(rows)))
    return [(row["hotkey"], row["block_at_registration"]) for row in rows]


def _weights(subnet: Subnet) -> Any:
    return [list(pair) for pair in subnet.storage.read("Weights", NETUID, 0)]


def _register(subnet: Subnet, hotkey: str) -> None:
    subnet.pallet.dispatch(hotkey, "burned_register", {"netuid": NETUID, "hotkey": hotkey})


def _emit(subnet: Subnet, *emission: int) -> None:
    subnet.storage.write("Emission", NETUID, value=list(emission))


def test_newcomer_takes_the_slot_with_the_least_emission_and_its_weight_is_cleared(subnet: Subnet) -> None:
    _emit(subnet, 9, 5, 1, 7)

    _register(subnet, _NEW)

    assert _slots(subnet) == [(VALIDATOR, 0), (MINERS[0], 0), (_NEW, 20), (MINERS[2], 0)]
    assert _weights(subnet) == [[1, 65535], [2, 0], [3, 21845]]
    assert subnet.storage.read("Uids", NETUID, MINERS[1]) is None
    assert neurons_of(subnet.storage, NETUID)[2]["axon"]["ip"] == 0


def test_newcomer_is_immune_until_its_period_is_over(subnet: Subnet) -> None:
    _emit(subnet, 9, 5, 1, 7)
    _register(subnet, _NEW)
    subnet.number = 29

    _register(subnet, _OTHER)

    assert _slots(subnet)[1:3] == [(_OTHER, 29), (_NEW, 20)]


def test_owner_is_never_replaced_and_a_subnet_of_owners_is_full(subnet: Subnet) -> None:
    _emit(subnet, 9, 5, 1, 7)
    subnet.storage.write("SubnetOwnerHotkey", NETUID, value=MINERS[1])

    _register(subnet, _NEW)

    assert [hotkey for hotkey, _ in _slots(subnet)] == [VALIDATOR, _NEW, MINERS[1], MINERS[2]]


def test_swap_keeps_slot_registration_axon_stake_and_weight(subnet: Subnet) -> None:
    subnet.storage.write("TotalHotkeyAlpha", MINERS[0], NETUID, value=77)
    before = neurons_of(subnet.storage, NETUID)[1]

    events = subnet.pallet.dispatch(
        OWNER, "swap_hotkey", {"hotkey": MINERS[0], "new_hotkey": _NEW, "netuid": NETUID}
    )

    assert events[0][1] == "HotkeySwappedOnSubnet"
    assert neurons_of(subnet.storage, NETUID)[1] == before | {"hotkey": _NEW}
    assert before["axon"]["ip"] != 0
    assert _weights(subnet) == [[1, 65535], [2, 43690], [3, 21845]]


@pytest.mark.parametrize(
    ("signer", "changes", "name"),
    [
        (VALIDATOR, {}, "NonAssociatedColdKey"),
        (OWNER, {"new_hotkey": MINERS[0]}, "NewHotKeyIsSameWithOld"),
        (OWNER, {"new_hotkey": MINERS[1]}, "HotKeyAlreadyRegisteredInSubNet"),
        (OWNER, {"netuid": 3}, "HotKeyNotRegisteredInSubNet"),
        (OWNER, {"netuid": None}, "CallFiltered"),
    ],
)
def test_swap_that_makes_no_sense_is_refused(
    subnet: Subnet, signer: str, changes: dict[str, Any], name: str
) -> None:
    call = {"hotkey": MINERS[0], "new_hotkey": _NEW, "netuid": NETUID}

    with pytest.raises(DispatchError, match=name):
        subnet.pallet.dispatch(signer, "swap_hotkey", call | changes)


def test_trim_keeps_those_with_the_most_emission_and_moves_their_weights(subnet: Subnet) -> None:
    _emit(subnet, 9, 1, 5, 7)
    axons = [row["axon"] for row in neurons_of(subnet.storage, NETUID)]

    subnet.pallet.dispatch(OWNER, "sudo_trim_to_max_allowed_uids", {"netuid": NETUID, "max_n": 3})

    assert _slots(subnet) == [(VALIDATOR, 0), (MINERS[1], 0), (MINERS[2], 0)]
    assert _weights(subnet) == [[1, 43690], [2, 21845]]
    assert [row["axon"] for row in neurons_of(subnet.storage, NETUID)] == [axons[0], *axons[2:]]
    assert subnet.storage.read("Uids", NETUID, MINERS[0]) is None
    subnet.number = 30
    with pytest.raises(DispatchError, match="UidVecContainInvalidOne"):
        subnet.set_weights(dests=[3], weights=[1])


def test_trim_is_the_owners_and_may_find_nothing_to_do(subnet: Subnet) -> None:
    with pytest.raises(DispatchError, match="BadOrigin"):
        subnet.pallet.dispatch(MINERS[0], "sudo_trim_to_max_allowed_uids", {"netuid": NETUID, "max_n": 3})
    before = _slots(subnet)

    subnet.pallet.dispatch(OWNER, "sudo_trim_to_max_allowed_uids", {"netuid": NETUID, "max_n": 4})

    assert _slots(subnet) == before
