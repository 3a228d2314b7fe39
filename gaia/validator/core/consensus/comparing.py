"""Compares our weights with the other validators', and tells what the next epoch gives us."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

from gaia.validator.core.consensus.yuma import active_stake, run_epoch
from gaia.validator.utils.chain.consensus import (
    BLOCKS_PER_DAY,
    ConsensusView,
    MinerRow,
    PermitPlace,
    Prediction,
    ValidatorRow,
)
from gaia.validator.utils.errors import TransientError

if TYPE_CHECKING:
    from gaia.validator.core.consensus.reading import ConsensusState
    from gaia.validator.core.consensus.yuma import Outcome
    from gaia.validator.utils.chain.metagraph import Metagraph, Neuron

_MOST_MINERS: Final = 20
_LEAST_DIFFERENCE: Final = 0.001
"""Part of a validator's weight below which a difference is not listed."""


def view_of(read: ConsensusState, proposed: Sequence[Sequence[int]] | None = None) -> ConsensusView:
    """Return our weights beside the others', with what the next epoch gives.

    Parameters
    ----------
    proposed
        [uid, u16] pairs of a vector of ours that the chain does not count yet.

    Raises
    ------
    TransientError
        If our hotkey is not registered.
    """
    graph = read.metagraph
    own = graph.own
    if own is None:
        raise TransientError(f"hotkey {graph.own_hotkey} is not registered on subnet {graph.netuid}")
    standing = run_epoch(read.state)
    stake = active_stake(read.state)
    changed = None
    if proposed is not None:
        row = {uid: weight for uid, weight in proposed}  # noqa: C416 - of sequences
        changed = _prediction(run_epoch(read.state.with_weights(own.uid, row, read.state.block - 1)), own.uid)
    return ConsensusView(
        hotkey=own.hotkey,
        uid=own.uid,
        block=graph.block,
        epoch=graph.epoch,
        next_epoch_block=read.state.block,
        validator_trust=read.validator_trust[own.uid],
        dividends=read.dividends[own.uid],
        emission=read.emission[own.uid],
        emission_per_day=read.emission[own.uid] * BLOCKS_PER_DAY / max(1, graph.tempo),
        standing=_prediction(standing, own.uid),
        proposed=changed,
        permit=_permit(graph, own, read.permits),
        validators=_validators(read, standing, stake, own.uid),
        miners=_miners(read, standing, stake, own.uid),
    )


def distance(one: Mapping[int, float], other: Mapping[int, float]) -> float:
    """Return the part of the weight that is on other uids.

    >>> distance({1: 0.5, 2: 0.5}, {1: 0.5, 3: 0.5})
    0.5
    """
    return math.fsum(abs(one.get(uid, 0.0) - other.get(uid, 0.0)) for uid in one.keys() | other.keys()) / 2


def _prediction(outcome: Outcome, uid: int) -> Prediction:
    return Prediction(validator_trust=outcome.validator_trust[uid], dividends=outcome.dividends[uid])


def _permit(graph: Metagraph, own: Neuron, places: int) -> PermitPlace:
    others = sorted((neuron.stake for neuron in graph.neurons if neuron.uid != own.uid), reverse=True)
    # We hold a permit while fewer than `places` others have more stake.
    rival = others[places - 1] if 0 < places <= len(others) else 0.0
    return PermitPlace(
        rank=1 + sum(stake > own.stake for stake in others), places=places, margin=own.stake - rival
    )


def _validators(
    read: ConsensusState, outcome: Outcome, stake: Sequence[float], own_uid: int
) -> list[ValidatorRow]:
    ours = outcome.shares.get(own_uid, {})
    rows = [
        ValidatorRow(
            uid=neuron.uid,
            hotkey=neuron.hotkey,
            stake=stake[neuron.uid],
            age_blocks=read.metagraph.block - neuron.last_update,
            validator_trust=read.validator_trust[neuron.uid],
            dividends=read.dividends[neuron.uid],
            distance=distance(theirs, ours) if theirs and ours else None,
        )
        for neuron in read.metagraph.neurons
        if stake[neuron.uid] > 0.0
        for theirs in [outcome.shares.get(neuron.uid, {})]
    ]
    return sorted(rows, key=lambda row: (-row.stake, row.uid))


def _miners(read: ConsensusState, outcome: Outcome, stake: Sequence[float], own_uid: int) -> list[MinerRow]:
    ours = outcome.shares.get(own_uid, {})
    others = _others(outcome, stake, own_uid)
    rows = [
        MinerRow(
            uid=neuron.uid,
            hotkey=neuron.hotkey,
            ours=ours.get(neuron.uid, 0.0),
            others=others.get(neuron.uid, 0.0),
            consensus=outcome.consensus[neuron.uid],
            clipped=max(0.0, ours.get(neuron.uid, 0.0) - outcome.consensus[neuron.uid]),
        )
        for neuron in read.metagraph.neurons
    ]
    differing = [row for row in rows if abs(row.ours - row.others) >= _LEAST_DIFFERENCE]
    return sorted(differing, key=lambda row: (-abs(row.ours - row.others), row.uid))[:_MOST_MINERS]


def others_of(read: ConsensusState, own_uid: int) -> Mapping[int, float]:
    """Return uid -> mean of the others' weights for it, by stake; empty if no other validator counts."""
    return _others(run_epoch(read.state), active_stake(read.state), own_uid)


def _others(outcome: Outcome, stake: Sequence[float], own_uid: int) -> Mapping[int, float]:
    """Return uid -> mean of the others' weights for it, by stake."""
    voters = [uid for uid, part in enumerate(stake) if part and uid != own_uid and uid in outcome.shares]
    total = sum(stake[uid] for uid in voters)
    mean: dict[int, float] = {}
    for uid in voters:
        for other, value in outcome.shares[uid].items():
            mean[other] = mean.get(other, 0.0) + value * stake[uid] / total
    return mean
