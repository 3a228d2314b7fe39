"""What became of a sealed vector, from what the chain holds."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from gaia.validator.core.weights.committing import NotRevealed, Queued, Revealed, Vanished, end_of
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
    revealed_in: int | None = None,
    is_known: bool = False,
    state: VectorState = VectorState.COMMITTED,
    commit_block: int | None = 105,
    **known: Any,
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
        commit_block=commit_block if state is VectorState.COMMITTED else None,
    )
    read = CommitRead(epoch=10, queued=queued or {}, revealed_in=revealed_in, is_known=is_known, **known)
    held = CommitsRead(request_id=1, block=130, epoch=epoch, pairs=pairs, commits=[read])
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


def test_earlier_sealed_form_in_the_queue_is_the_commit() -> None:
    assert _end(10, queued={"ab": 104}, state=VectorState.FAILED, known_block=104) == Queued(104)
    assert _end(11, queued={"ab": 104}, known_block=104) is None


def test_vector_that_stands_with_other_uids_is_revealed_if_the_signer_knows_it() -> None:
    assert _end(12, pairs=_OTHERS, is_held=True) == Revealed(130)


def test_vector_is_revealed_where_the_chain_says_so_whatever_stands_now() -> None:
    assert _end(12, pairs=_OTHERS, revealed_in=123, is_known=True) == Revealed(123)


def test_vector_that_stands_is_revealed_if_events_are_unknown() -> None:
    assert _end(12, pairs=_OURS) == Revealed(130)


def test_vector_like_the_one_before_is_lost_if_the_chain_revealed_nothing() -> None:
    assert isinstance(_end(12, pairs=_OURS, is_known=True), NotRevealed)


def test_vector_that_does_not_stand_in_its_reveals_epoch_is_lost() -> None:
    lost = _end(12, is_known=True)

    assert isinstance(lost, NotRevealed)
    assert lost.is_certain
    assert "dropped the commit in epoch 12" in lost.reason


@pytest.mark.parametrize("epoch", [12, 13])
def test_vector_behind_other_weights_is_not_called_dropped_if_events_are_unknown(epoch: int) -> None:
    hidden = _end(epoch)

    assert isinstance(hidden, NotRevealed)
    assert not hidden.is_certain
    assert "not known" in hidden.reason


def test_vector_is_lost_where_nothing_of_ours_stands() -> None:
    lost = _end(13, pairs=[])

    assert isinstance(lost, NotRevealed)
    assert lost.is_certain


def test_vector_that_was_not_committed_in_its_epoch_is_lost_with_it() -> None:
    assert _end(10, state=VectorState.FAILED) is None
    assert _end(11, state=VectorState.FAILED) == NotRevealed("not committed in epoch 10")


def test_commit_that_leaves_the_queue_before_its_reveal_is_lost() -> None:
    assert _end(11) == NotRevealed("the commit left the chain's queue before epoch 12")


def test_commit_that_is_no_longer_on_chain_in_its_own_epoch_is_sent_again() -> None:
    assert _end(10) == Vanished("the commit of block 105 is no longer on chain")
    assert _end(10, commit_block=130) is None
