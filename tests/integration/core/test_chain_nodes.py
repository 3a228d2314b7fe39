"""Several nodes of one chain, some of which lie, lag, hang or are gone: what most say is read, signed and set."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import bittensor as bt
import pytest

from gaia.localnet.chain.lies import custom_error, refusal, result, silence
from gaia.localnet.chain.node import LocalChain
from gaia.validator.core.chain.client import ChainClient
from gaia.validator.core.chain.epochs import EpochSchedule
from gaia.validator.core.chain.nodes.comparison import DEPTH, compare, states_of
from gaia.validator.core.chain.nodes.quorum import Quorum
from gaia.validator.utils.errors import BlockUnknown, NodesDisagree, TransientError
from tests.support.chain_nodes import (
    OWN,
    TEMPO,
    WEIGHTS,
    Make,
    World,
    claim_a_far_epoch,
    deny_our_hotkey,
    deny_the_subnet,
    deny_updates,
    worlds,
)
from tests.support.patience import patience
from tests.support.subnet import MINERS, NETUID, VALIDATOR, neurons

_NOW = "0xf0c365c3cf59d671eb72da0e7a4113c49f1f0515f462cdcf84e0f1d6045dfcbb"
"""Storage key of the newest block's time."""


@pytest.fixture
async def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Make]:
    monkeypatch.setenv("HOME", str(tmp_path))
    async with worlds(tmp_path) as world:
        yield world


LIES = [deny_our_hotkey, deny_updates, deny_the_subnet, claim_a_far_epoch]


@pytest.mark.parametrize("lie", LIES)
async def test_one_liar_of_three_is_outvoted_and_named(make: Make, lie: Callable[[World], None]) -> None:
    world = await make()
    true = await world.quorum.metagraph(NETUID, OWN)
    assert world.quorum.is_confirmed
    lie(world)

    await world.compare_twice()
    lied_to = await world.quorum.metagraph(NETUID, OWN)

    assert world.named() == {world.liars_name}
    assert world.distrusted() == [world.liars_name]
    assert (lied_to.own_uid, lied_to.epoch) == (true.own_uid, true.epoch)
    assert [neuron.hotkey for neuron in lied_to.neurons] == [neuron.hotkey for neuron in true.neurons]
    assert not world.quorum.is_confirmed


@pytest.mark.parametrize("lie", LIES)
async def test_weights_are_set_while_one_of_three_lies(make: Make, lie: Callable[[World], None]) -> None:
    world = await make()
    lie(world)

    assert await world.set_weights() == WEIGHTS
    assert len(world.chain.submitted) == 1


@pytest.mark.parametrize(
    "answer",
    [custom_error(19), custom_error(10), refusal(1010, "Invalid Transaction"), silence],
    ids=["uid", "hotkey", "invalid", "silence"],
)
async def test_node_that_refuses_or_drops_a_submission_costs_nothing(make: Make, answer: Any) -> None:
    world = await make()
    world.liar.lies.tell("author_submitAndWatchExtrinsic", answer, times=None, acts=False)
    loop = asyncio.get_running_loop()

    began = loop.time()
    assert await world.set_weights() == WEIGHTS
    assert loop.time() - began < patience(4.8), "the silent node was awaited"
    assert len(world.chain.submitted) == 1


async def test_node_of_another_network_is_believed_no_more_at_once(make: Make) -> None:
    world = await make(nodes=2)
    # Its blocks are far behind, so that it has none of those that are compared.
    stranger = LocalChain(neurons(), block_time_s=3600.0, tempo=TEMPO)
    endpoints = [node.name for node in world.quorum.nodes]
    try:
        url = await stranger.start()
        quorum = Quorum(
            {name: f"ws://{name}" for name in endpoints} | {"stranger.example": url}, patience(5.0)
        )
        await compare(quorum, NETUID, OWN)
        states = states_of(quorum)
        await quorum.close()
    finally:
        await stranger.stop()

    assert [state.is_trusted for state in states] == [True, True, False]
    assert states[-1].problem.startswith("the first block")


async def test_head_of_a_liar_moves_nobody(make: Make) -> None:
    world = await make()
    await world.quorum.head()
    far = {"number": hex(10**6), "parentHash": "0x" + "00" * 32, "digest": {"logs": []}}
    roots = {"stateRoot": "0x" + "00" * 32, "extrinsicsRoot": "0x" + "00" * 32}
    world.liar.lies.tell("chain_getHeader", result(far | roots), times=None)

    block = (await world.quorum.metagraph(NETUID, OWN)).block

    assert abs(block - world.chain.block) <= DEPTH


async def test_two_that_lie_differently_hold_everything_and_nothing_is_signed(make: Make) -> None:
    world = await make()
    deny_our_hotkey(world)
    key = world.chain.key_of("Uids", NETUID, VALIDATOR)
    world.further[0].lies.tell(key, result("0x0300"), times=None)

    with pytest.raises(NodesDisagree, match="Uids"):
        await world.set_weights()
    with pytest.raises(NodesDisagree):
        await world.quorum.own_uid_of(NETUID, OWN)
    assert not world.chain.submitted


