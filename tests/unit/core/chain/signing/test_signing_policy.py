"""What the hotkey signs: shapes, digests, addresses, and how many signatures in a second."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gaia.validator.core.chain.signing import signing_policy
from gaia.validator.core.chain.signing.signed_epochs import SignedEpochs
from gaia.validator.core.chain.signing.signing_policy import Rate, SigningPolicy
from gaia.validator.utils.errors import OwnFailure, SigningRefused
from gaia.validator.utils.signer_messages import SignAuth, digest_of
from tests.support.subnet import MINERS, vector

_WEIGHTS = {1: 65535, 7: 9}


@pytest.fixture
def policy(tmp_path: Path) -> SigningPolicy:
    record = SignedEpochs.open(tmp_path / "signed.json", "5Own", 57)
    return SigningPolicy(lambda: record)


def test_vector_of_the_journal_is_permitted(policy: SigningPolicy) -> None:
    policy.permit_vector(vector(3, _WEIGHTS, 4000))


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"uids": [], "weights": []}, "0 uids and 0 weights"),
        ({"uids": [1]}, "1 uids and 2 weights"),
        ({"uids": list(range(4097)), "weights": [65535] * 4097}, "4097 uids"),
        ({"uids": [1, 1]}, "a uid occurs twice"),
        ({"hotkeys": ["5One"]}, "2 uids and 1 hotkeys"),
        ({"hotkeys": ["5One", "5One"]}, "a hotkey occurs twice"),
        ({"hotkeys": ["5One", "5Two"], "registered": [1]}, "2 hotkeys and 1 registrations"),
        ({"uids": [1, 70_000]}, "no u16"),
        ({"weights": [65535, -1]}, "no u16"),
        ({"weights": [65536, 9]}, "no u16"),
        ({"weights": [300, 9]}, "the largest weight is not 65535"),
        ({"version_key": -1}, "version key"),
        ({"version_key": 2**64}, "version key"),
    ],
)
def test_vector_of_another_shape_is_refused_before_the_chain_is_asked(
    policy: SigningPolicy, changes: dict[str, Any], problem: str
) -> None:
    changed = msgspec.structs.replace(vector(3, _WEIGHTS, 4000), **changes)
    pairs = zip(changed.uids, changed.weights, strict=False)
    with pytest.raises(SigningRefused, match=problem):
        policy.permit_vector(msgspec.structs.replace(changed, sha256=digest_of(pairs)))


def test_vector_that_its_digest_does_not_name_is_refused(policy: SigningPolicy) -> None:
    other = msgspec.structs.replace(vector(3, _WEIGHTS), weights=[65535, 10])

    with pytest.raises(SigningRefused, match="not the one that the journal's digest names"):
        policy.permit_vector(other)


@pytest.mark.parametrize(
    ("hotkey", "key_id", "problem"),
    [
        ("5Miner", "id", "no ss58 address"),
        ("", "id", "no ss58 address"),
        (MINERS[0] + "\n" + MINERS[1], "id", "no ss58 address"),
        ("x" * 5000, "id", "no ss58 address"),
        (MINERS[0], "", "no word of 1 to 64"),
        (MINERS[0], "x" * 65, "no word of 1 to 64"),
        (MINERS[0], "a:b", "no word of 1 to 64"),
        (MINERS[0], "id\n", "no word of 1 to 64"),
        (MINERS[0], "\u0661", "no word of 1 to 64"),
    ],
)
async def test_headers_are_signed_for_addresses_and_key_ids_alone(
    policy: SigningPolicy, hotkey: str, key_id: str, problem: str
) -> None:
    request = SignAuth(request_id=1, miner_hotkey=hotkey, symmetric_key_uuid=key_id)
    with pytest.raises(SigningRefused, match=problem):
        await policy.permit_auth(request)


async def test_burst_of_turns_comes_back_at_the_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    now, slept = 0.0, []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    monkeypatch.setattr("asyncio.sleep", sleep)
    rate = Rate(2.0, 3, lambda: now)
    for _ in range(5):
        await rate.turn()
    assert slept == [0.5, 1.0]
    now = 60.0
    for _ in range(4):
        await rate.turn()

    assert slept == [0.5, 1.0, 0.5]


async def test_turn_beyond_all_that_wait_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signing_policy, "_MOST_WAITING", 1)
    rate = Rate(1.0, 1, lambda: 0.0)
    await rate.turn()

    waiting = asyncio.ensure_future(rate.turn())
    await asyncio.sleep(0)
    with pytest.raises(OwnFailure, match="1 requests wait"):
        await rate.turn()
    waiting.cancel()


def test_signer_without_record_promises_nothing() -> None:
    policy = SigningPolicy(None)

    with pytest.raises(SigningRefused, match="keeps no record"):
        policy.promise(vector(3, _WEIGHTS), vector(3, _WEIGHTS), 1000)
