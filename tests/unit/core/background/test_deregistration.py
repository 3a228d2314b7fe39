"""Miners that leave the subnet are told of once, and what was kept for them is forgotten."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import msgspec
from structlog.testing import capture_logs

from gaia.validator.core.background.deregistration import Deregistrations
from gaia.validator.utils.chain.metagraph import Metagraph
from gaia.validator.utils.identities import Hotkey
from tests.support.fakes import a_metagraph


class Kept:
    """Something that is kept for each miner."""

    def __init__(self) -> None:
        self.forgotten: list[set[Hotkey]] = []

    def forget(self, hotkeys: Collection[Hotkey]) -> int:
        self.forgotten.append(set(hotkeys))
        return len(hotkeys)


class Subnet:
    """The newest metagraph, as a test sets it."""

    def __init__(self, *hotkeys: str) -> None:
        self.metagraph: Metagraph | None = a_metagraph([*hotkeys]) if hotkeys else None
        self.kept = Kept()
        self.task = Deregistrations(lambda: self.metagraph, self.kept)


def _with(metagraph: Metagraph, hotkey: str, **changes: Any) -> Metagraph:
    """The subnet after one of its neurons changed."""
    neurons = [
        msgspec.structs.replace(neuron, **changes) if neuron.hotkey == hotkey else neuron
        for neuron in metagraph.neurons
    ]
    return msgspec.structs.replace(metagraph, neurons=neurons)


async def test_miner_that_left_is_told_with_its_successor_and_forgotten() -> None:
    subnet = Subnet("5Stays", "5Leaves")
    await subnet.task.handle_miner_deregistration_loop()
    subnet.metagraph = _with(a_metagraph(["5Stays", "5Comes"]), "5Comes", registered_at=990)

    with capture_logs() as logs:
        await subnet.task.handle_miner_deregistration_loop()
        await subnet.task.handle_miner_deregistration_loop()

    told = [line for line in logs if line["event"] == "miner_deregistered"]
    assert [(line["hotkey"], line["uid"], line["successor"]) for line in told] == [("5Leaves", 2, "5Comes")]
    assert subnet.kept.forgotten == [{"5Leaves"}]


async def test_same_hotkey_registered_anew_counts_as_having_left() -> None:
    subnet = Subnet("5Same")
    await subnet.task.handle_miner_deregistration_loop()
    subnet.metagraph = _with(a_metagraph(["5Same"]), "5Same", registered_at=990)

    await subnet.task.handle_miner_deregistration_loop()

    assert subnet.kept.forgotten == [{"5Same"}]


async def test_swapped_hotkey_is_told_as_a_swap_and_its_keys_are_forgotten() -> None:
    subnet = Subnet("5Stays", "5Old")
    await subnet.task.handle_miner_deregistration_loop()
    subnet.metagraph = a_metagraph(["5Stays", "5Swapped"])

    with capture_logs() as logs:
        await subnet.task.handle_miner_deregistration_loop()

    told = [(line["event"], line.get("hotkey"), line.get("new_hotkey")) for line in logs]
    assert told == [("miner_swapped_hotkey", "5Old", "5Swapped"), ("deregistrations_handled", None, None)]
    assert subnet.kept.forgotten == [{"5Old"}]


async def test_miner_that_moved_to_another_uid_stays() -> None:
    subnet = Subnet("5One", "5Other")
    await subnet.task.handle_miner_deregistration_loop()
    metagraph = a_metagraph(["5One", "5Other"])
    subnet.metagraph = msgspec.structs.replace(
        metagraph,
        neurons=[msgspec.structs.replace(neuron, uid=neuron.uid + 5) for neuron in metagraph.neurons],
    )

    await subnet.task.handle_miner_deregistration_loop()

    assert subnet.kept.forgotten == []


async def test_nothing_is_said_before_the_first_metagraph_nor_of_the_first() -> None:
    subnet = Subnet()

    with capture_logs() as logs:
        await subnet.task.handle_miner_deregistration_loop()
        subnet.metagraph = a_metagraph(["5Miner"])
        await subnet.task.handle_miner_deregistration_loop()

    assert (logs, subnet.kept.forgotten) == ([], [])
