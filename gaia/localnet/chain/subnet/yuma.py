"""Yuma consensus at the beginning of an epoch, in fixed point as the runtime computes it.

The steps are those of run_epoch.rs of subtensor (spec 425). Validators' weights are masked, normalised and clipped
at the weight on which enough stake agrees. Bonds follow them. Incentive and dividends divide the emission. The most
stake, and the subnet's owner, get the permits of the next epoch. Liquid alpha is not modelled.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from gaia.localnet.chain.storage import ChainStorage

_ONE: Final = 1 << 32
"""1 in fixed point with 32 binary places."""
_U16_MAX: Final = 65535
_RAO_PER_BLOCK: Final = 10**9
"""Emission of the subnet in a block: one token."""

_Row = dict[int, int]
"""Uid -> value in fixed point; absent: 0."""


@dataclass(frozen=True, slots=True)
class Shares:
    """Result of an epoch in fixed point, by uid."""

    consensus: list[int]
    validator_trust: list[int]
    incentive: list[int]
    dividends: list[int]


class YumaConsensus:
    """Reads the weights of one subnet from the chain's storage, and writes what an epoch makes of them."""

    def __init__(self, storage: ChainStorage, netuid: int) -> None:
        self._storage = storage
        self._netuid = netuid

    def run(self, block: int) -> Shares:
        """Compute the epoch that begins in `block`, store its results, and return them."""
        count = int(self._read("SubnetworkN"))
        stake = self._active_stake(block, count)
        weights = {uid: _normalised(row) for uid, row in self._counted_weights(count).items()}
        kappa = int(self._read("Kappa")) * _ONE // _U16_MAX
        agreed = [_weighted_median(stake, weights, uid, _ONE - kappa) for uid in range(count)]
        clipped = {
            uid: {other: min(value, agreed[other]) for other, value in row.items()}
            for uid, row in weights.items()
        }
        ranks = {
            uid: sum(_times(row.get(uid, 0), stake.get(i, 0)) for i, row in clipped.items())
            for uid in range(count)
        }
        incentive = _normalised(ranks)
        penalty = int(self._read("BondsPenalty")) * _ONE // _U16_MAX
        for_bonds = {
            uid: {
                other: _times(_ONE - penalty, value) + _times(penalty, clipped[uid][other])
                for other, value in row.items()
            }
            for uid, row in weights.items()
        }
        dividends, bonds = self._dividends(block, stake, for_bonds, incentive)
        trust = {uid: sum(row.values()) for uid, row in clipped.items()}
        shares = Shares(
            consensus=agreed,
            validator_trust=[trust.get(uid, 0) for uid in range(count)],
            incentive=[incentive.get(uid, 0) for uid in range(count)],
            dividends=[dividends.get(uid, 0) for uid in range(count)],
        )
        self._store(shares, bonds, block)
        self._renew_permits(count)
        return shares

    def _renew_permits(self, count: int) -> None:
        """Write the permits of the next epoch; who loses one loses its bonds."""
        before, permits = self._read("ValidatorPermit"), self._permits(count)
        self._write("ValidatorPermit", permits)
        for uid, (had, has) in enumerate(zip(before, permits, strict=True)):
            if had and not has:
                self._storage.remove("Bonds", self._netuid, uid)

    def _permits(self, count: int) -> list[bool]:
        """Return who may set weights from now on: those with the most stake, the last of equals, and the owner."""
        places = int(self._read("MaxAllowedValidators"))
        stake = [self._stake_of(uid) for uid in range(count)]
        best = sorted(range(count), key=lambda uid: (stake[uid], uid))[max(0, count - places) :]
        owner = self._storage.read("SubnetOwnerHotkey", self._netuid)
        return [(uid in best and stake[uid] > 0) or self._read("Keys", uid) == owner for uid in range(count)]

    def _stake_of(self, uid: int) -> int:
        """Return the stake that counts; less than the chain's least, but for the owner's, counts as none."""
        hotkey = self._read("Keys", uid)
        stake = int(self._storage.read("TotalHotkeyAlpha", hotkey, self._netuid))
        is_owner = hotkey == self._storage.read("SubnetOwnerHotkey", self._netuid)
        return stake if is_owner or stake >= self._storage.read("StakeThreshold") else 0

    def _active_stake(self, block: int, count: int) -> _Row:
        """Return the stake of permitted validators that have set weights lately, as parts of its sum."""
        permits, updates = self._read("ValidatorPermit"), self._read("LastUpdate")
        cutoff = int(self._read("ActivityCutoff"))
        found = {}
        for uid in range(count):
            stake = self._stake_of(uid)
            if permits[uid] and stake and updates[uid] + cutoff >= block:
                found[uid] = stake * _ONE
        return _normalised(found)

    def _counted_weights(self, count: int) -> dict[int, _Row]:
        """Return the weights that count: of permitted validators, for others, set after the registration."""
        permits, updates = self._read("ValidatorPermit"), self._read("LastUpdate")
        registered = [int(self._read("BlockAtRegistration", uid)) for uid in range(count)]
        owner = self._storage.read("SubnetOwnerHotkey", self._netuid)
        commits = self._commits() if self._read("CommitRevealWeightsEnabled") else {}
        rows: dict[int, _Row] = {}
        for uid in range(count):
            hotkey = self._read("Keys", uid)
            pending = commits.get(hotkey)
            rows[uid] = {
                other: weight * _ONE
                for other, weight in (self._read("Weights", uid) if permits[uid] else ())
                if other < count
                and (other != uid or hotkey == owner)
                and updates[uid] > registered[other]
                and (pending is None or pending >= registered[other])
            }
        return rows

    def _commits(self) -> Mapping[str, int]:
        """Return hotkey -> block of its oldest sealed weights that wait."""
        index, period = int(self._read("SubnetEpochIndex")), int(self._read("RevealPeriodEpochs"))
        found: dict[str, int] = {}
        for epoch in range(index - period, index + 1):
            for hotkey, block, *_ in self._read("TimelockedWeightCommits", epoch):
                found[hotkey] = min(block, found.get(hotkey, block))
        return found

    def _dividends(
        self, block: int, stake: _Row, for_bonds: Mapping[int, _Row], incentive: _Row
    ) -> tuple[_Row, dict[int, _Row]]:
        """Return the dividends, and the bonds of the next epoch as they are stored."""
        since = block - int(self._read("Tempo"))
        bonds = {
            uid: {
                other: bond * _ONE
                for other, bond in self._read("Bonds", uid)
                if self._read("BlockAtRegistration", other) < since
            }
            for uid in for_bonds
        }
        kept = int(self._read("BondsMovingAverage")) * _ONE // 10**6
        if self._read("Yuma3On"):
            old = {
                uid: {other: bond // _U16_MAX for other, bond in row.items()} for uid, row in bonds.items()
            }
            mixed = _mixed(for_bonds, old, kept)
            totals = _totals(_normalised_columns(mixed), incentive)
            return _normalised(
                {uid: _times(total, stake.get(uid, 0)) for uid, total in totals.items()}
            ), mixed
        delta = {
            uid: {other: _times(value, stake.get(uid, 0)) for other, value in row.items()}
            for uid, row in for_bonds.items()
        }
        mixed = _normalised_columns(_mixed(_normalised_columns(delta), _normalised_columns(bonds), kept))
        return _normalised(_totals(mixed, incentive)), _columns(mixed, max)

    def _store(self, shares: Shares, bonds: Mapping[int, _Row], block: int) -> None:
        updates, cutoff = self._read("LastUpdate"), int(self._read("ActivityCutoff"))
        for item, values in (
            ("Consensus", shares.consensus),
            ("ValidatorTrust", shares.validator_trust),
            ("Incentive", shares.incentive),
            ("Dividends", shares.dividends),
        ):
            self._write(item, [_as_u16(value) for value in values])
        rewards = [one + other for one, other in zip(shares.incentive, shares.dividends, strict=True)]
        emission, total = int(self._read("Tempo")) * _RAO_PER_BLOCK, sum(rewards)
        self._write("Emission", [reward * emission // total if total else 0 for reward in rewards])
        self._write("Active", [updated + cutoff >= block for updated in updates])
        for uid, row in bonds.items():
            pairs = [[other, _as_u16(bond)] for other, bond in sorted(row.items()) if bond]
            self._storage.write("Bonds", self._netuid, uid, value=pairs)

    def _read(self, item: str, *parameters: Any) -> Any:
        return self._storage.read(item, self._netuid, *parameters)

    def _write(self, item: str, value: Any) -> None:
        self._storage.write(item, self._netuid, value=value)


def _weighted_median(stake: _Row, weights: Mapping[int, _Row], uid: int, minority: int) -> int:
    """Return the least weight for `uid` up to which more than `minority` of the stake has set."""
    below = 0
    scores = sorted((weights[voter].get(uid, 0), part) for voter, part in stake.items() if part)
    for place, (score, part) in enumerate(scores):
        below += part
        is_last_of_equals = place + 1 == len(scores) or scores[place + 1][0] != score
        if is_last_of_equals and below > minority:
            return score
    return scores[-1][0] if scores else 0


def _times(one: int, other: int) -> int:
    return one * other >> 32


def _normalised(row: _Row) -> _Row:
    total = sum(row.values())
    return {uid: value * _ONE // total for uid, value in row.items()} if total else dict.fromkeys(row, 0)


def _columns(matrix: Mapping[int, _Row], measure: Callable[[Iterable[int]], int]) -> dict[int, _Row]:
    """Return the matrix with each column divided by its sum or its largest value."""
    columns: dict[int, list[int]] = {}
    for row in matrix.values():
        for other, value in row.items():
            columns.setdefault(other, []).append(value)
    whole = {other: measure(values) for other, values in columns.items()}
    return {
        uid: {other: value * _ONE // whole[other] if whole[other] else 0 for other, value in row.items()}
        for uid, row in matrix.items()
    }


def _normalised_columns(matrix: Mapping[int, _Row]) -> dict[int, _Row]:
    return _columns(matrix, sum)


def _mixed(new: Mapping[int, _Row], old: Mapping[int, _Row], kept: int) -> dict[int, _Row]:
    """Return the moving average, of which `kept` is old."""
    return {
        uid: {
            other: _times(_ONE - kept, row.get(other, 0)) + _times(kept, old[uid].get(other, 0))
            for other in row.keys() | old[uid].keys()
        }
        for uid, row in new.items()
    }


def _totals(matrix: Mapping[int, _Row], incentive: _Row) -> _Row:
    return {
        uid: sum(_times(value, incentive.get(other, 0)) for other, value in row.items())
        for uid, row in matrix.items()
    }


def _as_u16(value: int) -> int:
    return min(_U16_MAX, value * _U16_MAX >> 32)
