"""Our weights beside the others': the next epoch with the weights on chain, and with those that are not there yet."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
import pytest

from gaia.validator.core.consensus.comparing import others_of, view_of
from gaia.validator.core.consensus.reading import ConsensusState
from gaia.validator.core.consensus.yuma import ConsensusRules, SubnetState
from gaia.validator.utils.errors import TransientError
from gaia.validator.utils.identities import Hotkey
from tests.support.builders import a_metagraph, a_neuron

_OWN = Hotkey("5Validator")
_NEURONS = [
    a_neuron(0, hotkey=_OWN, stake=100.0, validator_permit=True, last_update=900),
    a_neuron(1, stake=300.0, validator_permit=True, last_update=950),
    a_neuron(2),
    a_neuron(3),
]


def _read(weights: dict[int, dict[int, int]], **changes: Any) -> ConsensusState:
    graph = a_metagraph(_NEURONS, **changes)
    return ConsensusState(
        metagraph=graph,
        state=SubnetState(
            block=1080,
            tempo=360,
            stake=[neuron.stake for neuron in _NEURONS],
            permits=[neuron.validator_permit for neuron in _NEURONS],
            last_update=[neuron.last_update for neuron in _NEURONS],
            registered_at=[neuron.registered_at for neuron in _NEURONS],
            weights=weights,
            bonds={},
            rules=ConsensusRules(
                activity_cutoff=5000, kappa=0.5, bonds_penalty=1.0, bonds_moving_average=0.9
            ),
        ),
        validator_trust=[0.5, 1.0, 0.0, 0.0],
        dividends=[0.25, 0.75, 0.0, 0.0],
        emission=[36.0, 108.0, 0.0, 0.0],
        permits=64,
    )


def test_vector_that_is_not_on_chain_yet_is_predicted_beside_the_one_that_is() -> None:
    found = view_of(_read({0: {3: 65535}, 1: {2: 65535}}), [[2, 65535]])

    assert found.standing.validator_trust == 0.0
    assert found.standing.dividends == pytest.approx(0.0)
    assert found.proposed is not None
    assert found.proposed.validator_trust == 1.0
    assert found.proposed.dividends == pytest.approx(0.25)
    assert found.next == found.proposed
    assert (found.validator_trust, found.dividends) == (0.5, 0.25)
    assert found.emission_per_day == pytest.approx(36.0 * 20)


def test_without_another_vector_the_next_epoch_has_the_weights_on_chain() -> None:
    found = view_of(_read({0: {2: 65535}, 1: {2: 65535}}))

    assert found.proposed is None
    assert found.next == found.standing


def test_validators_and_miners_are_told_with_what_separates_us() -> None:
    found = view_of(_read({0: {3: 65535}, 1: {2: 65535}}))

    assert [(row.uid, row.stake, row.age_blocks, row.distance) for row in found.validators] == [
        (1, 0.75, 50, 1.0),
        (0, 0.25, 100, 0.0),
    ]
    assert [(row.uid, row.ours, row.others, row.consensus, row.clipped) for row in found.miners] == [
        (2, 0.0, 1.0, 1.0, 0.0),
        (3, 1.0, 0.0, 0.0, 1.0),
    ]


@pytest.mark.parametrize(
    ("places", "rank", "margin"),
    [
        pytest.param(1, 2, -200.0, id="another has the only permit"),
        pytest.param(2, 2, 100.0, id="the next one has no stake"),
        pytest.param(64, 2, 100.0, id="there are more permits than hotkeys"),
    ],
)
def test_margin_of_the_permit_is_told_in_tokens(places: int, rank: int, margin: float) -> None:
    permit = view_of(replace(_read({}), permits=places)).permit

    assert (permit.rank, permit.places, permit.margin) == (rank, places, margin)


def test_nobody_differs_where_all_agree() -> None:
    found = view_of(_read({0: {2: 65535}, 1: {2: 300}}))

    assert not found.miners
    assert found.validators[0].distance == 0.0


def test_validator_without_weights_that_count_has_no_distance() -> None:
    found = view_of(_read({1: {2: 65535}}))

    assert {row.uid: row.distance for row in found.validators} == {0: None, 1: None}
    assert found.standing.validator_trust == 0.0


def test_others_are_averaged_by_stake_without_us() -> None:
    assert others_of(_read({0: {3: 65535}, 1: {2: 65535}}), 0)[2] == 1.0
    assert others_of(_read({0: {3: 65535}}), 0) == {}


def test_hotkey_without_a_uid_is_named() -> None:
    read = _read({})
    stranger = msgspec.structs.replace(read.metagraph, own_uid=None, own_hotkey="5Stranger")

    with pytest.raises(TransientError, match="hotkey 5Stranger is not registered on subnet 57"):
        view_of(replace(read, metagraph=stranger))
