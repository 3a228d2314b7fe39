"""Commits over a chain that the test plays: what is refused before anything is signed, and what is found after."""

from __future__ import annotations

import hashlib
import time
from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import bittensor as bt
import pytest

from gaia.localnet.chain.beacon import KNOWN_ROUND, KNOWN_SIGNATURE
from gaia.validator.core.chain.commits import Commits
from gaia.validator.core.chain.epochs import EpochSchedule
from gaia.validator.core.chain.timelock import BEACON_GENESIS_S, opened, payload
from gaia.validator.utils.errors import TransientError
from gaia.validator.utils.identities import Hotkey
from gaia.validator.utils.signer_messages import SealedWeights
from tests.support.subnet import vector

_OWN = Hotkey("5Own")
_WALLET: Any = SimpleNamespace()
_SEALED = SealedWeights(ciphertext=b"\xff\x01", reveal_round=9, epoch=4, reveal_epoch=5)
_KEY = bytes(32)


class FakeChain:
    """Stands for `ChainReader`: storage that the test changes, and a submission that it decides."""

    is_confirmed = True

    def __init__(self) -> None:
        self.storage: dict[str, Any] = {
            "CommitRevealWeightsEnabled": True,
            "CommitRevealWeightsVersion": 4,
            "RevealPeriodEpochs": 2,
            "LastStoredRound": 8,
        }
        self.queue: list[tuple[str, int, str, int]] = []
        self.now = time.time()
        self.block_s = 12.0
        self.epochs = EpochSchedule(
            block=1000,
            index=4,
            last_epoch_block=900,
            pending_epoch_at=0,
            tempo=360,
            blocks_since_last_step=100,
        )
        self.eras: list[int] = []
        self.outcome: Any = bt.ExtrinsicResult(success=True, block_hash="0xaa", extrinsic_id="1001-2")
        self.lands = True
        self.told: Any = []

    async def head(self) -> int:
        return self.epochs.block

    async def schedule(self, netuid: int, block: int) -> EpochSchedule:
        return self.epochs

    async def time_of(self, block: int) -> datetime:
        return datetime.fromtimestamp(self.now - (self.epochs.block - block) * self.block_s, UTC)

    async def query(
        self, item: str, *parameters: Any, block: int | None = None, pallet: str = "SubtensorModule"
    ) -> Any:
        return self.queue if item == "TimelockedWeightCommits" else self.storage[item]

    async def submit(self, call: Any, wallet: Any, schedule: EpochSchedule) -> Any:
        self.eras.append(schedule.era_blocks())
        if self.lands:
            self.queue.append((_OWN, 1001, "0xff01", 9))
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome

    async def wait_blocks(self) -> None:
        return

    async def events(self, block: int) -> Any:
        if isinstance(self.told, Exception):
            raise self.told
        return self.told


@pytest.fixture
def chain() -> FakeChain:
    return FakeChain()


async def _promise(_: EpochSchedule) -> None:
    """The record of signed epochs has a test of its own."""


def _commits(chain: Any) -> Commits:
    return Commits(chain, 57, _OWN)


async def _seal(chain: FakeChain) -> SealedWeights:
    return await _commits(chain).seal(_KEY, vector(4, {1: 65535, 2: 9}, 4000), KNOWN_ROUND)


async def test_vector_is_sealed_for_the_epoch_of_the_next_block(chain: FakeChain) -> None:
    sealed = await _seal(chain)

    assert (sealed.epoch, sealed.reveal_epoch) == (4, 6)
    assert opened(sealed.ciphertext, KNOWN_SIGNATURE) == payload(_KEY, [1, 2], [65535, 9], 4000)
    revealed_in = 900 + 2 * 360
    expected_s = chain.now + (revealed_in + 3 - 1000) * 12.0 - BEACON_GENESIS_S
    assert abs(sealed.reveal_round - expected_s / 3) < 2


@pytest.mark.parametrize(
    ("item", "value", "problem"),
    [
        ("CommitRevealWeightsEnabled", False, "CommitRevealDisabled"),
        ("CommitRevealWeightsVersion", 5, "commits of version 5"),
    ],
)
async def test_nothing_is_sealed_that_the_chain_does_not_take(
    chain: FakeChain, item: str, value: Any, problem: str
) -> None:
    chain.storage[item] = value

    with pytest.raises(TransientError, match=problem):
        await _seal(chain)


@pytest.mark.parametrize("off_s", [-300.0, 300.0])
async def test_nothing_is_sealed_while_the_chains_clock_and_ours_differ(
    chain: FakeChain, off_s: float
) -> None:
    chain.now += off_s

    with pytest.raises(TransientError, match="clock and ours differ by"):
        await _seal(chain)


async def test_commit_is_found_in_the_queue_with_its_extrinsic(chain: FakeChain) -> None:
    landed = await _commits(chain).submit(_WALLET, _SEALED, _promise)

    assert (landed.block, landed.block_hash, landed.extrinsic) == (1001, "0xaa", "1001-2")
    assert chain.eras == [64]


