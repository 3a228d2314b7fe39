"""What became of commits, the round that a rehearsal may choose, and the vectors that are never signed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from gaia.localnet.chain.beacon import KNOWN_ROUND, KNOWN_SIGNATURE
from gaia.validator.core.chain.epochs import EpochSchedule
from gaia.validator.core.chain.signing.signed_epochs import SignedEpochs
from gaia.validator.core.chain.signing.signing_policy import SigningPolicy
from gaia.validator.core.chain.timelock import opened
from gaia.validator.core.chain.weight_answers import WeightAnswers
from gaia.validator.utils.chain.metagraph import Metagraph
from gaia.validator.utils.config import Settings
from gaia.validator.utils.errors import SigningRefused, TransientError
from gaia.validator.utils.signer_messages import (
    CheckUpdate,
    CommitAsked,
    CommitRead,
    CommitWeights,
    ReadCommits,
    SealWeights,
    SetWeights,
)
from tests.support.fakes import a_metagraph
from tests.support.subnet import vector
from tests.unit.core.chain.test_commits import FakeChain

_OWN = "5Own"
_REVEALED = [{"event_id": "TimelockedWeightsRevealed", "attributes": (57, _OWN)}]
_ONE, _ANOTHER = vector(6, {1: 65535}), vector(6, {2: 65535})
_LOCAL, _REMOTE = "ws://127.0.0.1:9944", "wss://entrypoint.example:443"


class Chain(FakeChain):
    """A chain in epoch 6, which began in block 990; block -> its events."""

    def __init__(self) -> None:
        super().__init__()
        self.epochs = replace(self.epochs, index=6, last_epoch_block=990)
        self.told_in: dict[int, Any] = {}
        self.index_before = 5
        self.updated = 100
        self.miners = ["5First", "5Second"]
        """Hotkeys of the uids from 1 on."""
        self.wants_sealed = False
        """Whether the subnet wants sealed weights."""
        self.storage |= {"BlockAtRegistration": 50}

    async def own_uid_of(self, netuid: int, hotkey: str, block: int | None = None) -> int:
        return 0

    async def last_update(self, netuid: int, uid: int, block: int | None = None) -> int:
        return self.updated

    async def metagraph(self, netuid: int, own_hotkey: str) -> Metagraph:
        return a_metagraph(self.miners, commit_reveal=self.wants_sealed)

    async def block_hash_of(self, block: int) -> str:
        return "0xab"

    async def submit(self, call: Any, wallet: Any, schedule: EpochSchedule) -> Any:
        self.updated = 1001
        return await super().submit(call, wallet, schedule)

    async def pairs(self, netuid: int, uid: int, block: int | None = None) -> list[list[int]]:
        return [[1, 65535]]

    async def query(
        self, item: str, *parameters: Any, block: int | None = None, pallet: str = "SubtensorModule"
    ) -> Any:
        if item == "SubnetEpochIndex":
            return self.index_before if block == 989 else self.epochs.index
        return await super().query(item, *parameters, block=block, pallet=pallet)

    async def events(self, block: int) -> Any:
        told = self.told_in.get(block, [])
        if isinstance(told, Exception):
            raise told
        return told


@pytest.fixture
def chain() -> Chain:
    return Chain()


class _Obliging(WeightAnswers):
    """Answers over a chain that wants the form that each request has."""

    async def answer(self, request: Any) -> Any:
        chain: Any = self._chain
        chain.wants_sealed = not isinstance(request, SetWeights)
        return await super().answer(request)


def _answers(chain: Any, folder: Path, endpoint: str = _LOCAL) -> WeightAnswers:
    wallet: Any = SimpleNamespace(hotkey=SimpleNamespace(ss58_address=_OWN, public_key=bytes(32)))
    settings = Settings(chain_endpoint=endpoint, beacon_round=KNOWN_ROUND).chain
    record = SignedEpochs.open(folder / "signed.json", _OWN, 57)
    record.close()
    policy = SigningPolicy(lambda: record)
    return _Obliging(chain, settings, wallet, policy)


async def _looked_up(chain: Chain, folder: Path, reveal_epoch: int = 6) -> CommitRead:
    asked = CommitAsked(epoch=4, reveal_epoch=reveal_epoch)
    read = await _answers(chain, folder).answer(ReadCommits(request_id=1, commits=[asked]))
    assert (read.epoch, read.pairs) == (6, [[1, 65535]])  # type: ignore[union-attr]
    return read.commits[0]  # type: ignore[union-attr]


async def test_block_of_the_reveal_is_that_of_its_event(chain: Chain, tmp_path: Path) -> None:
    chain.told_in = {993: _REVEALED}

    read = await _looked_up(chain, tmp_path)

    assert (read.revealed_in, read.is_known) == (993, True)


async def test_chain_that_tells_of_no_reveal_is_believed_if_the_epoch_began_there(
    chain: Chain, tmp_path: Path
) -> None:
    read = await _looked_up(chain, tmp_path)
    assert (read.revealed_in, read.is_known) == (None, True)

    chain.index_before = 6  # the owner set a tempo, which moved the block

    assert not (await _looked_up(chain, tmp_path)).is_known


async def test_block_whose_events_are_gone_leaves_the_reveal_unknown(chain: Chain, tmp_path: Path) -> None:
    chain.told_in = {991: TransientError("state discarded"), 993: _REVEALED}

    read = await _looked_up(chain, tmp_path)

    assert (read.revealed_in, read.is_known) == (None, False)


async def test_no_events_are_read_for_a_commit_that_waits_or_a_reveal_long_ago(
    chain: Chain, tmp_path: Path
) -> None:
    chain.told_in = {block: TransientError("not asked for") for block in range(990, 1001)}
    chain.queue = [(_OWN, 700, "0xff01", 9)]
    assert list((await _looked_up(chain, tmp_path)).queued.values()) == [700]

    chain.queue = []
    chain.epochs = replace(chain.epochs, block=1200)

    assert not (await _looked_up(chain, tmp_path)).is_known


@pytest.mark.parametrize(("endpoint", "is_chosen"), [(_LOCAL, True), (_REMOTE, False)])
async def test_round_of_a_rehearsal_counts_at_a_node_of_this_machine_alone(
    chain: Chain, tmp_path: Path, endpoint: str, is_chosen: bool
) -> None:
    request = SealWeights(request_id=1, vector=_ONE)

    answer: Any = await _answers(chain, tmp_path, endpoint).answer(request)

    if is_chosen:
        assert opened(answer.sealed.ciphertext, KNOWN_SIGNATURE)
    else:
        with pytest.raises(ValueError, match=".+"):
            opened(answer.sealed.ciphertext, KNOWN_SIGNATURE)


async def test_epoch_gets_one_vector_even_from_another_signer_and_a_new_journal(
    chain: Chain, tmp_path: Path
) -> None:
    await _answers(chain, tmp_path).answer(SetWeights(request_id=1, vector=_ONE))
    chain.updated = 100  # the chain lost it again

    with pytest.raises(SigningRefused, match="another vector was signed for epoch 6"):
        await _answers(chain, tmp_path).answer(SetWeights(request_id=2, vector=_ANOTHER))
    await _answers(chain, tmp_path).answer(SetWeights(request_id=3, vector=_ONE))

    assert len(chain.eras) == 2


async def test_sealed_and_plain_vectors_of_an_epoch_are_one(chain: Chain, tmp_path: Path) -> None:
    await _answers(chain, tmp_path).answer(SealWeights(request_id=1, vector=_ONE))

    for request in (
        SealWeights(request_id=2, vector=_ANOTHER),
        SetWeights(request_id=3, vector=_ANOTHER),
    ):
        with pytest.raises(SigningRefused, match="another vector was signed for epoch 6"):
            await _answers(chain, tmp_path).answer(request)

    assert chain.eras == []


async def test_only_what_was_sealed_here_is_committed(chain: Chain, tmp_path: Path) -> None:
    sealed = (await _answers(chain, tmp_path).answer(SealWeights(request_id=1, vector=_ONE))).sealed  # type: ignore[union-attr]

    for changes in ({"ciphertext": b"other"}, {"reveal_round": 1}, {"epoch": 7}):
        other = msgspec.structs.replace(sealed, **changes)
        with pytest.raises(SigningRefused, match="was not sealed here"):
            await _answers(chain, tmp_path).answer(CommitWeights(request_id=2, vector=_ONE, sealed=other))

    assert chain.eras == []


async def test_epoch_with_weights_of_ours_that_the_record_lacks_gets_no_vector(
    chain: Chain, tmp_path: Path
) -> None:
    chain.updated = 991

    for request in (SetWeights(request_id=1, vector=_ONE), SealWeights(request_id=2, vector=_ONE)):
        with pytest.raises(SigningRefused, match="on chain since block 991 of epoch 6"):
            await _answers(chain, tmp_path).answer(request)

    assert chain.eras == []
    chain.storage["BlockAtRegistration"] = 991  # then the registration dated the neuron
    await _answers(chain, tmp_path).answer(SetWeights(request_id=3, vector=_ONE))
    assert chain.eras == [64]


async def test_reveal_of_an_earlier_vector_of_ours_is_no_stranger(chain: Chain, tmp_path: Path) -> None:
    """Where commits have ended, a reveal dates the neuron in the epoch in which it happens."""
    chain.epochs = replace(chain.epochs, index=5, last_epoch_block=700)
    before = vector(5, {1: 65535})
    await _answers(chain, tmp_path).answer(SealWeights(request_id=1, vector=before))
    chain.epochs = replace(chain.epochs, index=6, last_epoch_block=990)
    chain.updated = 990  # the chain holds the vector of epoch 5

    await _answers(chain, tmp_path).answer(SetWeights(request_id=2, vector=_ONE))

    assert chain.eras == [64]


async def test_nothing_is_signed_or_sealed_after_weights_of_another_program(
    chain: Chain, tmp_path: Path
) -> None:
    await _answers(chain, tmp_path).answer(SetWeights(request_id=1, vector=_ONE))
    chain.queue.clear()  # it was set, and not committed
    chain.epochs = replace(chain.epochs, index=7, last_epoch_block=1300, block=1400)
    next_one = vector(7, {1: 65535})
    sealed = (await _answers(chain, tmp_path).answer(SealWeights(request_id=2, vector=next_one))).sealed  # type: ignore[union-attr]
    chain.updated = 1290

    for request in (
        SetWeights(request_id=3, vector=next_one),
        SealWeights(request_id=4, vector=next_one),
        CommitWeights(request_id=5, vector=next_one, sealed=sealed),
        CheckUpdate(request_id=6),
    ):
        with pytest.raises(SigningRefused, match="weights of block 1290 are not of this validator"):
            await _answers(chain, tmp_path).answer(request)

    assert chain.eras == [64]


async def test_span_of_a_commits_signatures_is_kept(chain: Chain, tmp_path: Path) -> None:
    sealed = (await _answers(chain, tmp_path).answer(SealWeights(request_id=1, vector=_ONE))).sealed  # type: ignore[union-attr]
    record = SignedEpochs.open(tmp_path / "signed.json", _OWN, 57)
    record.close()
    assert record.begun_at is None

    with pytest.raises(TransientError):  # the chain of this test holds another commit
        await _answers(chain, tmp_path).answer(CommitWeights(request_id=2, vector=_ONE, sealed=sealed))

    record = SignedEpochs.open(tmp_path / "signed.json", _OWN, 57)
    record.close()
    assert (record.begun_at, record.epochs_in(1001)) == (1000, [6])