async def test_of_two_nodes_neither_is_believed_against_the_other(make: Make) -> None:
    world = await make(nodes=2)
    deny_updates(world)

    with pytest.raises(NodesDisagree, match=r"LastUpdate: for .* and .*, \["):
        await world.quorum.last_update(NETUID, 0)
    await world.compare_twice()

    assert not world.distrusted()
    dispute = next(line for line in world.told if line["event"] == "chain_nodes_disagree")
    assert dispute["nodes"] == sorted(node.name for node in world.quorum.nodes)


async def test_node_that_lags_is_no_liar(make: Make) -> None:
    world = await make(lag_blocks=2)

    for _ in range(4):
        await world.compare_twice()
        assert (await world.quorum.metagraph(NETUID, OWN)).own_uid == 0
    assert await world.set_weights() == WEIGHTS

    assert not world.named()
    assert not world.distrusted()


async def test_node_that_stands_still_does_not_hold_the_other_of_two(make: Make) -> None:
    world = await make(nodes=2)
    await world.quorum.head()
    world.liar.view.stands_at = world.chain.block
    world.liar.view.false_state[bytes.fromhex(_NOW[2:])] = (10**12).to_bytes(8, "little")
    await world.chain.wait_for_block(world.chain.block + 12)

    assert (await world.quorum.metagraph(NETUID, OWN)).block > world.chain.block - 10
    assert await world.set_weights() == WEIGHTS
    assert not world.distrusted()


async def test_far_head_without_a_time_delays_nobody_and_is_named(make: Make) -> None:
    world = await make()
    await world.quorum.head()
    roots = dict.fromkeys(("parentHash", "stateRoot", "extrinsicsRoot"), "0x" + "00" * 32)
    far = {"number": hex(10**6), "digest": {"logs": []}} | roots
    world.liar.lies.tell("chain_getHeader", result(far), times=None)
    world.liar.lies.tell("chain_getBlockHash", silence, times=None)
    loop = asyncio.get_running_loop()

    began = loop.time()
    block = await world.quorum.head()

    assert loop.time() - began < patience(4.5)
    assert block <= world.chain.block
    assert world.named() == {world.liars_name}


async def _alter(world: World, place: int, change: Callable[[bytes], bytes], *, whole: bool = True) -> None:
    """Let one node prepare another call; `whole`: the bytes to sign are those of that call."""
    node = world.quorum.nodes[place]
    client = await ChainClient.connect(f"ws://{node.name}", patience(5.0))
    honest = client.prepare

    async def altered(*arguments: Any) -> Any:
        unsigned = await honest(*arguments)
        call = change(unsigned.call_data)
        payload = call + unsigned.included_in_extrinsic + unsigned.included_in_signed_data
        return replace(unsigned, call_data=call, payload=payload if whole else unsigned.payload + b"x")

    client.prepare = altered  # type: ignore[assignment, method-assign]
    node._chain = client


def _another_call(call: bytes) -> bytes:
    return bytes([99]) + call[1:]


def _other_arguments(call: bytes) -> bytes:
    return call[:-1] + b"\x01"


async def test_call_of_a_node_with_other_metadata_is_not_signed(make: Make) -> None:
    world = await make()
    await _alter(world, 2, _another_call)

    assert await world.set_weights() == WEIGHTS
    assert world.named() == {world.liars_name}
    assert [extrinsic.function for _, extrinsic in world.chain.submitted] == ["set_mechanism_weights"]


async def test_arguments_that_are_not_ours_are_signed_for_nobody(make: Make) -> None:
    world = await make(nodes=2)
    for place in range(2):
        await _alter(world, place, _other_arguments)

    with pytest.raises(NodesDisagree, match="what is to be signed"):
        await world.set_weights()


async def test_frame_that_two_agreed_on_is_not_changed_by_one_alone(make: Make) -> None:
    world = await make()
    await world.set_weights()
    for endpoint in world.further:
        await endpoint.close()
    await _alter(world, 0, _another_call)

    with pytest.raises(NodesDisagree, match="what is to be signed"):
        await world.set_weights()


async def test_bytes_that_are_not_the_call_are_signed_for_nobody(make: Make) -> None:
    world = await make(nodes=2)
    for place in range(2):
        await _alter(world, place, bytes, whole=False)

    with pytest.raises(NodesDisagree, match="what is to be signed"):
        await world.set_weights()


