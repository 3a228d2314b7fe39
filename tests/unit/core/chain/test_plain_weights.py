"""Plain weights over an SDK that the test plays: every outcome of a submission."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import bittensor as bt
import pytest

from gaia.validator.core.chain.client import ChainClient
from gaia.validator.core.chain.epochs import EpochSchedule
from gaia.validator.core.chain.plain_weights import OwnWeights, PlainWeights, WeightsOnChain
from gaia.validator.utils.errors import DeadlineExceeded, SigningRefused, TransientError
from gaia.validator.utils.signer_messages import JournalledVector
from tests.support.fake_sdk import (
    OWN,
    SPEC,
    WALLET,
    FakeSdk,
    Submit,
    chain_of,
    connection_lost_after_landing,
    included,
    lost,
    never,
    refused,
    unthinkable,
    usurped_after_landing,
)
from tests.support.subnet import vector

_VECTOR = vector(4, {1: 65535, 2: 300})


async def _promise(_schedule: EpochSchedule) -> JournalledVector:
    return _VECTOR


def _unknown(_pairs: list[list[int]]) -> bool:
    return False


async def _set(
    chain: ChainClient,
    promised_block: int | None = None,
    is_ours: Callable[[list[list[int]]], bool] = _unknown,
) -> WeightsOnChain:
    return await PlainWeights(chain, 57, OWN).set(WALLET, _VECTOR, promised_block, _promise, is_ours)


async def test_weights_are_read_back_at_the_block_of_their_extrinsic() -> None:
    landed = await _set(chain_of(FakeSdk(included)))
    assert landed == WeightsOnChain(
        block=8, block_hash="0xaa", extrinsic="8-0002", read_back=[[1, 65535], [2, 300]]
    )


@pytest.mark.parametrize("submit", [connection_lost_after_landing, usurped_after_landing])
async def test_an_unknown_outcome_is_settled_by_looking_at_the_chain(submit: Submit) -> None:
    landed = await _set(chain_of(FakeSdk(submit)))
    assert (landed.block, landed.block_hash, landed.extrinsic) == (8, "0x08", "")


async def test_a_submission_that_did_not_land_is_reported_as_it_failed() -> None:
    chain = chain_of(FakeSdk(lost))
    with pytest.raises(TransientError, match="connection lost"):
        await _set(chain)
    assert chain.is_broken


async def test_a_submission_without_answer_meets_the_deadline() -> None:
    chain = chain_of(FakeSdk(never), timeout_s=0.02)
    with pytest.raises(DeadlineExceeded, match="submitting the weights"):
        await _set(chain)
    assert chain.is_broken


async def test_submission_that_outlasts_its_cancellation_meets_the_deadline_too() -> None:
    async def unsubscribing_from_a_silent_node(_sdk: FakeSdk) -> Any:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.Event().wait()

    chain = chain_of(FakeSdk(unsubscribing_from_a_silent_node), timeout_s=0.02)
    with pytest.raises(DeadlineExceeded, match="submitting the weights"):
        await _set(chain)
    assert chain.is_broken


async def test_a_refusal_within_a_block_is_final_and_named() -> None:
    chain = chain_of(FakeSdk(refused("SettingWeightsTooFast")))
    with pytest.raises(TransientError, match="SettingWeightsTooFast"):
        await _set(chain)
    assert not chain.is_broken


@pytest.mark.parametrize("block_hash", ["0xaa", None])
async def test_a_hotkey_called_unknown_by_one_node_is_waited_out(block_hash: str | None) -> None:
    with pytest.raises(TransientError, match="HotKeyNotRegisteredInSubNet"):
        await _set(chain_of(FakeSdk(refused("HotKeyNotRegisteredInSubNet", block_hash))))


async def test_weights_that_landed_though_the_pool_called_the_hotkey_unknown_are_set() -> None:
    async def refused_after_landing(sdk: FakeSdk) -> Any:
        sdk.land()
        error = bt.ChainError("Custom error: 19", "HotKeyNotRegisteredInSubNet")
        return bt.ExtrinsicResult(success=False, message="refused", error=error)

    landed = await _set(chain_of(FakeSdk(refused_after_landing)))

    assert landed.block == 8


async def test_a_hotkey_without_uid_submits_nothing() -> None:
    sdk = FakeSdk(unthinkable)
    sdk.storage["Uids"] = None
    with pytest.raises(TransientError, match="not registered on subnet 57"):
        await _set(chain_of(sdk))


async def test_nothing_is_signed_where_the_vector_stands_since_it_was_promised() -> None:
    sdk = FakeSdk(unthinkable)
    sdk.land(block=8)

    landed = await _set(chain_of(sdk), 7)

    assert (landed.block, landed.read_back) == (8, [[1, 65535], [2, 300]])


async def test_nothing_is_signed_over_newer_weights_than_the_promise() -> None:
    sdk = FakeSdk(unthinkable)
    sdk.land(block=8, pairs=((3, 65535),))
    with pytest.raises(TransientError, match="other weights"):
        await _set(chain_of(sdk), 7)


async def test_vector_that_stands_with_the_uids_of_an_earlier_attempt_is_not_signed_again() -> None:
    sdk = FakeSdk(unthinkable)
    sdk.land(block=8, pairs=((3, 65535),))

    landed = await _set(chain_of(sdk), 7, lambda pairs: pairs == [[3, 65535]])

    assert (landed.block, landed.read_back) == (8, [[3, 65535]])


async def test_weights_on_chain_are_compared_with_the_uids_that_follow_at_the_signature() -> None:
    async def moved(_schedule: EpochSchedule) -> JournalledVector:
        return vector(4, {3: 65535})

    sdk = FakeSdk(included)
    with pytest.raises(TransientError, match="other weights than those sent"):
        await PlainWeights(chain_of(sdk), 57, OWN).set(WALLET, _VECTOR, None, moved, _unknown)


async def test_weights_older_than_the_promise_are_set_over() -> None:
    landed = await _set(chain_of(FakeSdk(included)), 5)
    assert landed.block == 8


async def test_what_the_chain_holds_of_us_is_read_as_of_one_block() -> None:
    sdk = FakeSdk(unthinkable)
    sdk.land(block=8)

    held = await PlainWeights(chain_of(sdk), 57, OWN).held()

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
        await _set(chain_of(FakeSdk(submit)))


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
    sdk = FakeSdk(included)
    sdk.storage[item] = value
    monkeypatch.setattr(sdk, "land", lambda: None)
    for asked in (_set(chain_of(sdk)), PlainWeights(chain_of(sdk), 57, OWN).held()):
        with pytest.raises(TransientError):
            await asked


async def test_nothing_is_signed_in_another_epoch_than_the_vectors() -> None:
    sdk = FakeSdk(unthinkable)
    sdk.storage["SubnetEpochIndex"] = 5

    with pytest.raises(TransientError, match="in epoch 5, not in epoch 4"):
        await _set(chain_of(sdk))


async def test_extrinsic_cannot_be_included_after_its_epoch() -> None:
    sdk = FakeSdk(included)
    sdk.storage |= {"LastEpochBlock": 0, "Tempo": 20}  # the next epoch begins in block 20, the head is 9

    await _set(chain_of(sdk))

    assert sdk.options["period"] == 8


@pytest.mark.parametrize(
    ("version", "words"),
    [
        ({"specVersion": SPEC + 1}, "the chain's runtime was upgraded from 461 to 462"),
        ({"specVersion": "x"}, "the version of the runtime is invalid"),
        ({}, "the version of the runtime is invalid"),
        (None, "the version of the runtime is invalid"),
        ([461], "the version of the runtime is invalid"),
    ],
)
async def test_nothing_is_signed_for_another_runtime_than_the_present_one(version: Any, words: str) -> None:
    sdk = FakeSdk(unthinkable)
    sdk.runtime_version = version
    chain = chain_of(sdk)

    with pytest.raises(TransientError, match=words):
        await _set(chain)

    assert chain.is_broken == ("upgraded" in words)


async def test_nothing_is_signed_in_an_epoch_that_ends_too_soon() -> None:
    sdk = FakeSdk(unthinkable)
    sdk.storage |= {"LastEpochBlock": 0, "Tempo": 15}

    with pytest.raises(TransientError, match="ends too soon"):
        await _set(chain_of(sdk))


async def test_nothing_is_signed_that_cannot_be_promised() -> None:
    async def refuse(_schedule: EpochSchedule) -> JournalledVector:
        raise SigningRefused("another vector")

    with pytest.raises(SigningRefused):
        await PlainWeights(chain_of(FakeSdk(unthinkable)), 57, OWN).set(
            WALLET, _VECTOR, None, refuse, _unknown
        )


async def test_nothing_is_signed_if_the_epoch_ended_while_the_promise_was_made() -> None:
    sdk = FakeSdk(unthinkable)

    async def promise(_schedule: EpochSchedule) -> JournalledVector:
        sdk.storage["SubnetEpochIndex"] = 5
        return _VECTOR

    with pytest.raises(TransientError, match="in epoch 5, not in epoch 4"):
        await PlainWeights(chain_of(sdk), 57, OWN).set(WALLET, _VECTOR, None, promise, _unknown)
