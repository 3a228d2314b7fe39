"""Weights for registrations: which uids are signed when miners left, moved or swapped, and what an engine may not do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from bittensor_core import ss58_encode

from gaia.localnet.chain.beacon import KNOWN_SIGNATURE
from gaia.localnet.chain.commits import read_payload
from gaia.validator.core.chain.epochs import EpochSchedule
from gaia.validator.core.chain.timelock import opened
from gaia.validator.core.chain.weight_answers import WeightAnswers
from gaia.validator.utils.chain.metagraph import Metagraph
from gaia.validator.utils.errors import SigningRefused, TransientError
from gaia.validator.utils.signer_messages import (
    CommitAsked,
    CommitWeights,
    ReadCommits,
    ReadWeights,
    SealWeights,
    SetWeights,
)
from tests.support.fakes import a_metagraph
from tests.support.subnet import vector
from tests.unit.core.chain.test_weight_answers import _OWN, Chain, _answers

_PROMISED = msgspec.structs.replace(
    vector(6, {1: 65535, 2: 65535, 3: 9}),
    hotkeys=["5First", "5Second", "5Third"],
    registered=[1, 2, 3],
)
_THREE = ["5First", "5Second", "5Third"]
_FIRST_LEFT = ["5Newcomer", "5Second", "5Third"]


def _after_replacement(block: int) -> Metagraph:
    """The subnet in which the slot of uid 1 was registered anew in block 990."""
    graph = a_metagraph(_FIRST_LEFT, block=block)
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
        return msgspec.structs.replace(self.graph, commit_reveal=self.wants_sealed)

    def replace_first(self) -> None:
        """Let a newcomer take the first miner's slot; each later reading is of a later block."""
        self.graph = _after_replacement(self.graph.block + 1)

    async def pairs(self, netuid: int, uid: int, block: int | None = None) -> list[list[int]]:
        return self.held

    async def submit(self, call: Any, wallet: Any, schedule: EpochSchedule) -> Any:
        self.calls.append(call)
        return await super().submit(call, wallet, schedule)


def _pays(sealed: Any) -> list[int]:
    """The uids in a sealed vector."""
    payload = bytes(opened(sealed.ciphertext, KNOWN_SIGNATURE))
    return list(read_payload(payload, ss58_encode(bytes(32), 42))["dests"])


async def _answered(chain: Churning, answers: WeightAnswers, request: Any) -> Any:
    """The answer once a second reading says what the first has said."""
    with pytest.raises(TransientError, match="a second reading must agree"):
        await answers.answer(request)
    chain.replace_first()
    return await answers.answer(request)


async def test_slot_that_changed_hands_is_not_paid_and_the_epoch_is_not_missed(tmp_path: Path) -> None:
    chain = Churning()
    chain.replace_first()

    landed = await _answered(chain, _answers(chain, tmp_path), SetWeights(request_id=1, vector=_PROMISED))

    assert landed.read_back == [[2, 65535], [3, 9]]
    assert chain.calls[0].params["dests"] == [2, 3]
    assert chain.calls[0].params["weights"] == [65535, 9]


async def test_sealed_vector_pays_the_uids_of_its_sealing(tmp_path: Path) -> None:
    chain = Churning()
    chain.replace_first()

    answer = await _answered(chain, _answers(chain, tmp_path), SealWeights(request_id=1, vector=_PROMISED))

    assert _pays(answer.sealed) == [2, 3]


async def test_uids_do_not_change_by_what_some_nodes_say_alone(tmp_path: Path) -> None:
    chain = Churning()
    answers = _answers(chain, tmp_path)
    chain.is_confirmed = False

    for _ in range(3):
        chain.replace_first()
        with pytest.raises(TransientError, match="a second reading must agree"):
            await answers.answer(SetWeights(request_id=1, vector=_PROMISED))

    assert chain.calls == []


async def test_promise_of_an_epoch_may_be_signed_for_other_uids_and_for_nobody_else(tmp_path: Path) -> None:
    chain = Churning()
    await _answers(chain, tmp_path).answer(SealWeights(request_id=1, vector=_PROMISED))
    chain.replace_first()

    await _answered(chain, _answers(chain, tmp_path), SealWeights(request_id=2, vector=_PROMISED))
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
    chain.replace_first()
    request = CommitWeights(request_id=2, vector=_PROMISED, sealed=sealed)

    with pytest.raises(SigningRefused, match="uids of the commit for epoch 6 have changed hands"):
        await _answered(chain, answers, request)

    assert chain.calls == []
    chain.graph = a_metagraph(_THREE)
    with pytest.raises(TransientError, match="not in its queue"):  # the queue is played by the test
        await answers.answer(request)
    assert len(chain.calls) == 1


