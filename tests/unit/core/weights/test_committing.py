"""What became of a sealed vector, from what the chain holds."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from gaia.validator.core.weights.committing import NotRevealed, Queued, Revealed, end_of
from gaia.validator.db.journal import JournalEntry
from gaia.validator.db.states import VectorState
from gaia.validator.utils.signer_messages import CommitRead, CommitsRead, SealedWeights

_CIPHERTEXT = b"sealed"
_QUEUED = {hashlib.sha256(_CIPHERTEXT).hexdigest(): 105}
_OURS, _OTHERS = [[1, 65535], [2, 9]], [[3, 65535]]


def _end(
    epoch: int,
    *,
    queued: dict[str, int] | None = None,
    pairs: Any = _OTHERS,
    was_revealed: bool | None = None,
    state: VectorState = VectorState.COMMITTED,
) -> Any:
    sealed = SealedWeights(ciphertext=_CIPHERTEXT, reveal_round=9, epoch=10, reveal_epoch=12)
    entry = JournalEntry(
        epoch=10,
        vector=_OURS,
        vector_sha256="",
        state=state,
        promised_block=100,
        tried_block=100,
        sealed=sealed,
    )
    read = CommitRead(epoch=10, queued=queued or {}, was_revealed=was_revealed)
    held = CommitsRead(request_id=1, block=130, epoch=epoch, first_block=120, pairs=pairs, commits=[read])
    return end_of(entry, read, held)


@pytest.mark.parametrize("epoch", [10, 11, 12])
def test_commit_in_the_queue_waits_also_for_a_pulse_that_is_late(epoch: int) -> None:
    assert _end(epoch, queued=_QUEUED, pairs=_OURS) is None


@pytest.mark.parametrize("state", [VectorState.INTENDED, VectorState.FAILED])
def test_commit_of_unknown_outcome_is_found_in_the_queue(state: VectorState) -> None:
    assert _end(10, queued=_QUEUED, state=state) == Queued(105)


def test_other_commits_of_ours_are_not_taken_for_it() -> None:
    other = {"ab": 105}

    assert _end(10, queued=other, state=VectorState.FAILED) is None
    assert isinstance(_end(11, queued=other, state=VectorState.FAILED), NotRevealed)


@pytest.mark.parametrize("was_revealed", [True, None])
def test_vector_that_stands_in_its_reveals_epoch_is_revealed(was_revealed: bool | None) -> None:
    assert _end(12, pairs=_OURS, was_revealed=was_revealed) == Revealed(120)


def test_vector_like_the_one_before_is_lost_if_the_chain_revealed_nothing() -> None:
    assert isinstance(_end(12, pairs=_OURS, was_revealed=False), NotRevealed)


@pytest.mark.parametrize("epoch", [12, 13])
def test_vector_that_does_not_stand_after_its_reveal_is_lost(epoch: int) -> None:
    lost = _end(epoch)

    assert isinstance(lost, NotRevealed)
    assert "epoch 12" in lost.reason


def test_vector_that_was_not_committed_in_its_epoch_is_lost_with_it() -> None:
    assert _end(10, state=VectorState.FAILED) is None
    assert _end(11, state=VectorState.FAILED) == NotRevealed("not committed in epoch 10")
