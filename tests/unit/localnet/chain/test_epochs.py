"""Epochs of the local chain, against the schedule that the validator computes from its counters."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gaia.localnet.chain.runtime import ChainRuntime
from gaia.localnet.chain.storage import ChainStorage
from gaia.localnet.chain.subnet.epochs import Epochs
from gaia.validator.core.chain.epochs import MAX_TEMPO, EpochSchedule
from tests.support.subnet import NETUID

_RUNTIME = ChainRuntime.load()
_START = 1000


def _counted(schedule: EpochSchedule) -> tuple[ChainStorage, Epochs]:
    """Return the local chain's epochs in the state of `schedule`."""
    storage = ChainStorage(_RUNTIME)
    for item, value in (
        ("Tempo", schedule.tempo),
        ("SubnetEpochIndex", schedule.index),
        ("LastEpochBlock", schedule.last_epoch_block),
        ("PendingEpochAt", schedule.pending_epoch_at),
        ("BlocksSinceLastStep", schedule.blocks_since_last_step),
    ):
        storage.write(item, NETUID, value=value)
    return storage, Epochs(storage, NETUID)


_SCHEDULES = st.builds(
    lambda tempo, age, pending, since: EpochSchedule(
        block=_START,
        index=7,
        last_epoch_block=_START - age,
        pending_epoch_at=pending and _START + pending,
        tempo=tempo,
        blocks_since_last_step=since,
    ),
    tempo=st.integers(2, 40),
    age=st.integers(0, 60),
    pending=st.integers(0, 20),
    since=st.sampled_from([0, 5, MAX_TEMPO - 10, MAX_TEMPO, MAX_TEMPO + 1]),
)


@given(_SCHEDULES, st.integers(1, 3))
@settings(deadline=None)
def test_validator_foresees_the_blocks_in_which_the_chain_counts(schedule: EpochSchedule, later: int) -> None:
    _, epochs = _counted(schedule)
    target = schedule.index + later
    begun, seen = [], []
    for block in range(_START + 1, _START + 50 * later):
        seen += [block] if epochs.present(block) == target else []
        begun += [block] if epochs.step(block) else []

    assert begun[0] == schedule.next_start()
    assert seen[0] == schedule.first_block_of(target)


def test_commit_in_the_block_of_a_due_epoch_belongs_to_it() -> None:
    schedule = EpochSchedule(
        block=_START,
        index=7,
        last_epoch_block=_START - 9,
        pending_epoch_at=0,
        tempo=10,
        blocks_since_last_step=9,
    )

    assert schedule.epoch_of_commit() == 8
    assert replace(schedule, tempo=11).epoch_of_commit() == 7


def test_epoch_that_has_begun_has_no_first_block_to_come() -> None:
    schedule = EpochSchedule(
        block=_START, index=7, last_epoch_block=_START, pending_epoch_at=0, tempo=10, blocks_since_last_step=0
    )

    with pytest.raises(ValueError, match="epoch 7 has begun"):
        schedule.first_block_of(7)


def test_subnet_whose_tempo_is_zero_has_no_epochs() -> None:
    schedule = EpochSchedule(
        block=_START, index=7, last_epoch_block=0, pending_epoch_at=0, tempo=0, blocks_since_last_step=0
    )
    _, epochs = _counted(schedule)

    with pytest.raises(ValueError, match="tempo is 0"):
        schedule.next_start()
    assert not any(epochs.step(block) for block in range(_START, _START + 100))


def test_chain_that_continues_an_earlier_one_repeats_no_index() -> None:
    storage, epochs = _counted(
        EpochSchedule(
            block=0, index=0, last_epoch_block=0, pending_epoch_at=0, tempo=10, blocks_since_last_step=0
        )
    )

    epochs.found(1_000_000)

    assert storage.read("SubnetEpochIndex", NETUID) == 100_000
    assert epochs.next_start() == 1_000_010
