"""What became of commits, the round that a rehearsal may choose, and the vectors that are never signed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from bittensor_core import ss58_encode

from gaia.localnet.chain.beacon import KNOWN_ROUND, KNOWN_SIGNATURE
from gaia.localnet.chain.commits import read_payload
from gaia.validator.core.chain.epochs import EpochSchedule
from gaia.validator.core.chain.signed_epochs import SignedEpochs
from gaia.validator.core.chain.signing_policy import SigningPolicy
from gaia.validator.core.chain.timelock import opened
from gaia.validator.core.chain.weight_answers import WeightAnswers
from gaia.validator.utils.config import Settings
from gaia.validator.utils.errors import SigningRefused, TransientError
from gaia.validator.utils.signer_messages import (
    CheckUpdate,
    CommitAsked,
    CommitRead,
    CommitWeights,
    Metagraph,
    ReadCommits,
    ReadWeights,
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
        self.storage |= {"BlockAtRegistration": 50}

    async def own_uid_of(self, netuid: int, hotkey: str, block: int | None = None) -> int:
        return 0

    async def last_update(self, netuid: int, uid: int, block: int | None = None) -> int:
        return self.updated

    async def metagraph(self, netuid: int, own_hotkey: str) -> Metagraph:
        return a_metagraph(self.miners)

    async def block_hash_of(self, block: int) -> str:
        return "0xab"

    async def submit(self, call: Any, wallet: Any, schedule: EpochSchedule) -> Any:
        self.updated = 1001
        return await super().submit(call, wallet, schedule)

    async def pairs(self, netuid: int, uid: int, block: int | None = None) -> list[list[int]]:
        return [[1, 65535]]

    async def query(self, item: str, *parameters: Any, block: int | None = None) -> Any:
        if item == "SubnetEpochIndex":
            return self.index_before if block == 989 else self.epochs.index
        return await super().query(item, *parameters, block=block)

    async def events(self, block: int) -> Any:
        told = self.told_in.get(block, [])
        if isinstance(told, Exception):
            raise told
        return told


@pytest.fixture
def chain() -> Chain:
    return Chain()


def _answers(chain: Any, folder: Path, endpoint: str = _LOCAL) -> WeightAnswers:
    wallet: Any = SimpleNamespace(hotkey=SimpleNamespace(ss58_address=_OWN, public_key=bytes(32)))
    settings = Settings(chain_endpoint=endpoint, beacon_round=KNOWN_ROUND).chain
    record = SignedEpochs.open(folder / "signed.json", _OWN, 57)
    record.close()
    policy = SigningPolicy(record)
    return WeightAnswers(chain, settings, wallet, policy)


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


_PROMISED = msgspec.structs.replace(
    vector(6, {1: 65535, 2: 65535, 3: 9}),
    hotkeys=["5First", "5Second", "5Third"],
    registered=[1, 2, 3],
)
_THREE = ["5First", "5Second", "5Third"]
_FIRST_LEFT = ["5Newcomer", "5Second", "5Third"]


def _replaced(graph: Metagraph) -> Metagraph:
    """The subnet in which the slot of uid 1 was registered anew in block 990."""
    neurons = list(graph.neurons)
    neurons[1] = msgspec.structs.replace(neurons[1], registered_at=990)
    return msgspec.structs.replace(graph, neurons=neurons)


class Churning(Chain):
    """The same chain, with a subnet that a test changes; it tells what was submitted."""

    def __init__(self) -> None:
        super().__init__()
        self.graph = a_metagraph(_THREE)
        self.calls: list[Any] = []
        self.held = [[2, 65535], [3, 9]]

    async def metagraph(self, netuid: int, own_hotkey: str) -> Metagraph:
        return self.graph

    async def pairs(self, netuid: int, uid: int, block: int | None = None) -> list[list[int]]:
        return self.held

    async def submit(self, call: Any, wallet: Any, schedule: EpochSchedule) -> Any:
        self.calls.append(call)
        return await super().submit(call, wallet, schedule)


def _pays(sealed: Any) -> list[int]:
    """The uids in a sealed vector."""
    payload = bytes(opened(sealed.ciphertext, KNOWN_SIGNATURE))
    return list(read_payload(payload, ss58_encode(bytes(32), 42))["dests"])


async def test_slot_that_changed_hands_is_not_paid_and_the_epoch_is_not_missed(tmp_path: Path) -> None:
    chain = Churning()
    chain.graph = _replaced(a_metagraph(_FIRST_LEFT))

    landed: Any = await _answers(chain, tmp_path).answer(SetWeights(request_id=1, vector=_PROMISED))

    assert landed.read_back == [[2, 65535], [3, 9]]
    assert chain.calls[0].params["dests"] == [2, 3]
    assert chain.calls[0].params["weights"] == [65535, 9]


async def test_sealed_vector_pays_the_uids_of_its_sealing(tmp_path: Path) -> None:
    chain = Churning()
    chain.graph = _replaced(a_metagraph(_FIRST_LEFT))

    answer: Any = await _answers(chain, tmp_path).answer(SealWeights(request_id=1, vector=_PROMISED))

    assert _pays(answer.sealed) == [2, 3]


async def test_promise_of_an_epoch_may_be_signed_for_other_uids_and_for_nobody_else(tmp_path: Path) -> None:
    chain = Churning()
    await _answers(chain, tmp_path).answer(SealWeights(request_id=1, vector=_PROMISED))
    chain.graph = _replaced(a_metagraph(_FIRST_LEFT))

    await _answers(chain, tmp_path).answer(SealWeights(request_id=2, vector=_PROMISED))
    others: list[dict[str, Any]] = [
        {"hotkeys": _FIRST_LEFT},
        {"registered": [990, 2, 3]},
        {"hotkeys": [], "registered": []},
    ]
    for changes in others:
        other = msgspec.structs.replace(_PROMISED, **changes)
        with pytest.raises(SigningRefused, match="another vector was signed for epoch 6"):
            await _answers(chain, tmp_path).answer(SealWeights(request_id=3, vector=other))


async def test_commit_whose_uids_changed_hands_since_is_not_sent(tmp_path: Path) -> None:
    chain = Churning()
    chain.queue = []
    answers = _answers(chain, tmp_path)
    sealed = (await answers.answer(SealWeights(request_id=1, vector=_PROMISED))).sealed  # type: ignore[union-attr]
    chain.graph = _replaced(a_metagraph(_FIRST_LEFT))
    request = CommitWeights(request_id=2, vector=_PROMISED, sealed=sealed)

    with pytest.raises(SigningRefused, match="uids of the commit for epoch 6 have changed hands"):
        await answers.answer(request)

    assert chain.calls == []
    chain.graph = a_metagraph(_THREE)
    with pytest.raises(TransientError, match="not in its queue"):  # the queue is played by the test
        await answers.answer(request)
    assert len(chain.calls) == 1


async def test_commit_is_sent_for_the_vector_that_was_sealed_alone(tmp_path: Path) -> None:
    chain = Churning()
    answers = _answers(chain, tmp_path)
    sealed = (await answers.answer(SealWeights(request_id=1, vector=_PROMISED))).sealed  # type: ignore[union-attr]

    for other in (_ONE, msgspec.structs.replace(_PROMISED, epoch=7)):
        with pytest.raises(SigningRefused, match="the commit for epoch 6 is of another vector"):
            await answers.answer(CommitWeights(request_id=2, vector=other, sealed=sealed))


async def test_earlier_sealed_form_in_the_queue_is_the_commit_of_its_epoch(tmp_path: Path) -> None:
    chain = Churning()
    answers = _answers(chain, tmp_path)
    first = (await answers.answer(SealWeights(request_id=1, vector=_PROMISED))).sealed  # type: ignore[union-attr]
    chain.graph = _replaced(a_metagraph(_FIRST_LEFT))
    second = (await answers.answer(SealWeights(request_id=2, vector=_PROMISED))).sealed  # type: ignore[union-attr]
    chain.queue = [(_OWN, 1000, "0x" + first.ciphertext.hex(), first.reveal_round)]

    landed: Any = await answers.answer(CommitWeights(request_id=3, vector=_PROMISED, sealed=second))
    asked = CommitAsked(epoch=6, reveal_epoch=7)
    read: Any = await answers.answer(ReadCommits(request_id=4, commits=[asked]))

    assert (landed.block, chain.calls) == (1000, [])
    assert read.commits[0].known_block == 1000


async def test_weights_on_chain_are_known_as_those_of_their_epoch(tmp_path: Path) -> None:
    chain = Churning()
    answers = _answers(chain, tmp_path)
    chain.graph = _replaced(a_metagraph(_FIRST_LEFT))
    await answers.answer(SetWeights(request_id=1, vector=_PROMISED))
    asked = CommitAsked(epoch=6, reveal_epoch=7)

    held: Any = await answers.answer(ReadWeights(request_id=2))
    read: Any = await answers.answer(ReadCommits(request_id=3, commits=[asked]))
    chain.held = [[1, 65535], [2, 65535], [3, 9]]
    others: Any = await answers.answer(ReadWeights(request_id=4))

    assert (held.epochs, read.commits[0].is_held, others.epochs) == ([6], True, [])
