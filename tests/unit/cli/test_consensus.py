"""What `gaia consensus` shows: the next epoch with the weights on chain, and with those that are not there yet."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from gaia.cli.lists.consensus import view_of
from gaia.cli.select import NotThere
from gaia.validator.core.consensus.reading import ConsensusRead
from gaia.validator.core.consensus.yuma import ConsensusRules, SubnetState
from gaia.validator.db.states import VectorState
from gaia.validator.utils.identities import Hotkey
from tests.support.builders import a_metagraph, a_neuron
from tests.support.stored_rows import a_vector_row

_OWN = Hotkey("5Validator")
_NEURONS = [
    a_neuron(0, hotkey=_OWN, stake=100.0, validator_permit=True, last_update=900),
    a_neuron(1, stake=300.0, validator_permit=True, last_update=950),
    a_neuron(2),
    a_neuron(3),
]


def _read(weights: dict[int, dict[int, int]], **changes: Any) -> ConsensusRead:
    graph = a_metagraph(_NEURONS, **changes)
    return ConsensusRead(
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
        consensus=[0.0, 0.0, 1.0, 0.0],
        emission=[36.0, 108.0, 0.0, 0.0],
    )


def test_vector_that_is_not_on_chain_yet_is_predicted_beside_the_one_that_is() -> None:
    read = _read({0: {3: 65535}, 1: {2: 65535}})
    unset = a_vector_row(epoch=9, vector=[[2, 65535]], state=VectorState.FAILED)

    found = view_of(read, _OWN, unset)

    assert [(row.vector, row.validator_trust) for row in found.forecasts] == [
        ("on chain", 0.0),
        ("epoch 9, failed", 1.0),
    ]
    assert [round(row.dividends, 9) for row in found.forecasts] == [0.0, 0.25]
    assert (found.validator_trust, found.dividends) == (0.5, 0.25)
    assert found.emission_per_day == pytest.approx(36.0 * 20)


def test_validators_and_miners_are_told_with_what_separates_us() -> None:
    found = view_of(_read({0: {3: 65535}, 1: {2: 65535}}), _OWN, None)

    assert [(row.uid, row.stake, row.age_blocks, row.distance) for row in found.validators] == [
        (1, 0.75, 50, 1.0),
        (0, 0.25, 100, 0.0),
    ]
    assert [(row.uid, row.ours, row.others, row.consensus, row.clipped) for row in found.miners] == [
        (2, 0.0, 1.0, 1.0, 0.0),
        (3, 1.0, 0.0, 0.0, 1.0),
    ]


def test_nobody_differs_where_all_agree() -> None:
    found = view_of(_read({0: {2: 65535}, 1: {2: 300}}), _OWN, None)

    assert not found.miners
    assert found.validators[0].distance == 0.0


def test_validator_without_weights_that_count_has_no_distance() -> None:
    found = view_of(_read({1: {2: 65535}}), _OWN, None)

    assert {row.uid: row.distance for row in found.validators} == {0: None, 1: None}
    assert found.forecasts[0].validator_trust == 0.0


def test_hotkey_without_a_uid_is_named() -> None:
    read = _read({})
    stranger = msgspec.structs.replace(read.metagraph, own_uid=None)

    with pytest.raises(NotThere, match="hotkey 5Stranger is not registered on subnet 57"):
        view_of(
            ConsensusRead(
                metagraph=stranger,
                state=read.state,
                validator_trust=[],
                dividends=[],
                consensus=[],
                emission=[],
            ),
            Hotkey("5Stranger"),
            None,
        )
