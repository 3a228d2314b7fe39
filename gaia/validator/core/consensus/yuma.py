"""Yuma consensus: what the chain makes of all validators' weights, from the published formulas.

Source: "Yuma Consensus" in the documentation of subtensor, and run_epoch.rs at spec 425. The runtime computes in
fixed point with 32 binary places; results here differ by less than 1e-6. No numerics are loaded for it, because the
chain signer computes it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

U16_MAX: Final = 65535
Row = Mapping[int, int]
"""Uid -> u16."""
Shares = Mapping[int, float]
"""Uid -> part; absent: 0."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LiquidAlpha:
    """How fast bonds follow weights, by how much a weight differs from the consensus."""

    low: float
    high: float
    steepness: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsensusRules:
    """Hyperparameters of the subnet; fractions in [0, 1]."""

    activity_cutoff: int
    """Blocks without weights after which a validator is ignored."""
    kappa: float
    """Part of the stake that must agree on a weight."""
    bonds_penalty: float
    """1: bonds follow weights clipped at the consensus; 0: weights as they were set."""
    bonds_moving_average: float
    """Part of the bonds that each epoch keeps."""
    yuma3: bool = False
    liquid_alpha: LiquidAlpha | None = None
    stake_threshold: float = 0.0
    """Least stake of a validator, in tokens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SubnetState:
    """All that an epoch is computed from; sequences and rows are by uid."""

    block: int
    """Block in which the epoch begins."""
    tempo: int
    stake: Sequence[float]
    """Stake weight, in tokens."""
    permits: Sequence[bool]
    last_update: Sequence[int]
    registered_at: Sequence[int]
    weights: Mapping[int, Row]
    """Validator -> its weights."""
    bonds: Mapping[int, Row]
    """Validator -> its bonds of the epoch before."""
    rules: ConsensusRules
    owner_uid: int | None = None
    """Uid of the subnet owner's hotkey, whose weight for itself counts."""
    commits: Mapping[int, int] = field(default_factory=dict)
    """Validator -> block of its oldest sealed weights that wait for their reveal."""

    def with_weights(self, uid: int, row: Row, updated: int) -> SubnetState:
        """Return the state in which validator `uid` has set these weights in block `updated`."""
        updates = [updated if other == uid else block for other, block in enumerate(self.last_update)]
        commits = {other: block for other, block in self.commits.items() if other != uid}
        return replace(self, weights={**self.weights, uid: row}, last_update=updates, commits=commits)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """Result of an epoch; sequences are by uid."""

    consensus: Sequence[float]
    """Largest weight on which enough stake agrees."""
    validator_trust: Sequence[float]
    """Part of a validator's weight that is not above the consensus."""
    incentive: Sequence[float]
    """Miners' part of the reward; sums to 1, or is 0."""
    dividends: Sequence[float]
    """Validators' part of the reward; sums to 1, or is 0."""
    shares: Mapping[int, Shares]
    """Validator -> its weights as they count, which sum to 1; absent: it has none."""


def run_epoch(state: SubnetState) -> Outcome:
    """Return what the epoch that begins in `state.block` gives."""
    size = len(state.stake)
    stake = active_stake(state)
    shares = _normalised_rows(_counted_weights(state))
    agreed = _weighted_medians(stake, shares, state.rules.kappa)
    clipped = {
        uid: {other: min(value, agreed[other]) for other, value in row.items()} for uid, row in shares.items()
    }
    ranks = [0.0] * size
    for uid, row in clipped.items():
        for other, value in row.items():
            ranks[other] += stake[uid] * value
    incentive = _normalised(ranks)
    penalty = state.rules.bonds_penalty
    for_bonds = {
        uid: {other: (1.0 - penalty) * value + penalty * clipped[uid][other] for other, value in row.items()}
        for uid, row in shares.items()
    }
    return Outcome(
        consensus=agreed,
        validator_trust=[math.fsum(clipped.get(uid, {}).values()) for uid in range(size)],
        incentive=incentive,
        dividends=_dividends(state, stake, for_bonds, agreed, incentive),
        shares=shares,
    )


def active_stake(state: SubnetState) -> list[float]:
    """Return each validator's part of the stake that counts."""
    least, cutoff = state.rules.stake_threshold, state.rules.activity_cutoff
    columns = zip(state.stake, state.permits, state.last_update, strict=True)
    return _normalised(
        stake if permitted and stake >= least and updated + cutoff >= state.block else 0.0
        for stake, permitted, updated in columns
    )


def _counted_weights(state: SubnetState) -> dict[int, dict[int, float]]:
    """Return the weights that count: of permitted validators, for others, set after the registration."""
    size, registered = len(state.stake), state.registered_at
    rows = {}
    for uid, row in state.weights.items():
        if uid >= size or not state.permits[uid]:
            continue
        pending = state.commits.get(uid)
        rows[uid] = {
            other: float(value)
            for other, value in row.items()
            if other < size
            and (other != uid or uid == state.owner_uid)
            and state.last_update[uid] > registered[other]
            and (pending is None or registered[other] <= pending)
        }
    return rows


