"""Intervals are as wide as the runs say, and wider where runs resemble each other."""

import numpy as np
import pytest
from scipy import stats

from gaia.validator.utils.significance import half_width, is_significant, student95


def test_quantiles_are_those_of_student() -> None:
    exact = [stats.t.ppf(0.975, freedom) for freedom in range(1, 500)]

    assert [student95(freedom) for freedom in range(1, 500)] == pytest.approx(exact, abs=1e-3)


def test_interval_of_few_runs_is_that_of_independent_ones() -> None:
    values = [0.1, 0.4, 0.2, 0.5]

    low, high = stats.t.interval(0.95, 3, np.mean(values), stats.sem(values))

    assert half_width(values) == pytest.approx((high - low) / 2, rel=1e-3)


def test_runs_that_resemble_each_other_say_less() -> None:
    slow = [float(np.sin(step / 6)) for step in range(40)]
    shuffled = list(np.random.default_rng(1).permutation(slow))

    narrow, wide = half_width(shuffled), half_width(slow)

    assert narrow is not None
    assert wide is not None
    assert wide > 2 * narrow


def test_one_run_shows_nothing_however_good_it_was() -> None:
    assert not is_significant([99.0])
    assert half_width([]) is None


def test_mean_far_from_nothing_is_significant_and_a_toss_up_is_not() -> None:
    assert is_significant([1.0, 1.1, 0.9, 1.0])
    assert not is_significant([1.0, -1.1, 0.9, -1.0])


def test_about_one_in_twenty_chance_means_passes_for_significant() -> None:
    chance = np.random.default_rng(7).normal(size=(4000, 8))

    share = np.mean([is_significant(list(row)) for row in chance])

    assert share == pytest.approx(0.05, abs=0.012)