async def test_extrinsic_that_could_outlive_its_epoch_is_not_signed(make: Make) -> None:
    world = await make()
    await world.chain.wait_for_block(8)
    # Read so long ago that an era of eight blocks from now on would reach into the next epoch.
    old = EpochSchedule(
        block=1, index=0, last_epoch_block=0, pending_epoch_at=0, tempo=12, blocks_since_last_step=1
    )
    call = bt.calls.SubtensorModule.set_mechanism_weights(
        netuid=NETUID, mecid=0, dests=[1], weights=[65535], version_key=0
    )

    with pytest.raises(TransientError, match="ends too soon by now"):
        await world.quorum.submit(call, world.wallet, old)
    assert not world.chain.submitted


async def test_answer_without_end_fails_its_node_alone(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gaia.validator.core.chain.bounded.MOST_BYTES", 2 << 20)
    world = await make()
    world.liar.lies.tell("SubnetInfoRuntimeApi_get_metagraph", result("0x" + "00" * (2 << 20)), times=None)

    assert (await world.quorum.metagraph(NETUID, OWN)).own_uid == 0
    async with asyncio.timeout(patience(30)):
        while states_of(world.quorum)[-1].is_up:
            await asyncio.sleep(0.05)
    assert not world.named()


async def test_one_node_alone_sets_weights_but_confirms_nothing(make: Make) -> None:
    world = await make()
    await world.quorum.head()
    for endpoint in world.further:
        await endpoint.close()

    assert await world.set_weights() == WEIGHTS
    assert not world.quorum.is_confirmed
    assert [state.is_up for state in states_of(world.quorum)] == [True, False, False]


async def test_node_that_comes_back_is_asked_again(make: Make) -> None:
    world = await make()
    port = int(world.liar.url.rpartition(":")[2])
    await world.liar.close()
    await world.quorum.head()
    assert not states_of(world.quorum)[-1].is_up
    await world.liar.open(port=port)

    async with asyncio.timeout(patience(60)):
        while not states_of(world.quorum)[-1].is_up:
            await world.quorum.head()
            await world.chain.wait_for_block(world.chain.block + 1)


async def test_silent_node_delays_no_answer(make: Make) -> None:
    world = await make()
    await world.quorum.head()
    for method in ("chain_getHeader", "state_getStorageAt", "state_getStorage", "state_call"):
        world.liar.lies.tell(method, silence, times=None)
    loop = asyncio.get_running_loop()

    began = loop.time()
    await world.quorum.own_uid_of(NETUID, OWN)

    assert loop.time() - began < patience(4.5)
    assert not world.named()


async def test_block_that_nobody_has_is_unknown_and_breaks_no_connection(make: Make) -> None:
    world = await make()
    await world.compare_twice()  # each node answers, and not only those that decide a vote

    with pytest.raises(BlockUnknown):
        await world.quorum.query("Tempo", NETUID, block=10**6)
    assert await world.quorum.block_hash_of(10**6) == ""
    assert all(state.is_up for state in states_of(world.quorum))


async def test_question_that_two_nodes_decide_leaves_no_error_of_the_third_behind(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = await make()
    await world.compare_twice()
    complaints: list[str] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, told: complaints.append(told["message"]))
    third = world.quorum.nodes[-1]
    ask, is_asked = third.ask, asyncio.Event()

    async def ask_later(question: Any) -> Any:
        await world.chain.wait_for_block(world.chain.block + 1)
        is_asked.set()
        return await ask(question)

    monkeypatch.setattr(third, "ask", ask_later)

    with pytest.raises(BlockUnknown):
        await world.quorum.query("Tempo", NETUID, block=10**6)
    await is_asked.wait()
    await world.chain.wait_for_block(world.chain.block + 2)
    gc.collect()

    assert complaints == []


async def test_block_that_a_liar_alone_has_is_not_read_from_it(make: Make) -> None:
    world = await make()
    await world.quorum.head()
    head = world.chain._chain.head.hash
    world.liar.lies.tell("chain_getBlockHash", result(head), times=None)

    with pytest.raises(BlockUnknown):
        await world.quorum.query("Tempo", NETUID, block=10**6)


async def test_liar_that_stops_lying_is_believed_again(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gaia.validator.core.chain.nodes.standing.REDEEMED", 3)
    world = await make()
    deny_updates(world)
    await world.compare_twice()
    assert world.distrusted() == [world.liars_name]
    world.liar.lies.end()

    for _ in range(2):
        await world.compare_twice()

    assert not world.distrusted()


async def test_node_that_is_gone_for_good_leaves_the_error_of_the_last_one(make: Make) -> None:
    world = await make()
    await world.quorum.head()
    await world.chain.stop()

    with pytest.raises(TransientError, match="the chain failed while"):
        await world.quorum.own_uid_of(NETUID, OWN)


async def test_miner_is_not_lost_because_one_node_says_so(make: Make) -> None:
    world = await make()
    true = await world.quorum.graph(NETUID)
    world.liar.lies.tell("SubnetInfoRuntimeApi_get_metagraph", result("0x"), times=None)

    told = await world.quorum.graph(NETUID)

    assert told["hotkeys"] == true["hotkeys"]
    assert set(MINERS) < set(told["hotkeys"])
