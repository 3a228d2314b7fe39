"""Yuma consensus against the local chain's, in fixed point, and against matrices; neither shares code with ours."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest

from gaia.localnet.chain.runtime import ChainRuntime
from gaia.localnet.chain.storage import ChainStorage
from gaia.localnet.chain.subnet.yuma import YumaConsensus
from gaia.validator.core.consensus import yuma
from gaia.validator.core.consensus.yuma import ConsensusRules, LiquidAlpha, SubnetState
from tests.support.formulas import yuma as with_matrices

_NETUID = 57
_RULES = ConsensusRules(
    activity_cutoff=5000, kappa=32767 / 65535, bonds_penalty=1.0, bonds_moving_average=0.9
)
_TOLERANCE = 1e-6


_COLUMNS = ("consensus", "validator_trust", "incentive", "dividends")


def run_epoch(state: SubnetState) -> with_matrices.Outcome:
    """Return our result as arrays, which must be those of the formulas with matrices."""
    found, expected = yuma.run_epoch(state), with_matrices.run_epoch(state)
    shares = np.zeros((len(state.stake), len(state.stake)))
    for uid, row in found.shares.items():
        for other, value in row.items():
            shares[uid, other] = value
    columns = {name: np.array(getattr(found, name)) for name in _COLUMNS}
    for name, column in {**columns, "shares": shares}.items():
        assert column == pytest.approx(getattr(expected, name), abs=1e-12), name
    return with_matrices.Outcome(**columns, shares=shares)


def _state(**changes: Any) -> SubnetState:
    """Three validators with half, a third and a sixth of the stake, and two miners, uid 3 and 4."""
    values: dict[str, Any] = {
        "block": 1000,
        "tempo": 100,
        "stake": [300.0, 200.0, 100.0, 0.0, 0.0],
        "permits": [True, True, True, False, False],
        "last_update": [990, 991, 992, 0, 0],
        "registered_at": [0, 1, 2, 3, 4],
        "weights": {0: {3: 65535}, 1: {3: 65535}, 2: {4: 65535}},
        "bonds": {},
        "rules": _RULES,
    }
    return SubnetState(**values | changes)


def test_weight_beyond_the_consensus_counts_for_nobody() -> None:
    outcome = run_epoch(_state())

    assert outcome.consensus.tolist() == [0, 0, 0, 1, 0]
    assert outcome.validator_trust.tolist() == [1, 1, 0, 0, 0]
    assert outcome.incentive.tolist() == [0, 0, 0, 1, 0]
    assert outcome.dividends.round(9).tolist() == [0.6, 0.4, 0, 0, 0]


def test_new_weights_of_a_validator_replace_those_that_wait_for_their_reveal() -> None:
    """A miner that was registered after our commit counts in the vector of now."""
    pending = _state(commits={0: 100, 1: 100}, registered_at=[0, 1, 2, 3, 200])

    changed = pending.with_weights(0, {4: 65535}, 995)

    assert changed.commits == {1: 100}
    assert run_epoch(changed).shares[0].tolist() == [0, 0, 0, 0, 1]


def test_consensus_is_the_weight_on_which_more_than_half_of_the_stake_agrees() -> None:
    rows = {0: {3: 20, 4: 80}, 1: {3: 40, 4: 60}, 2: {3: 90, 4: 10}}

    outcome = run_epoch(_state(weights=rows, stake=[250.0, 250.0, 200.0, 0.0, 0.0]))

    assert outcome.consensus[3:].round(9).tolist() == [0.4, 0.6]
    assert outcome.validator_trust[:3].round(9).tolist() == [0.8, 1.0, 0.5]


@pytest.mark.parametrize(
    ("changes", "stake"),
    [
        ({"last_update": [990, 991, 0, 0, 0], "block": 5500}, [0.6, 0.4, 0, 0, 0]),
        ({"permits": [True, False, True, False, False]}, [0.75, 0, 0.25, 0, 0]),
        ({"stake": [300.0, 200.0, 0.0, 0.0, 0.0]}, [0.6, 0.4, 0, 0, 0]),
    ],
    ids=["inactive", "without permit", "without stake"],
)
def test_stake_counts_only_where_a_validator_votes(changes: dict[str, Any], stake: list[float]) -> None:
    assert np.array(yuma.active_stake(_state(**changes))).round(9).tolist() == stake


@pytest.mark.parametrize(
    ("changes", "ignored"),
    [
        ({"registered_at": [0, 1, 2, 995, 4]}, (0, 3)),
        ({"weights": {0: {0: 65535, 3: 1}}}, (0, 0)),
        ({"weights": {3: {4: 65535}}}, (3, 4)),
        ({"commits": {0: 2}}, (0, 3)),
    ],
    ids=["registered since", "for itself", "without permit", "registered since the commit"],
)
def test_weights_that_do_not_count(changes: dict[str, Any], ignored: tuple[int, int]) -> None:
    assert run_epoch(_state(**changes)).shares[ignored] == 0.0


def test_owner_may_weigh_itself() -> None:
    outcome = run_epoch(_state(weights={0: {0: 65535}, 1: {0: 65535}}, owner_uid=0))

    assert outcome.shares[0, 0] == 1.0


def test_earlier_bonds_pay_whoever_was_first() -> None:
    bonds = {0: {3: 65535}, 1: {3: 0}}

    outcome = run_epoch(_state(bonds=bonds))

    assert outcome.dividends[0] > 0.95
    # A miner of this epoch brings no old bonds.
    fresh = run_epoch(_state(bonds=bonds, registered_at=[0, 1, 2, 950, 4]))
    assert fresh.dividends[0] == pytest.approx(0.6)


def test_liquid_alpha_moves_bonds_faster_the_more_a_weight_differs() -> None:
    liquid = LiquidAlpha(low=0.7, high=0.9, steepness=1000.0)
    rows = {0: {3: 65535}, 1: {3: 32768, 4: 32768}, 2: {3: 65535}}
    bonds = {0: {3: 65535}, 1: {3: 65535}, 2: {3: 65535}}

    def dividends(**changes: Any) -> Any:
        rules = ConsensusRules(
            activity_cutoff=5000,
            kappa=0.5,
            bonds_penalty=0.0,
            bonds_moving_average=0.9,
            yuma3=True,
            **changes,
        )
        return run_epoch(_state(weights=rows, bonds=bonds, rules=rules)).dividends

    assert dividends(liquid_alpha=liquid)[1] < dividends()[1]
    assert dividends(liquid_alpha=liquid).sum() == pytest.approx(1.0)


def test_nobody_earns_where_nobody_votes() -> None:
    outcome = run_epoch(_state(weights={}))

    assert not np.concatenate([outcome.incentive, outcome.dividends, outcome.validator_trust]).any()


class Chain:
    """A subnet in the local chain's storage, and the same as a state of ours."""

    def __init__(self, chance: random.Random, *, yuma3: bool) -> None:
        self.chance, self.yuma3 = chance, yuma3
        self.count = chance.randrange(4, 20)
        self.block = 1000
        self.storage = ChainStorage(_RUNTIME)
        self.consensus = YumaConsensus(self.storage, _NETUID)
        self.validators = chance.randrange(2, max(3, self.count // 2))
        rules = {
            "SubnetworkN": self.count,
            "Tempo": 100,
            "Kappa": chance.randrange(20000, 50000),
            "BondsPenalty": chance.choice([0, 32768, 65535]),
            "BondsMovingAverage": chance.choice([500_000, 900_000]),
            "ActivityCutoff": 5000,
            "Yuma3On": yuma3,
            "CommitRevealWeightsEnabled": False,
            "MaxAllowedValidators": self.validators,
            "ValidatorPermit": [uid < self.validators for uid in range(self.count)],
            "LastUpdate": [chance.randrange(800, 1000) for _ in range(self.count)],
        }
        self.written = rules
        for item, value in rules.items():
            self.storage.write(item, _NETUID, value=value)
        self.stakes = [chance.randrange(10**9, 10**15) for _ in range(self.count)]
        self.registered = [chance.choice([0, 5, 850, 990]) for _ in range(self.count)]
        self.rows: dict[int, dict[int, int]] = {}
        for uid in range(self.count):
            hotkey = "0x" + f"{uid + 1:064x}"
            self.storage.write("Keys", _NETUID, uid, value=hotkey)
            self.storage.write("TotalHotkeyAlpha", hotkey, _NETUID, value=self.stakes[uid])
            self.storage.write("BlockAtRegistration", _NETUID, uid, value=self.registered[uid])
            self.vote(uid)

    def vote(self, uid: int) -> None:
        others = self.chance.sample(range(self.count), self.chance.randrange(1, self.count))
        self.rows[uid] = {other: self.chance.randrange(1, 65536) for other in sorted(others)}
        pairs = [list(pair) for pair in self.rows[uid].items()]
        self.storage.write("Weights", _NETUID, uid, value=pairs)

    def bonds(self) -> dict[int, dict[int, int]]:
        return {
            uid: {int(other): int(bond) for other, bond in self.storage.read("Bonds", _NETUID, uid)}
            for uid in range(self.count)
        }

    def state(self) -> SubnetState:
        return SubnetState(
            block=self.block,
            tempo=100,
            stake=[stake / 10**9 for stake in self.stakes],
            permits=self.storage.read("ValidatorPermit", _NETUID),
            last_update=self.written["LastUpdate"],  # type: ignore[arg-type]
            registered_at=self.registered,
            weights=self.rows,
            bonds=self.bonds(),
            rules=ConsensusRules(
                activity_cutoff=5000,
                kappa=self.written["Kappa"] / 65535,  # type: ignore[operator]
                bonds_penalty=self.written["BondsPenalty"] / 65535,  # type: ignore[operator]
                bonds_moving_average=self.written["BondsMovingAverage"] / 10**6,  # type: ignore[operator]
                yuma3=self.yuma3,
            ),
        )


_RUNTIME = ChainRuntime.load()


@pytest.mark.parametrize("yuma3", [False, True])
@pytest.mark.parametrize("seed", range(40))
def test_every_epoch_equals_the_local_chains(seed: int, yuma3: bool) -> None:
    chain = Chain(random.Random(seed), yuma3=yuma3)
    for _ in range(4):
        ours = run_epoch(chain.state())
        theirs = chain.consensus.run(chain.block)

        for name in _COLUMNS:
            expected = [value / 2**32 for value in getattr(theirs, name)]
            assert getattr(ours, name) == pytest.approx(expected, abs=_TOLERANCE), name
        stored = chain.storage.read("ValidatorTrust", _NETUID)
        assert np.array(stored) / 65535 == pytest.approx(ours.validator_trust, abs=2e-5)
        chain.block += 100
        chain.vote(chain.chance.randrange(chain.validators))
        # Those with the most stake have the permits from the second epoch on.
        permitted = {uid for uid, has in enumerate(chain.storage.read("ValidatorPermit", _NETUID)) if has}
        assert permitted == set(sorted(range(chain.count), key=chain.stakes.__getitem__)[-chain.validators :])