def _weighted_medians(stake: Sequence[float], shares: Mapping[int, Shares], kappa: float) -> list[float]:
    """Return for each uid the least weight up to which more than 1 - kappa of the stake has set."""
    voters = [(part, shares.get(uid, {})) for uid, part in enumerate(stake) if part > 0.0]
    total = math.fsum(part for part, _ in voters)
    found = [0.0] * len(stake)
    for other in {other for _, row in voters for other in row}:
        below = 0.0
        for value, part in sorted((row.get(other, 0.0), part) for part, row in voters):
            below += part / total
            found[other] = value
            if below > 1.0 - kappa:
                break
    return found


def _dividends(
    state: SubnetState,
    stake: Sequence[float],
    for_bonds: Mapping[int, Shares],
    agreed: Sequence[float],
    incentive: Sequence[float],
) -> list[float]:
    size = len(stake)
    since = state.block - state.tempo
    bonds = {
        uid: {
            other: float(bond)
            for other, bond in row.items()
            if other < size and state.registered_at[other] < since
        }
        for uid, row in state.bonds.items()
        if uid < size
    }
    kept = state.rules.bonds_moving_average
    if not state.rules.yuma3:
        bought = {
            uid: {other: value * stake[uid] for other, value in row.items()} for uid, row in for_bonds.items()
        }
        mixed = _mixed(_normalised_columns(bought), _normalised_columns(bonds), kept)
        totals = _totals(_normalised_columns(mixed), incentive)
        return _normalised(totals.get(uid, 0.0) for uid in range(size))
    held = {uid: {other: bond / U16_MAX for other, bond in row.items()} for uid, row in bonds.items()}
    liquid = state.rules.liquid_alpha
    if liquid is not None and any(agreed):
        # Where a validator sets no weight now, it keeps no bond.
        mixed = {
            uid: {
                other: min(1.0, (1.0 - part) * held.get(uid, {}).get(other, 0.0) + part * value)
                for other, value in row.items()
                if value > 0.0
                for part in [_alpha(liquid, value, held.get(uid, {}).get(other, 0.0), agreed[other])]
            }
            for uid, row in for_bonds.items()
        }
    else:
        mixed = _mixed(for_bonds, held, kept)
    totals = _totals(_normalised_columns(mixed), incentive)
    return _normalised(totals.get(uid, 0.0) * stake[uid] for uid in range(size))


def _alpha(liquid: LiquidAlpha, weight: float, bond: float, agreed: float) -> float:
    """Return the part of a bond that follows the weight in one epoch."""
    distance = min(1.0, max(0.0, weight - agreed if weight >= bond else bond - weight))
    sigmoid = 1.0 / (1.0 + math.exp(-liquid.steepness / 100.0 * (distance - 0.5)))
    return min(liquid.high, max(liquid.low, liquid.low + sigmoid * (liquid.high - liquid.low)))


def _mixed(new: Mapping[int, Shares], old: Mapping[int, Shares], kept: float) -> dict[int, dict[int, float]]:
    """Return the moving average, of which `kept` is old."""
    nothing: Shares = {}
    return {
        uid: {
            other: (1.0 - kept) * row.get(other, 0.0) + kept * before.get(other, 0.0)
            for other in row.keys() | before.keys()
        }
        for uid in new.keys() | old.keys()
        for row, before in [(new.get(uid, nothing), old.get(uid, nothing))]
    }


def _totals(bonds: Mapping[int, Shares], incentive: Sequence[float]) -> dict[int, float]:
    """Return validator -> what its parts of the miners' bonds pay."""
    return {
        uid: math.fsum(value * incentive[other] for other, value in row.items()) for uid, row in bonds.items()
    }


def _normalised(values: Iterable[float]) -> list[float]:
    listed = list(values)
    total = math.fsum(listed)
    return [value / total for value in listed] if total > 0.0 else listed


def _normalised_rows(rows: Mapping[int, Shares]) -> dict[int, dict[int, float]]:
    totals = {uid: math.fsum(row.values()) for uid, row in rows.items()}
    return {
        uid: {other: value / totals[uid] for other, value in row.items()}
        for uid, row in rows.items()
        if totals[uid] > 0.0
    }


def _normalised_columns(rows: Mapping[int, Shares]) -> dict[int, dict[int, float]]:
    totals: dict[int, float] = {}
    for row in rows.values():
        for other, value in row.items():
            totals[other] = totals.get(other, 0.0) + value
    return {
        uid: {other: value / totals[other] for other, value in row.items() if totals[other] > 0.0}
        for uid, row in rows.items()
    }
