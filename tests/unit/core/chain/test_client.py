"""Tests of the connection to the chain over the SDK: every deadline, every shape of an answer."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import bittensor as bt
import pytest

from gaia.validator.core.chain.client import ChainClient
from gaia.validator.utils.errors import SubnetMissing, TransientError
from tests.support.fake_sdk import NOBODY, OTHER, OWN, FakeSdk, chain_of, graph, never


async def test_connection_that_was_not_made_is_closed_because_the_sdk_goes_on_by_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    closed: list[bool] = []

    async def connect() -> None:
        raise OSError("refused")

    async def close() -> None:
        closed.append(True)

    monkeypatch.setattr(bt, "Client", lambda _, **options: SimpleNamespace(connect=connect, close=close))

    with pytest.raises(TransientError, match="refused"):
        await ChainClient.connect("ws://127.0.0.1:9", 1.0)
    assert closed == [True]


async def test_an_error_of_the_sdk_while_reading_breaks_the_connection() -> None:
    sdk = FakeSdk(never)
    sdk.storage["Uids"] = ValueError("no such storage")
    chain = chain_of(sdk)
    with pytest.raises(TransientError, match="no such storage"):
        await chain.own_uid_of(57, OWN)
    assert chain.is_broken


async def test_the_metagraph_is_told_in_our_words() -> None:
    metagraph = await chain_of(FakeSdk(never)).metagraph(57, OWN)

    assert (metagraph.block, metagraph.own_uid, metagraph.owner_hotkey) == (77, 0, OTHER)
    assert (metagraph.tempo, metagraph.weights_rate_limit, metagraph.min_allowed_weights) == (360, 100, 8)
    assert metagraph.max_weights_limit == 32767
    assert (metagraph.weights_version, metagraph.commit_reveal) == (3, True)
    validator, miner = metagraph.neurons
    assert (validator.ip, validator.port, validator.stake, validator.validator_permit) == ("", 0, 2.5, True)
    assert (miner.ip, miner.port, miner.registered_at) == ("127.0.0.2", 8001, 2)
    assert [metagraph.own_dividends, metagraph.own_emission] == pytest.approx([0.2, 1.5])


@pytest.mark.parametrize("column", [None, [], [1]])
async def test_rewards_are_unknown_where_the_runtime_does_not_tell_them(column: list[int] | None) -> None:
    sdk = FakeSdk(never)
    sdk.graph = graph(hotkeys=[OTHER, OWN], dividends=column, emission=column)

    metagraph = await chain_of(sdk).metagraph(57, OWN)

    assert (metagraph.own_uid, metagraph.own_dividends, metagraph.own_emission) == (1, None, None)


@pytest.mark.parametrize(
    "axon",
    [
        {"ip": 2**64, "port": 80, "ip_type": 6},
        {"ip": 2**40, "port": 80, "ip_type": 4},
        {"ip": 2130706434, "port": 0, "ip_type": 4},
    ],
)
async def test_an_address_that_no_dotted_quad_can_tell_counts_as_unserved(axon: dict[str, int]) -> None:
    sdk = FakeSdk(never)
    sdk.graph = graph(axons=[axon, axon])
    metagraph = await chain_of(sdk).metagraph(57, "5Nobody")
    assert (metagraph.neurons[0].ip, metagraph.neurons[0].port, metagraph.own_uid) == ("", 0, None)


async def test_the_all_zero_account_is_no_owner() -> None:
    sdk = FakeSdk(never)
    sdk.graph = graph(owner_hotkey=NOBODY)
    assert (await chain_of(sdk).metagraph(57, OWN)).owner_hotkey == ""


async def test_a_subnet_that_does_not_exist_is_one_nodes_word() -> None:
    sdk = FakeSdk(never)
    sdk.graph = None
    with pytest.raises(SubnetMissing, match="subnet 999 does not exist"):
        await chain_of(sdk).metagraph(999, OWN)


@pytest.mark.parametrize(
    "graph",
    [
        7,
        [],
        "graph",
        {},
        graph(hotkeys=None),
        graph(hotkeys=[OWN, OWN]),
        graph(last_update=[70]),
        graph(last_update=[70, 0, 0]),
        graph(axons=[{}, {}]),
        graph(axons=[None, None]),
        graph(total_stake=["much", "more"]),
        graph(block=None),
        graph(min_allowed_weights="many"),
        {name: value for name, value in graph().items() if name != "owner_hotkey"},
    ],
)
async def test_a_metagraph_of_any_other_shape_is_a_typed_error(graph: Any) -> None:
    sdk = FakeSdk(never)
    sdk.graph = graph
    with pytest.raises(TransientError, match="metagraph is invalid"):
        await chain_of(sdk).metagraph(57, OWN)


@pytest.mark.parametrize(
    "error", [KeyError("result"), AttributeError("get"), RuntimeError("bug"), OverflowError()]
)
async def test_whatever_the_sdk_raises_is_a_typed_error_and_ends_the_connection(error: Exception) -> None:
    sdk = FakeSdk(never)
    sdk.storage["Uids"] = error
    chain = chain_of(sdk)
    with pytest.raises(TransientError):
        await chain.own_uid_of(57, OWN)
    assert chain.is_broken


@pytest.mark.parametrize("error", [OSError("gone"), AttributeError("'str' object has no attribute 'get'")])
async def test_closing_a_dead_connection_does_not_raise(error: Exception) -> None:
    sdk = FakeSdk(never)

    async def dead() -> None:
        raise error

    sdk.close = dead  # type: ignore[method-assign]
    chain = chain_of(sdk)
    await chain.close()
    assert chain.is_broken
