"""What doctor says of a node that lags or lies, and of a place in the subnet that earns nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from gaia.localnet.chain.lies import result
from gaia.localnet.wallets import keypair
from tests.support.doctor_machine import Machine
from tests.support.doctor_world import NETUID, VALIDATOR, World

NOW = "0xf0c365c3cf59d671eb72da0e7a4113c49f1f0515f462cdcf84e0f1d6045dfcbb"
"""Storage key of the newest block's time."""
FINNEY = "0x2f0555cc76fc2840a25a6ea3b9637146806f1f44b090c175ffde2a7e5ab36c03"
Chain = Callable[..., None]


@pytest.fixture
def stored(world: World) -> Iterator[Chain]:
    """Change a value of the pallet until the test ends."""
    chain = world.chain
    before: list[tuple[str, tuple[Any, ...], Any]] = []

    def change(item: str, *parameters: Any, value: Any) -> None:
        before.append((item, parameters, chain._chain.storage.read(item, *parameters)))
        write(item, parameters, value)

    def write(item: str, parameters: tuple[Any, ...], value: Any) -> None:
        chain.write_storage(item, *parameters, value=value)
        world.wait_for_blocks(2)

    yield change
    for item, parameters, value in reversed(before):
        write(item, parameters, value)


@pytest.fixture
def lie(world: World) -> Iterator[Callable[[str, Any], object]]:
    """Answer each request of one kind falsely until the test ends."""
    yield lambda method, value: world.chain.lies.tell(method, result(value), times=None)
    world.chain.lies.end()


def _moment(ago: timedelta) -> str:
    stamp = int(1000 * (datetime.now(UTC) - ago).timestamp())
    return "0x" + stamp.to_bytes(8, "little").hex()


def chain(machine: Machine) -> dict[str, str]:
    found = machine.doctor("--only", "chain", "--only", "time")
    return {name: check["result"] for name, check in found.items()}


def test_node_that_stopped_an_hour_ago_is_a_failure(
    machine: Machine, lie: Callable[[str, Any], object]
) -> None:
    lie(NOW, _moment(timedelta(hours=1)))

    assert chain(machine)["head-age"] == "failure"


def test_node_from_the_future_tells_that_our_clock_is_behind(
    machine: Machine, lie: Callable[[str, Any], object]
) -> None:
    lie(NOW, _moment(-timedelta(minutes=1)))

    assert chain(machine)["chain-clock"] == "warning"


def test_node_that_catches_up_is_a_failure(machine: Machine, lie: Callable[[str, Any], object]) -> None:
    lie("system_health", {"peers": 5, "isSyncing": True, "shouldHavePeers": True})

    assert chain(machine)["node-synchronised"] == "failure"


def test_node_that_knows_nobody_is_a_failure(machine: Machine, lie: Callable[[str, Any], object]) -> None:
    lie("system_health", {"peers": 0, "isSyncing": False, "shouldHavePeers": True})

    assert chain(machine)["node-synchronised"] == "failure"


def test_other_network_is_a_warning_and_the_main_network_none(
    machine: Machine, lie: Callable[[str, Any], object]
) -> None:
    assert chain(machine)["network"] == "warning"

    lie("chain_getBlockHash", FINNEY)

    assert machine.doctor("--only", "chain")["network"]["result"] == "ok"


@pytest.mark.parametrize("answer", [None, {}, {"number": "many"}, 5, {"number": None}])
def test_node_whose_header_makes_no_sense_is_a_failure_of_the_node(
    machine: Machine, lie: Callable[[str, Any], object], answer: object
) -> None:
    lie("chain_getHeader", answer)

    assert chain(machine)["chain"] == "failure"


def test_commit_reveal_is_a_warning_where_its_version_is_not_supported(
    machine: Machine, stored: Chain
) -> None:
    stored("CommitRevealWeightsEnabled", NETUID, value=True)
    assert chain(machine)["commit-reveal"] == "ok"

    stored("CommitRevealWeightsVersion", value=5)

    assert chain(machine)["commit-reveal"] == "warning"


def test_missing_permit_is_a_failure_but_for_a_dry_run(machine: Machine, stored: Chain) -> None:
    stored("ValidatorPermit", NETUID, value=[False, False])

    assert chain(machine)["permit"] == "failure"
    machine.put("GAIA_DRY_RUN", "true")
    assert chain(machine)["permit"] == "warning"


def test_small_stake_is_a_warning(machine: Machine, stored: Chain) -> None:
    stored("TotalHotkeyAlpha", keypair(VALIDATOR).ss58_address, NETUID, value=10**9)

    assert chain(machine)["stake"] == "warning"
