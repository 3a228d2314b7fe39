"""Yuma consensus once more, from the published formulas, with matrices: what ours is compared with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from gaia.validator.core.consensus.yuma import U16_MAX, LiquidAlpha, Row, SubnetState

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """Result of an epoch, by uid."""

    consensus: Floats
    """Largest weight on which enough stake agrees."""
    validator_trust: Floats
    """Part of a validator's weight that is not above the consensus."""
    incentive: Floats
    """Miners' part of the reward; sums to 1, or is 0."""
    dividends: Floats
    """Validators' part of the reward; sums to 1, or is 0."""
    shares: Floats
    """Validators' weights as they count, (n, n): rows sum to 1, or are 0."""


def run_epoch(state: SubnetState) -> Outcome:
    """Return what the epoch that begins in `state.block` gives."""
    stake = active_stake(state)
    shares = _normalised_rows(_counted_weights(state))
    agreed = _weighted_medians(stake, shares, state.rules.kappa)
    clipped = np.minimum(shares, agreed)
    incentive = _normalised(stake @ clipped)
    penalty = state.rules.bonds_penalty
    for_bonds = (1.0 - penalty) * shares + penalty * clipped
    dividends = _dividends(state, stake, for_bonds, agreed, incentive)
    return Outcome(
        consensus=agreed,
        validator_trust=clipped.sum(axis=1),
        incentive=incentive,
        dividends=dividends,
        shares=shares,
    )


def active_stake(state: SubnetState) -> Floats:
    """Return each validator's part of the stake that counts."""
    stake = np.array(state.stake, dtype=np.float64)
    stake = np.where(stake < state.rules.stake_threshold, 0.0, stake)
    is_active = np.array(state.last_update) + state.rules.activity_cutoff >= state.block
    return _normalised(stake * is_active * np.array(state.permits))


def _counted_weights(state: SubnetState) -> Floats:
    """Return the weights that count, (n, n): of permitted validators, for others, set after the registration."""
    weights = _matrix(state.weights, len(state.stake))
    weights[~np.array(state.permits, dtype=bool)] = 0.0
    owner = state.owner_uid
    of_owner = 0.0 if owner is None else weights[owner, owner]
    np.fill_diagonal(weights, 0.0)
    if owner is not None:
        weights[owner, owner] = of_owner
    updated, registered = np.array(state.last_update), np.array(state.registered_at)
    weights[updated[:, None] <= registered[None, :]] = 0.0
    for uid, block in state.commits.items():
        weights[uid, registered > block] = 0.0
    return weights


def _weighted_medians(stake: Floats, shares: Floats, kappa: float) -> Floats:
    """Return for each column the least weight up to which more than 1 - kappa of the stake has set."""
    voters = stake > 0.0
    if not voters.any():
        return np.zeros(shares.shape[1])
    rows, part = shares[voters], _normalised(stake[voters])
    order = np.argsort(rows, axis=0, kind="stable")
    ascending = np.take_along_axis(rows, order, axis=0)
    below = np.cumsum(part[order], axis=0)
    reached = below > 1.0 - kappa
    first = np.where(reached.any(axis=0), reached.argmax(axis=0), len(part) - 1)
    found: Floats = np.take_along_axis(ascending, first[None, :], axis=0)[0]
    return found


def _dividends(
    state: SubnetState, stake: Floats, for_bonds: Floats, agreed: Floats, incentive: Floats
) -> Floats:
    bonds = _matrix(state.bonds, len(stake))
    bonds[:, np.array(state.registered_at) >= state.block - state.tempo] = 0.0
    alpha = 1.0 - state.rules.bonds_moving_average
    if not state.rules.yuma3:
        delta = _normalised_columns(for_bonds * stake[:, None])
        kept = alpha * delta + (1.0 - alpha) * _normalised_columns(bonds)
        return _normalised(_normalised_columns(kept) @ incentive)
    bonds = bonds / U16_MAX
    liquid = state.rules.liquid_alpha
    if liquid is not None and agreed.any():
        alphas = _alphas(liquid, for_bonds, bonds, agreed)
        # Where a validator sets no weight now, it keeps no bond.
        kept = np.where(for_bonds > 0.0, np.minimum(alphas * for_bonds + (1.0 - alphas) * bonds, 1.0), 0.0)
    else:
        kept = alpha * for_bonds + (1.0 - alpha) * bonds
    return _normalised((_normalised_columns(kept) @ incentive) * stake)


def _alphas(liquid: LiquidAlpha, for_bonds: Floats, bonds: Floats, agreed: Floats) -> Floats:
    bought = np.clip(for_bonds - agreed, 0.0, 1.0)
    sold = np.clip(bonds - for_bonds, 0.0, 1.0)
    distance = np.where(for_bonds >= bonds, bought, sold)
    sigmoid = 1.0 / (1.0 + np.exp(-liquid.steepness / 100.0 * (distance - 0.5)))
    alphas: Floats = np.clip(liquid.low + sigmoid * (liquid.high - liquid.low), liquid.low, liquid.high)
    return alphas


def _matrix(rows: Mapping[int, Row], size: int) -> Floats:
    matrix = np.zeros((size, size))
    for uid, row in rows.items():
        for other, value in row.items():
            if uid < size and other < size:
                matrix[uid, other] = value
    return matrix


def _normalised(values: Floats) -> Floats:
    total = float(values.sum())
    shares: Floats = values / total if total > 0.0 else values
    return shares


def _normalised_rows(matrix: Floats) -> Floats:
    totals = matrix.sum(axis=1, keepdims=True)
    shares: Floats = np.divide(matrix, totals, out=np.zeros_like(matrix), where=totals > 0.0)
    return shares


def _normalised_columns(matrix: Floats) -> Floats:
    return _normalised_rows(matrix.T).T