async def test_commit_that_stands_already_is_not_signed_again(chain: FakeChain) -> None:
    chain.queue.append((_OWN, 990, "0xff01", 9))

    landed = await _commits(chain).submit(_WALLET, _SEALED, _promise)

    assert landed.block == 990
    assert chain.eras == []


async def test_nothing_is_signed_beside_another_commit_of_ours(chain: FakeChain) -> None:
    chain.queue.append((_OWN, 990, "0xff02", 9))

    with pytest.raises(TransientError, match="another commit of ours is on chain since block 990"):
        await _commits(chain).submit(_WALLET, _SEALED, _promise)

    assert chain.eras == []


async def test_commits_of_others_are_none_of_ours(chain: FakeChain) -> None:
    chain.queue.append(("5Other", 990, "0xff01", 9))

    assert await _commits(chain).queued(4) == []


@pytest.mark.parametrize(("last", "problem"), [(639, "not in epoch 4"), (643, "epoch 4 ends too soon")])
async def test_nothing_is_signed_at_the_end_of_the_epoch(chain: FakeChain, last: int, problem: str) -> None:
    chain.epochs = replace(chain.epochs, last_epoch_block=last)

    with pytest.raises(TransientError, match=problem):
        await _commits(chain).submit(_WALLET, _SEALED, _promise)

    assert chain.eras == []


async def test_extrinsic_is_valid_within_its_epoch_only(chain: FakeChain) -> None:
    chain.epochs = replace(chain.epochs, last_epoch_block=660)

    await _commits(chain).submit(_WALLET, _SEALED, _promise)

    assert chain.eras == [16]


@pytest.mark.parametrize(
    "outcome",
    [
        TransientError("no answer"),
        bt.ExtrinsicResult(success=False, message="dropped", error=bt.ChainError("dropped", "Dropped")),
    ],
)
async def test_commit_of_unknown_outcome_is_looked_up(chain: FakeChain, outcome: Any) -> None:
    chain.outcome = outcome

    assert (await _commits(chain).submit(_WALLET, _SEALED, _promise)).block == 1001

    chain.queue, chain.lands = [], False
    with pytest.raises(TransientError, match="no answer|Dropped"):
        await _commits(chain).submit(_WALLET, _SEALED, _promise)


async def test_refusal_within_a_block_is_final(chain: FakeChain) -> None:
    error = bt.ChainError("refused", "CommittingWeightsTooFast")
    chain.outcome = bt.ExtrinsicResult(success=False, message="refused", block_hash="0xaa", error=error)
    chain.lands = False

    with pytest.raises(TransientError, match="CommittingWeightsTooFast"):
        await _commits(chain).submit(_WALLET, _SEALED, _promise)


async def test_success_without_a_commit_in_the_queue_is_not_believed(chain: FakeChain) -> None:
    chain.lands = False

    with pytest.raises(TransientError, match="not in its queue"):
        await _commits(chain).submit(_WALLET, _SEALED, _promise)


async def test_digest_is_that_of_the_ciphertext_however_the_sdk_tells_bytes(chain: FakeChain) -> None:
    chain.queue = [(_OWN, 1, "0x6869", 9), (_OWN, 2, "hi", 9), (_OWN, 3, b"hi", 9)]  # type: ignore[list-item]

    found = await _commits(chain).queued(4)

    assert {commit.sha256 for commit in found} == {hashlib.sha256(b"hi").hexdigest()}
    assert [commit.block for commit in found] == [1, 2, 3]


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ([{"event_id": "TimelockedWeightsRevealed", "attributes": (57, _OWN)}], True),
        ([{"event_id": "TimelockedWeightsRevealed", "attributes": (57, "5Other")}], False),
        ([{"event_id": "TimelockedWeightsRevealed", "attributes": (58, _OWN)}], False),
        ([{"event_id": "WeightsSet", "attributes": (57, _OWN)}], False),
        (TransientError("state discarded"), None),
    ],
)
async def test_events_of_a_block_tell_whether_a_commit_of_ours_was_revealed(
    chain: FakeChain, told: Any, expected: bool | None
) -> None:
    chain.told = told

    assert await _commits(chain).was_revealed_in(990) is expected


async def test_chain_that_stood_still_makes_the_round_no_later(chain: FakeChain) -> None:
    chain.block_s = 48.0

    sealed = await _seal(chain)

    expected_s = chain.now + (900 + 2 * 360 + 3 - 1000) * 13.2 - BEACON_GENESIS_S
    assert abs(sealed.reveal_round - expected_s / 3) < 2


async def test_subnet_without_epochs_takes_no_commit(chain: FakeChain) -> None:
    chain.epochs = replace(chain.epochs, tempo=0)

    with pytest.raises(TransientError, match="tempo is 0"):
        await _seal(chain)
