"""Sealed weights: the payload as the runtime decodes it, and the round as the SDK computes it."""

from __future__ import annotations

import random
import time
from typing import Any

import bittensor_core
import pytest

from gaia.localnet.chain.beacon import KNOWN_ROUND, KNOWN_SIGNATURE
from gaia.validator.core.chain.epochs import EpochSchedule
from gaia.validator.core.chain.timelock import MOST_COMMIT_BYTES, opened, payload, reveal_round, seal

_HOTKEY = bytes(range(32))
_STATES = 60


def _random_state(random_: random.Random) -> dict[str, Any]:
    tempo = random_.choice([1, 2, 10, 360, 50_400, 65_535, random_.randint(360, 50_400)])
    block = random_.randint(100_000, 8_000_000)
    last = block - random_.randint(0, min(2 * tempo, 60_000))
    return {
        "current_block": block,
        "subnet_epoch_index": random_.randint(0, 20_000),
        "last_epoch_block": last,
        "pending_epoch_at": max(0, random_.choice([0, 0, block + random_.randint(-3, 400)])),
        "tempo": tempo,
        "blocks_since_last_step": random_.choice(
            [block - last, random_.randint(0, 51_000), 50_399, 50_400, 50_401]
        ),
    }


def _schedule(state: dict[str, Any]) -> EpochSchedule:
    names = {"current_block": "block", "subnet_epoch_index": "index"}
    return EpochSchedule(**{names.get(name, name): value for name, value in state.items()})


def _rounds(state: dict[str, Any], period: int, block_time_s: float) -> tuple[int, int]:
    """Return (the SDK's round, ours), as of the same moment of the clock that the SDK reads."""
    ours, after = 0, 1
    while ours != after:
        before = time.time()
        _, theirs = bittensor_core.get_encrypted_commit_v2(
            uids=[1],
            weights=[2],
            version_key=7,
            subnet_reveal_period_epochs=period,
            block_time=block_time_s,
            hotkey=_HOTKEY,
            **state,
        )
        ours = reveal_round(_schedule(state), period, block_time_s, before)
        after = reveal_round(_schedule(state), period, block_time_s, time.time())
    return theirs, ours


def test_round_is_that_of_the_sdk_in_whatever_state_the_epochs_are() -> None:
    random_ = random.Random(5)
    for _ in range(_STATES):
        state = _random_state(random_)
        period = random_.choice([1, 2, random_.randint(1, 100)])
        theirs, ours = _rounds(state, period, random_.choice([12.0, 0.25]))

        assert ours == theirs, (state, period)


@pytest.mark.parametrize("miners", [1, 64, 256])
def test_published_signature_opens_what_was_sealed_to_the_same_bytes(miners: int) -> None:
    content = payload(_HOTKEY, list(range(miners)), [65535] * miners, 4000)
    sealed = seal(content, KNOWN_ROUND)

    assert len(sealed) <= MOST_COMMIT_BYTES
    assert opened(sealed, KNOWN_SIGNATURE) == content


def test_signature_of_another_round_opens_nothing() -> None:
    sealed = seal(b"weights", KNOWN_ROUND + 1)

    with pytest.raises(ValueError, match=".+"):
        opened(sealed, KNOWN_SIGNATURE)


def test_payload_that_the_sdk_seals_is_ours() -> None:
    state = {
        "current_block": 400,
        "subnet_epoch_index": 1,
        "last_epoch_block": 360,
        "pending_epoch_at": 0,
        "tempo": 360,
        "blocks_since_last_step": 40,
    }
    # The SDK seals for the present: with a block time below 0 the round lies in the past, and is at least 1.
    sealed, theirs = bittensor_core.get_encrypted_commit_v2(
        uids=[3, 5],
        weights=[65535, 9],
        version_key=4000,
        subnet_reveal_period_epochs=1,
        block_time=(1_692_803_367 + 3000.5 - time.time()) / 323,
        hotkey=_HOTKEY,
        **state,
    )

    assert theirs == KNOWN_ROUND
    assert opened(bytes(sealed), KNOWN_SIGNATURE) == payload(_HOTKEY, [3, 5], [65535, 9], 4000)


def test_payload_of_more_items_than_scale_counts_is_refused() -> None:
    with pytest.raises(ValueError, match="too many"):
        payload(b"", range(1 << 30), [], 0)
