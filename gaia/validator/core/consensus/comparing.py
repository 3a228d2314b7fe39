"""Compares our weights with the other validators', and tells what the next epoch gives us."""

from __future__ import annotations

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
    stake = [float(part) for part in active_stake(read.state)]
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


def _prediction(outcome: Outcome, uid: int) -> Prediction:
    return Prediction(
        validator_trust=float(outcome.validator_trust[uid]), dividends=float(outcome.dividends[uid])
    )


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
    ours = outcome.shares[own_uid]
    rows = [
        ValidatorRow(
            uid=neuron.uid,
            hotkey=neuron.hotkey,
            stake=stake[neuron.uid],
            age_blocks=read.metagraph.block - neuron.last_update,
            validator_trust=read.validator_trust[neuron.uid],
            dividends=read.dividends[neuron.uid],
            distance=float(abs(theirs - ours).sum() / 2) if theirs.any() and ours.any() else None,
        )
        for neuron in read.metagraph.neurons
        if stake[neuron.uid] > 0.0
        for theirs in [outcome.shares[neuron.uid]]
    ]
    return sorted(rows, key=lambda row: (-row.stake, row.uid))


def _miners(read: ConsensusState, outcome: Outcome, stake: Sequence[float], own_uid: int) -> list[MinerRow]:
    ours = outcome.shares[own_uid]
    others = _others(outcome, stake, own_uid)
    rows = [
        MinerRow(
            uid=neuron.uid,
            hotkey=neuron.hotkey,
            ours=float(ours[neuron.uid]),
            others=others.get(neuron.uid, 0.0),
            consensus=float(outcome.consensus[neuron.uid]),
            clipped=max(0.0, float(ours[neuron.uid] - outcome.consensus[neuron.uid])),
        )
        for neuron in read.metagraph.neurons
    ]
    differing = [row for row in rows if abs(row.ours - row.others) >= _LEAST_DIFFERENCE]
    return sorted(differing, key=lambda row: (-abs(row.ours - row.others), row.uid))[:_MOST_MINERS]


def others_of(read: ConsensusState, own_uid: int) -> Mapping[int, float]:
    """Return uid -> mean of the others' weights for it, by stake; empty if no other validator counts."""
    stake = [float(part) for part in active_stake(read.state)]
    return _others(run_epoch(read.state), stake, own_uid)


def _others(outcome: Outcome, stake: Sequence[float], own_uid: int) -> Mapping[int, float]:
    """Return uid -> mean of the others' weights for it, by stake."""
    voters = [uid for uid, part in enumerate(stake) if part and uid != own_uid and outcome.shares[uid].any()]
    total = sum(stake[uid] for uid in voters)
    if not total:
        return {}
    mean = sum(outcome.shares[uid] * (stake[uid] / total) for uid in voters)
    return {uid: float(value) for uid, value in enumerate(mean)}
