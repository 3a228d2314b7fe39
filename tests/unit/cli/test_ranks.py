"""Rankings agree as the textbooks say, ties included."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from gaia.cli.comparing import Agreement, agreement_of, same_order, summary_of
from gaia.cli.ranks import kendall, ranks, spearman
from gaia.validator.utils.identities import RunId

FEW_VALUES = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=2, max_size=25)


@given(FEW_VALUES)
def test_coefficients_are_those_of_scipy(pairs: list[tuple[float, float]]) -> None:
    one, other = zip(*pairs, strict=True)
    if len(set(one)) < 2 or len(set(other)) < 2:
        assert spearman(one, other) is None
        assert kendall(one, other) is None
        return

    assert spearman(one, other) == pytest.approx(stats.spearmanr(one, other).statistic, abs=1e-12)
    assert kendall(one, other) == pytest.approx(stats.kendalltau(one, other).statistic, abs=1e-12)


@given(st.lists(st.floats(-1, 1), min_size=2, max_size=20, unique=True))
def test_ranking_that_only_stretches_another_is_the_same(scores: list[float]) -> None:
    stretched = [math.atan(3 * score) for score in scores]
    if len(set(stretched)) < len(scores):
        return

    assert spearman(scores, stretched) == pytest.approx(1.0)
    assert kendall(scores, stretched) == pytest.approx(1.0)
    assert same_order(scores, stretched) == 1.0


def test_tied_values_share_a_rank() -> None:
    assert ranks([3.0, 1.0, 3.0, 3.0]) == [3.0, 1.0, 3.0, 3.0]


def test_run_is_compared_by_the_miners_both_rules_scored() -> None:
    agreement = agreement_of(
        RunId("r"), {"a": 0.9, "b": 0.5, "c": 0.1}, {"a": 0.2, "b": 0.1, "d": 1.0}, 2.0, 3.0
    )

    assert (agreement.miners, agreement.same_order, agreement.same_best) == (2, 1.0, True)


def test_run_without_a_common_miner_agrees_on_nothing() -> None:
    agreement = agreement_of(RunId("r"), {"a": 0.9}, {"b": 0.2}, 0.0, 0.0)

    assert (agreement.miners, agreement.spearman, agreement.same_best) == (0, None, False)


def test_summary_is_the_mean_over_runs_and_adds_costs_up() -> None:
    def run(tau: float) -> Agreement:
        return Agreement(
            run_id=RunId("r"),
            miners=3,
            same_order=0.5,
            same_best=True,
            spearman=None,
            kendall=tau,
            active_cpu_s=1.0,
            shadow_cpu_s=2.0,
        )

    summary = summary_of([run(0.2), run(0.4)])

    assert summary["kendall"] == pytest.approx(0.3)
    assert summary["kendall_95"] == pytest.approx(12.706 * 0.1, rel=1e-3)
    assert summary["spearman"] is None
    assert (summary["active_cpu_s"], summary["shadow_cpu_s"]) == (2.0, 4.0)