async def test_commit_whose_version_key_the_subnet_takes_no_more_is_not_sent(tmp_path: Path) -> None:
    chain = Churning()
    chain.queue = []
    answers = _answers(chain, tmp_path)
    sealed = (await answers.answer(SealWeights(request_id=1, vector=_PROMISED))).sealed  # type: ignore[union-attr]
    newer = msgspec.structs.replace(_PROMISED, version_key=_PROMISED.version_key + 1)

    for again in (answers, _answers(chain, tmp_path)):
        with pytest.raises(SigningRefused, match="commit for epoch 6 has version key 0.*wants 1"):
            await again.answer(CommitWeights(request_id=2, vector=newer, sealed=sealed))

    assert chain.calls == []
    anew = (await answers.answer(SealWeights(request_id=3, vector=newer))).sealed  # type: ignore[union-attr]
    with pytest.raises(TransientError, match="not in its queue"):  # the queue is played by the test
        await answers.answer(CommitWeights(request_id=4, vector=newer, sealed=anew))
    assert len(chain.calls) == 1


async def test_commit_is_sent_for_the_vector_that_was_sealed_alone(tmp_path: Path) -> None:
    chain = Churning()
    answers = _answers(chain, tmp_path)
    sealed = (await answers.answer(SealWeights(request_id=1, vector=_PROMISED))).sealed  # type: ignore[union-attr]

    other_epoch = msgspec.structs.replace(_PROMISED, epoch=7)
    with pytest.raises(SigningRefused, match="the commit for epoch 6 is of another vector"):
        await answers.answer(CommitWeights(request_id=2, vector=other_epoch, sealed=sealed))
    for other in _others_of_its_epoch():
        with pytest.raises(SigningRefused):
            await answers.answer(CommitWeights(request_id=3, vector=other, sealed=sealed))

    assert chain.calls == []


def _others_of_its_epoch() -> list[Any]:
    """Vectors by which an engine may hope to have a commit sent whatever its uids are."""
    plain: dict[str, Any] = {"hotkeys": [], "registered": []}
    return [
        msgspec.structs.replace(_PROMISED, **plain),
        msgspec.structs.replace(_PROMISED, sha256=_PROMISED.promise, **plain),
        msgspec.structs.replace(_PROMISED, sha256=_PROMISED.promise, weights=[65535], **plain),
        vector(6, {1: 65535}),
    ]


async def test_commit_of_an_earlier_release_is_sent_while_it_pays_the_same_uids(tmp_path: Path) -> None:
    """Its record has the digest of the pairs alone."""
    chain = Churning()
    chain.queue = []
    answers = _answers(chain, tmp_path)
    plain = msgspec.structs.replace(_PROMISED, hotkeys=[], registered=[])
    sealed = (await answers.answer(SealWeights(request_id=1, vector=plain))).sealed  # type: ignore[union-attr]
    record = tmp_path / "signed.json"
    kept = msgspec.json.decode(record.read_bytes())
    for each in kept["epochs"]:
        each.update(resolved=[], sealed_of={}, sent=[])
    record.write_bytes(msgspec.json.encode(kept))
    answers = _answers(chain, tmp_path)

    chain.replace_first()
    with pytest.raises(SigningRefused, match="have changed hands"):
        await _answered(chain, answers, CommitWeights(request_id=2, vector=_PROMISED, sealed=sealed))
    chain.graph = a_metagraph(_THREE)
    with pytest.raises(TransientError, match="not in its queue"):  # the queue is played by the test
        await answers.answer(CommitWeights(request_id=3, vector=_PROMISED, sealed=sealed))
    assert len(chain.calls) == 1


async def test_earlier_sealed_form_in_the_queue_is_the_commit_of_its_epoch(tmp_path: Path) -> None:
    chain = Churning()
    answers = _answers(chain, tmp_path)
    first = (await answers.answer(SealWeights(request_id=1, vector=_PROMISED))).sealed  # type: ignore[union-attr]
    chain.replace_first()
    second = (await _answered(chain, answers, SealWeights(request_id=2, vector=_PROMISED))).sealed
    chain.queue = [(_OWN, 1000, "0x" + first.ciphertext.hex(), first.reveal_round)]

    landed: Any = await answers.answer(CommitWeights(request_id=3, vector=_PROMISED, sealed=second))
    asked = CommitAsked(epoch=6, reveal_epoch=7)
    read: Any = await answers.answer(ReadCommits(request_id=4, commits=[asked]))

    assert (landed.block, chain.calls) == (1000, [])
    assert read.commits[0].known_block == 1000


async def test_weights_on_chain_are_known_as_those_of_their_epoch(tmp_path: Path) -> None:
    chain = Churning()
    answers = _answers(chain, tmp_path)
    chain.replace_first()
    await _answered(chain, answers, SetWeights(request_id=1, vector=_PROMISED))
    asked = CommitAsked(epoch=6, reveal_epoch=7)

    held: Any = await answers.answer(ReadWeights(request_id=2))
    read: Any = await answers.answer(ReadCommits(request_id=3, commits=[asked]))
    chain.held = [[1, 65535], [2, 65535], [3, 9]]
    others: Any = await answers.answer(ReadWeights(request_id=4))

    assert (held.epochs, read.commits[0].is_held, others.epochs) == ([6], True, [])
