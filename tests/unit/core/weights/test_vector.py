"""Weights follow scores, whoever holds which uid, and hold still when there is nothing to say."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gaia.validator.core.weights import vector
from gaia.validator.core.weights.rules.gaia_2_9 import (
    logistic,
    percentile,
    relative_weights,
    window_means,
    with_bonus,
)
from gaia.validator.core.weights.vector import NO_COPIES, Terms, quantise, weights_of
from gaia.validator.utils.chain.metagraph import Metagraph, Neuron

OWNER = "owner"
BURN: dict[str, Any] = {
    "burn_fraction": 0.75,
    "burn_enabled": True,
    "burn_hotkey": "",
    "contrast_gamma": 1.3,
}
NO_BURN = BURN | {"burn_enabled": False}


def vector_of(runs: list[dict[str, float]], metagraph: Metagraph, **settings: Any) -> Any:
    """The vector as something pytest may compare with approximate values."""
    copies = settings.pop("copies", NO_COPIES)
    return weights_of(runs, vector.registered(metagraph), Terms(**{"rule": "gaia-2.9"} | settings), copies)


def a_neuron(uid: int, hotkey: str, **changes: Any) -> Neuron:
    fields: dict[str, Any] = {
        "uid": uid,
        "hotkey": hotkey,
        "coldkey": "cold",
        "ip": "127.0.0.2",
        "port": 8091,
        "stake": 0.0,
        "validator_permit": False,
        "last_update": 0,
        "registered_at": 0,
    }
    return Neuron(**fields | changes)


def a_metagraph(*neurons: Neuron) -> Metagraph:
    return Metagraph(
        netuid=57,
        block=10_000,
        neurons=list(neurons),
        own_hotkey="validator",
        own_uid=None,
        tempo=360,
        epoch=10,
        next_epoch_block=None,
        weights_rate_limit=100,
        min_allowed_weights=1,
        weights_version=0,
        commit_reveal=False,
        owner_hotkey=OWNER,
    )


def registered(*hotkeys: str) -> Metagraph:
    return a_metagraph(*(a_neuron(uid, hotkey) for uid, hotkey in enumerate(hotkeys)))


def test_the_logistic_has_the_values_of_the_scoring_document() -> None:
    assert logistic(0.80, 0.8) == pytest.approx(0.0087, abs=1e-4)
    assert logistic(0.85, 0.8) == pytest.approx(0.485, abs=1e-3)
    assert logistic(0.90, 0.8) == pytest.approx(0.966, abs=1e-3)
    assert logistic(1.00, 0.8) == pytest.approx(0.990, abs=1e-3)


def test_the_best_miner_of_a_run_gets_a_bonus() -> None:
    assert with_bonus({"a": 0.9, "b": 0.8}) == {"a": pytest.approx(0.95), "b": 0.8}


def test_two_winners_share_the_bonus_and_three_get_none() -> None:
    assert with_bonus({"a": 0.9, "b": 0.9, "c": 0.1}) == {
        "a": pytest.approx(0.925),
        "b": pytest.approx(0.925),
        "c": 0.1,
    }
    assert with_bonus(dict.fromkeys("abc", 0.9)) == dict.fromkeys("abc", 0.9)


def test_a_mediocre_winner_gets_no_bonus() -> None:
    assert with_bonus({"a": 0.69, "b": 0.1}) == {"a": 0.69, "b": 0.1}
    assert with_bonus({}) == {}


def test_the_mean_over_the_window_counts_absence_as_nothing() -> None:
    assert window_means([{"a": 0.4, "b": 0.2}, {"a": 0.2}, {}, {}]) == {
        "a": pytest.approx(0.15),
        "b": pytest.approx(0.05),
    }


def test_an_excused_forecast_neither_helps_nor_harms() -> None:
    runs: list[dict[str, float | None]] = [{"a": 0.4, "b": 0.4}, {"a": None, "b": 0.2}, {"c": None}]

    assert window_means(runs) == {"a": pytest.approx(0.2), "b": pytest.approx(0.2)}


def test_weights_are_those_of_the_formula() -> None:
    scores = {"a": 0.5, "b": 0.4, "c": 0.3, "d": 0.0}

    weights = relative_weights(scores, contrast_gamma=1.3)

    middle = float(np.percentile([1.0, 0.8, 0.6], 80))
    raw = {
        hotkey: 0.98 / (1 + 8 * np.exp(-70 * (x - middle))) ** (1 / 0.3) + 0.01 * x
        for hotkey, x in (("a", 1.0), ("b", 0.8), ("c", 0.6))
    }
    assert weights == {hotkey: pytest.approx(value / sum(raw.values())) for hotkey, value in raw.items()}


def test_with_two_distinct_scores_the_percentile_is_over_all_miners() -> None:
    scores = {"a": 1.0, "b": 0.9, "c": 0.9, "d": 0.9}

    weights = relative_weights(scores, contrast_gamma=1.3)

    middle = float(np.percentile([1.0, 0.9, 0.9, 0.9], 80))
    assert weights["a"] / weights["b"] == pytest.approx(logistic(1.0, middle) / logistic(0.9, middle))


def test_weights_that_hardly_differ_are_given_contrast() -> None:
    scores = {"a": 1.0, "b": 0.9999, "c": 0.9998}

    weak, strong = (relative_weights(scores, contrast_gamma=gamma) for gamma in (1e-9, 200.0))

    assert strong["a"] / strong["c"] == pytest.approx(weak["a"] / weak["c"] / 0.9998**200, rel=1e-6)


@given(st.lists(st.floats(0.0, 1.0), min_size=1, max_size=30))
def test_percentile_is_the_one_of_numpy(values: list[float]) -> None:
    assert percentile(sorted(values), 80.0) == pytest.approx(float(np.percentile(values, 80)), abs=1e-12)


def test_three_quarters_burn_and_the_rest_goes_to_miners() -> None:
    vector = vector_of([{"a": 0.8, "b": 0.1}], registered(OWNER, "a", "b"), **BURN)

    assert vector is not None
    assert vector[0] == pytest.approx(0.75)
    assert vector[1] + vector[2] == pytest.approx(0.25)
    assert vector[1] > 10 * vector[2]


def test_a_named_burn_hotkey_is_used_and_keeps_what_it_earned() -> None:
    settings = BURN | {"burn_hotkey": "a"}

    vector = vector_of([{"a": 0.5, "b": 0.5}], registered(OWNER, "a", "b"), **settings)

    assert vector == {1: pytest.approx(0.875), 2: pytest.approx(0.125)}


def test_where_nobody_earned_anything_all_is_burnt_or_nothing_is_set() -> None:
    nothing: list[list[dict[str, float]]] = [[], [{}], [{"a": 0.0}], [{"gone": 0.9}]]
    for runs in nothing:
        assert vector_of(runs, registered(OWNER, "a"), **BURN) == {0: 1.0}
        assert vector_of(runs, registered(OWNER, "a"), **NO_BURN) is None


def test_without_its_burn_hotkey_the_validator_holds() -> None:
    assert vector_of([{"a": 0.9}], registered("a"), **BURN) is None


def test_the_only_miner_with_a_score_may_have_uid_0() -> None:
    assert vector_of([{"a": 0.9}], registered("a", "b"), **NO_BURN) == {0: pytest.approx(1.0)}


def test_who_left_the_subnet_earns_nothing_and_shapes_no_other_weight() -> None:
    remaining = vector_of([{"a": 0.5, "b": 0.4}], registered("a", "b"), **NO_BURN)

    assert vector_of([{"a": 0.5, "b": 0.4, "gone": 0.69}], registered("a", "b"), **NO_BURN) == remaining


def test_validators_and_miners_without_address_earn_nothing() -> None:
    metagraph = a_metagraph(
        a_neuron(0, "a"),
        a_neuron(1, "validator", validator_permit=True, last_update=9_900),
        a_neuron(2, "offline", ip=""),
        a_neuron(3, "permit", validator_permit=True, last_update=9_000),
    )
    run = dict.fromkeys(("a", "validator", "offline", "permit"), 0.5)

    vector = vector_of([run], metagraph, **NO_BURN)

    assert vector == {0: pytest.approx(0.5), 3: pytest.approx(0.5)}


def test_a_validator_that_burns_still_burns() -> None:
    metagraph = a_metagraph(
        a_neuron(0, OWNER, validator_permit=True, last_update=9_999, ip=""), a_neuron(1, "a")
    )

    assert vector_of([{"a": 0.9, OWNER: 0.9}], metagraph, **BURN) == {
        0: pytest.approx(0.75),
        1: pytest.approx(0.25),
    }


def test_burning_everything_leaves_only_the_burner() -> None:
    settings = BURN | {"burn_fraction": 1.0}

    assert vector_of([{"a": 0.9}], registered(OWNER, "a"), **settings) == {0: 1.0}


def test_the_largest_weight_becomes_65535_and_dust_is_left_out() -> None:
    assert quantise({5: 0.5, 2: 0.25, 9: 1e-9}) == ([2, 5], [32768, 65535])
    assert quantise({}) == ([], [])


scores = st.dictionaries(st.sampled_from([f"miner-{n}" for n in range(8)]), st.floats(0.0, 1.0), max_size=8)


@given(runs=st.lists(scores, max_size=5), order=st.permutations(range(9)))
def test_what_a_hotkey_gets_does_not_depend_on_its_uid_or_the_order_of_rows(
    runs: list[dict[str, float]], order: list[int]
) -> None:
    hotkeys = [OWNER, *(f"miner-{n}" for n in range(8))]
    straight = registered(*hotkeys)
    renumbered = a_metagraph(*(a_neuron(order.index(uid), hotkeys[uid]) for uid in reversed(range(9))))

    one, other = vector_of(runs, straight, **BURN), vector_of(runs[::-1], renumbered, **BURN)

    assert one is not None
    assert other is not None
    assert other == {order.index(uid): pytest.approx(weight) for uid, weight in one.items()}
    assert sum(one.values()) == pytest.approx(1.0)
    assert min(one.values()) > 0


@given(runs=st.lists(scores, min_size=1, max_size=4))
def test_a_better_mean_never_weighs_less(runs: list[dict[str, float]]) -> None:
    means = window_means(runs)
    weights = relative_weights(means, 1.3)

    ranked = sorted(weights, key=lambda hotkey: means[hotkey])
    for worse, better in pairwise(ranked):
        assert weights[worse] <= weights[better] * (1 + 1e-12)
