"""Tests of the adapter over the chain SDK: every outcome of a submission, every deadline."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import bittensor as bt
import pytest

from gaia.validator.core.chain.client import ChainClient, OwnWeights, WeightsOnChain
from gaia.validator.utils.errors import DeadlineExceeded, SubnetMissing, TransientError
from gaia.validator.utils.identities import Hotkey

_OWN, _OTHER = Hotkey("5Own"), "5Other"
_NOBODY = "5C4hrfjw9DjXZTzV3MwzrrAr9P1MJhSrvWGWqi1eSuyUpnhM"
_WALLET: Any = SimpleNamespace(hotkey=SimpleNamespace(ss58_address=_OWN))
_SENT = ([1, 2], [65535, 300])
_EPOCHS = {"SubnetEpochIndex": 4, "LastEpochBlock": 70, "PendingEpochAt": 0, "Tempo": 360}
Submit = Callable[["FakeSdk"], Awaitable[Any]]


def _graph(**changes: Any) -> dict[str, Any]:
    axon = {"ip": 2130706434, "port": 8001, "ip_type": 4}
    return {
        "block": 77,
        "hotkeys": [_OWN, _OTHER],
        "coldkeys": ["5Cold", "5Cold"],
        "axons": [{"ip": 0, "port": 0, "ip_type": 0}, axon],
        "total_stake": [2_500_000_000, 0],
        "validator_permit": [True, False],
        "last_update": [70, 0],
        "block_at_registration": [1, 2],
        "tempo": 360,
        "weights_rate_limit": 100,
        "min_allowed_weights": 8,
        "weights_version": 3,
        "commit_reveal_weights_enabled": True,
        "owner_hotkey": _OTHER,
        "dividends": [13107, 0],
        "emission": [1_500_000_000, 0],
    } | changes


class FakeSdk:
    """Stands for `bittensor.Client`: storage the test can change, and a submission it decides."""

    def __init__(self, submit: Submit) -> None:
        own = {"Uids": 0, "LastUpdate": [5, 0], "Weights": [], "BlocksSinceLastStep": 7}
        self.storage: dict[str, Any] = own | _EPOCHS
        self.graph: Any = _graph()
        self.asked_at: list[int | None] = []
        self._submit = submit

    async def query(self, item: tuple[str, str], parameters: list[Any], *, block: int | None = None) -> Any:
        self.asked_at.append(block)
        value = self.storage[item[1]]
        if isinstance(value, Exception):
            raise value
        return value

    async def runtime(self, method: tuple[str, str], parameters: list[Any]) -> Any:
        return self.graph

    async def submit_call(self, call: Any, wallet: Any, **options: Any) -> Any:
        return await self._submit(self)

    async def block(self) -> int:
        return 9

    async def wait_for_block(self, number: int) -> None:
        return

    async def block_info(self, number: int) -> Any:
        return SimpleNamespace(hash=f"0x{number:02x}")

    async def close(self) -> None:
        return

    def land(self, block: int = 8, pairs: Any = ((1, 65535), (2, 300))) -> None:
        self.storage["LastUpdate"] = [block, 0]
        self.storage["Weights"] = pairs


async def _included(sdk: FakeSdk) -> Any:
    sdk.land()
    return bt.ExtrinsicResult(success=True, block_hash="0xaa", extrinsic_id="8-0002")


async def _connection_lost_after_landing(sdk: FakeSdk) -> Any:
    sdk.land()
    raise bt.RpcConnectionError("connection lost")


async def _usurped_after_landing(sdk: FakeSdk) -> Any:
    sdk.land()
    return bt.ExtrinsicResult(success=False, message="dropped", error=bt.ChainError("dropped", "Dropped"))


async def _lost(sdk: FakeSdk) -> Any:
    raise bt.RpcConnectionError("connection lost")


async def _never(sdk: FakeSdk) -> Any:
    await asyncio.Event().wait()


async def _unthinkable(sdk: FakeSdk) -> Any:
    pytest.fail("something was submitted")


def _refused(name: str, block_hash: str | None = "0xaa") -> Submit:
    async def submit(sdk: FakeSdk) -> Any:
        error = bt.ChainError("refused", name)
        return bt.ExtrinsicResult(success=False, message="refused", block_hash=block_hash, error=error)

    return submit


def _chain(sdk: FakeSdk, timeout_s: float = 60.0) -> ChainClient:
    client: Any = sdk
    return ChainClient(client, timeout_s)


async def _set(chain: ChainClient) -> WeightsOnChain:
    return await chain.set_weights(_WALLET, 57, *_SENT, version_key=0)


async def test_weights_are_read_back_at_the_block_of_their_extrinsic() -> None:
    landed = await _set(_chain(FakeSdk(_included)))
    assert landed == WeightsOnChain(
        block=8, block_hash="0xaa", extrinsic="8-0002", read_back=[[1, 65535], [2, 300]]
    )


@pytest.mark.parametrize("submit", [_connection_lost_after_landing, _usurped_after_landing])
async def test_an_unknown_outcome_is_settled_by_looking_at_the_chain(submit: Submit) -> None:
    landed = await _set(_chain(FakeSdk(submit)))
    assert (landed.block, landed.block_hash, landed.extrinsic) == (8, "0x08", "")


async def test_a_submission_that_did_not_land_is_reported_as_it_failed() -> None:
    chain = _chain(FakeSdk(_lost))
    with pytest.raises(TransientError, match="connection lost"):
        await _set(chain)
    assert chain.is_broken


async def test_a_submission_without_answer_meets_the_deadline() -> None:
    chain = _chain(FakeSdk(_never), timeout_s=0.02)
    with pytest.raises(DeadlineExceeded, match="submitting the weights"):
        await _set(chain)
    assert chain.is_broken


async def test_submission_that_outlasts_its_cancellation_meets_the_deadline_too() -> None:
    async def unsubscribing_from_a_silent_node(_sdk: FakeSdk) -> Any:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.Event().wait()

    chain = _chain(FakeSdk(unsubscribing_from_a_silent_node), timeout_s=0.02)
    with pytest.raises(DeadlineExceeded, match="submitting the weights"):
        await _set(chain)
    assert chain.is_broken


async def test_connection_that_was_not_made_is_closed_because_the_sdk_goes_on_by_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    closed: list[bool] = []

    async def connect() -> None:
        raise OSError("refused")

    async def close() -> None:
        closed.append(True)

    monkeypatch.setattr(bt, "Client", lambda _: SimpleNamespace(connect=connect, close=close))

    with pytest.raises(TransientError, match="refused"):
        await ChainClient.connect("ws://127.0.0.1:9", 1.0)
    assert closed == [True]


async def test_a_refusal_within_a_block_is_final_and_named() -> None:
    chain = _chain(FakeSdk(_refused("SettingWeightsTooFast")))
    with pytest.raises(TransientError, match="SettingWeightsTooFast"):
        await _set(chain)
    assert not chain.is_broken


@pytest.mark.parametrize("block_hash", ["0xaa", None])
async def test_a_hotkey_called_unknown_by_one_node_is_waited_out(block_hash: str | None) -> None:
    with pytest.raises(TransientError, match="HotKeyNotRegisteredInSubNet"):
        await _set(_chain(FakeSdk(_refused("HotKeyNotRegisteredInSubNet", block_hash))))


async def test_weights_that_landed_though_the_pool_called_the_hotkey_unknown_are_set() -> None:
    async def refused_after_landing(sdk: FakeSdk) -> Any:
        sdk.land()
        error = bt.ChainError("Custom error: 19", "HotKeyNotRegisteredInSubNet")
        return bt.ExtrinsicResult(success=False, message="refused", error=error)

    landed = await _set(_chain(FakeSdk(refused_after_landing)))

    assert landed.block == 8


async def test_a_hotkey_without_uid_submits_nothing() -> None:
    sdk = FakeSdk(_unthinkable)
    sdk.storage["Uids"] = None
    with pytest.raises(TransientError, match="not registered on subnet 57"):
        await _set(_chain(sdk))


async def test_nothing_is_signed_where_the_vector_stands_since_it_was_promised() -> None:
    sdk = FakeSdk(_unthinkable)
    sdk.land(block=8)

    landed = await _chain(sdk).set_weights(_WALLET, 57, *_SENT, version_key=0, promised_block=7)

    assert (landed.block, landed.read_back) == (8, [[1, 65535], [2, 300]])


async def test_nothing_is_signed_over_newer_weights_than_the_promise() -> None:
    sdk = FakeSdk(_unthinkable)
    sdk.land(block=8, pairs=((3, 65535),))
    with pytest.raises(TransientError, match="other weights"):
        await _chain(sdk).set_weights(_WALLET, 57, *_SENT, version_key=0, promised_block=7)


async def test_weights_older_than_the_promise_are_set_over() -> None:
    landed = await _chain(FakeSdk(_included)).set_weights(
        _WALLET, 57, *_SENT, version_key=0, promised_block=5
    )
    assert landed.block == 8


async def test_what_the_chain_holds_of_us_is_read_as_of_one_block() -> None:
    sdk = FakeSdk(_unthinkable)
    sdk.land(block=8)

    held = await _chain(sdk).own_weights(57, _OWN)

    assert held == OwnWeights(block=9, last_update=8, update_hash="0x08", pairs=[[1, 65535], [2, 300]])
    assert sdk.asked_at == [9, 9, 9]


@pytest.mark.parametrize(
    ("pairs", "block", "reason"),
    [(((1, 65535),), 8, "other weights"), (((1, 65535), (2, 300)), 5, "no weights of ours")],
)
async def test_success_is_believed_only_if_the_chain_holds_the_vector(
    pairs: Any, block: int, reason: str
) -> None:
    async def submit(sdk: FakeSdk) -> Any:
        sdk.land(block, pairs)
        return bt.ExtrinsicResult(success=True, block_hash="0xaa", extrinsic_id="8-0002")

    with pytest.raises(TransientError, match=reason):
        await _set(_chain(FakeSdk(submit)))


async def test_an_error_of_the_sdk_while_reading_breaks_the_connection() -> None:
    sdk = FakeSdk(_never)
    sdk.storage["Uids"] = ValueError("no such storage")
    chain = _chain(sdk)
    with pytest.raises(TransientError, match="no such storage"):
        await _set(chain)
    assert chain.is_broken


async def test_the_metagraph_is_told_in_our_words() -> None:
    metagraph = await _chain(FakeSdk(_never)).metagraph(57, _OWN)

    assert (metagraph.block, metagraph.own_uid, metagraph.owner_hotkey) == (77, 0, _OTHER)
    assert (metagraph.tempo, metagraph.weights_rate_limit, metagraph.min_allowed_weights) == (360, 100, 8)
    assert (metagraph.weights_version, metagraph.commit_reveal) == (3, True)
    validator, miner = metagraph.neurons
    assert (validator.ip, validator.port, validator.stake, validator.validator_permit) == ("", 0, 2.5, True)
    assert (miner.ip, miner.port, miner.registered_at) == ("127.0.0.2", 8001, 2)
    assert [metagraph.own_dividends, metagraph.own_emission] == pytest.approx([0.2, 1.5])


@pytest.mark.parametrize("column", [None, [], [1]])
async def test_rewards_are_unknown_where_the_runtime_does_not_tell_them(column: list[int] | None) -> None:
    sdk = FakeSdk(_never)
    sdk.graph = _graph(hotkeys=[_OTHER, _OWN], dividends=column, emission=column)

    metagraph = await _chain(sdk).metagraph(57, _OWN)

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
    sdk = FakeSdk(_never)
    sdk.graph = _graph(axons=[axon, axon])
    metagraph = await _chain(sdk).metagraph(57, "5Nobody")
    assert (metagraph.neurons[0].ip, metagraph.neurons[0].port, metagraph.own_uid) == ("", 0, None)


async def test_the_all_zero_account_is_no_owner() -> None:
    sdk = FakeSdk(_never)
    sdk.graph = _graph(owner_hotkey=_NOBODY)
    assert (await _chain(sdk).metagraph(57, _OWN)).owner_hotkey == ""


async def test_a_subnet_that_does_not_exist_is_one_nodes_word() -> None:
    sdk = FakeSdk(_never)
    sdk.graph = None
    with pytest.raises(SubnetMissing, match="subnet 999 does not exist"):
        await _chain(sdk).metagraph(999, _OWN)


@pytest.mark.parametrize(
    "graph",
    [
        7,
        [],
        "graph",
        {},
        _graph(hotkeys=None),
        _graph(hotkeys=[_OWN, _OWN]),
        _graph(last_update=[70]),
        _graph(last_update=[70, 0, 0]),
        _graph(axons=[{}, {}]),
        _graph(axons=[None, None]),
        _graph(total_stake=["much", "more"]),
        _graph(block=None),
        _graph(min_allowed_weights="many"),
        {name: value for name, value in _graph().items() if name != "owner_hotkey"},
    ],
)
async def test_a_metagraph_of_any_other_shape_is_a_typed_error(graph: Any) -> None:
    sdk = FakeSdk(_never)
    sdk.graph = graph
    with pytest.raises(TransientError, match="metagraph is invalid"):
        await _chain(sdk).metagraph(57, _OWN)


@pytest.mark.parametrize(
    ("item", "value"),
    [
        ("Uids", "first"),
        ("Uids", 7),
        ("LastUpdate", None),
        ("LastUpdate", []),
        ("LastUpdate", ["never", 0]),
        ("Weights", None),
        ("Weights", [1, 2]),
        ("Weights", [[1]]),
        ("Weights", [["a", "b"]]),
    ],
)
async def test_storage_of_any_other_shape_is_a_typed_error(
    item: str, value: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    sdk = FakeSdk(_included)
    sdk.storage[item] = value
    monkeypatch.setattr(sdk, "land", lambda: None)
    for asked in (_set(_chain(sdk)), _chain(sdk).own_weights(57, _OWN)):
        with pytest.raises(TransientError):
            await asked


@pytest.mark.parametrize(
    "error", [KeyError("result"), AttributeError("get"), RuntimeError("bug"), OverflowError()]
)
async def test_whatever_the_sdk_raises_is_a_typed_error_and_ends_the_connection(error: Exception) -> None:
    sdk = FakeSdk(_never)
    sdk.storage["Uids"] = error
    chain = _chain(sdk)
    with pytest.raises(TransientError):
        await _set(chain)
    assert chain.is_broken


@pytest.mark.parametrize("error", [OSError("gone"), AttributeError("'str' object has no attribute 'get'")])
async def test_closing_a_dead_connection_does_not_raise(error: Exception) -> None:
    sdk = FakeSdk(_never)

    async def dead() -> None:
        raise error

    sdk.close = dead  # type: ignore[method-assign]
    chain = _chain(sdk)
    await chain.close()
    assert chain.is_broken
