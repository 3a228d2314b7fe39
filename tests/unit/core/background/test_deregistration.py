"""Miners that leave the subnet are told of once, and what was kept for them is forgotten."""

from __future__ import annotations

from collections.abc import Collection

import msgspec
from structlog.testing import capture_logs

from gaia.validator.core.background.deregistration import Deregistrations
from gaia.validator.utils.identities import Hotkey
from gaia.validator.utils.signer_messages import Metagraph
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


async def test_miner_that_left_is_told_with_its_successor_and_forgotten() -> None:
    subnet = Subnet("5Stays", "5Leaves")
    await subnet.task.handle_miner_deregistration_loop()
    subnet.metagraph = a_metagraph(["5Stays", "5Comes"])

    with capture_logs() as logs:
        await subnet.task.handle_miner_deregistration_loop()
        await subnet.task.handle_miner_deregistration_loop()

    told = [line for line in logs if line["event"] == "miner_deregistered"]
    assert [(line["hotkey"], line["uid"], line["successor"]) for line in told] == [("5Leaves", 2, "5Comes")]
    assert subnet.kept.forgotten == [{"5Leaves"}]


async def test_same_hotkey_registered_anew_counts_as_having_left() -> None:
    subnet = Subnet("5Same")
    await subnet.task.handle_miner_deregistration_loop()
    metagraph = a_metagraph(["5Same"])
    again = [
        msgspec.structs.replace(neuron, registered_at=neuron.registered_at + 100)
        if neuron.hotkey == "5Same"
        else neuron
        for neuron in metagraph.neurons
    ]
    subnet.metagraph = msgspec.structs.replace(metagraph, neurons=again)

    await subnet.task.handle_miner_deregistration_loop()

    assert subnet.kept.forgotten == [{"5Same"}]


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
