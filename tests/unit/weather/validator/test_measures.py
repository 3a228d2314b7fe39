"""Measures are what can be worked out by hand, and what exact sums give, however fields are turned."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Iterable
from dataclasses import fields as members_of
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from gaia.tasks.defined_tasks.weather.validator.areas import row_weights
from gaia.tasks.defined_tasks.weather.validator.blends import best_blend
from gaia.tasks.defined_tasks.weather.validator.measures import (
    WEIGHTINGS,
    FieldComponents,
    Measures,
    References,
    field_components,
)
from tests.support.forecast_stores import a_field

Values = NDArray[np.float64]

# Three rows: under cos(lat) both poles weigh nothing, so only the equator counts.
TRUTH = np.array([[9.0, 9.0], [1.0, 3.0], [9.0, 9.0]])
NORMAL = np.zeros((3, 2))
NAMES = tuple(member.name for member in members_of(FieldComponents))


def fields(seed: int, count: int = 5, shape: tuple[int, int] = (19, 36)) -> list[Values]:
    rng = np.random.default_rng(seed)
    return [280.0 + 10.0 * rng.normal(size=shape) for _ in range(count)]


def assert_same(one: FieldComponents, other: FieldComponents, rel: float, abs_: float = 0.0) -> None:
    for name in NAMES:
        assert getattr(one, name) == pytest.approx(getattr(other, name), rel=rel, abs=abs_), name


def components_of(data: Iterable[NDArray[Any]], measures: Measures = "gaia-2.9") -> FieldComponents:
    """Measure a forecast; `data` are it, the truth, climatology, baseline and persistence."""
    forecast, truth, normal, baseline, earlier = data
    return field_components(forecast, truth, normal, baseline, earlier, measures)


def references_of(ours: Iterable[NDArray[Any]]) -> References:
    truth, normal, baseline, earlier = ours
    return References(truth, normal, baseline, earlier)


def test_errors_are_those_worked_out_by_hand() -> None:
    forecast = TRUTH + np.array([[50.0, 50.0], [2.0, -4.0], [50.0, 50.0]])

    measured = field_components(forecast, TRUTH, NORMAL)

    assert measured.mse == pytest.approx((2.0**2 + 4.0**2) / 2)
    assert measured.rmse == pytest.approx(math.sqrt(10.0))
    assert measured.mae == pytest.approx(3.0)
    assert measured.bias == pytest.approx(-1.0)
    assert measured.error_sd == pytest.approx(3.0)


def test_by_area_the_poles_count_for_what_they_are() -> None:
    forecast = TRUTH + np.array([[50.0, 50.0], [2.0, -4.0], [50.0, 50.0]])

    measured = field_components(forecast, TRUTH, NORMAL, measures="plain")

    pole = (1 - math.cos(math.pi / 4)) / 2
    assert measured.mse == pytest.approx(2 * pole * 2500.0 + (1 - 2 * pole) * 10.0)


def test_a_perfect_forecast_has_no_error_and_full_correlation_and_skill() -> None:
    forecast, normal, baseline, earlier = fields(0, 4)

    measured = field_components(forecast, forecast, normal, baseline, earlier)

    assert (measured.rmse, measured.mae, measured.bias, measured.error_sd) == (0.0, 0.0, 0.0, 0.0)
    assert (measured.skill_climatology, measured.skill_gfs) == (1.0, 1.0)
    assert (measured.skill_persistence, measured.skill_blend) == (1.0, 1.0)
    assert (measured.acc, measured.acc_uncentred, measured.activity) == pytest.approx((1.0, 1.0, 1.0))


def test_skill_forgives_a_constant_error_under_gaia_2_9_and_not_plainly() -> None:
    truth, normal, baseline = fields(1, 3)

    forgiven = field_components(truth + 50.0, truth, normal, baseline)
    plain = field_components(truth + 50.0, truth, normal, baseline, measures="plain")

    assert forgiven.skill_climatology == pytest.approx(1.0)
    assert forgiven.skill_gfs == pytest.approx(1.0)
    assert (forgiven.acc, forgiven.rmse, forgiven.bias) == pytest.approx((1.0, 50.0, 50.0))
    assert plain.skill_climatology is not None
    assert plain.skill_gfs is not None
    assert max(plain.skill_climatology, plain.skill_gfs) < -1.0


def test_skill_corrects_by_the_unweighted_mean_error() -> None:
    error = np.array([[6.0, 6.0], [0.0, 0.0], [0.0, 0.0]])
    normal = TRUTH + 4.0

    measured = field_components(TRUTH + error, TRUTH, normal)

    # The mean error is 2 over all six points; at the equator, which alone has weight, -2 is left.
    assert measured.mse == pytest.approx(0.0)
    assert measured.skill_climatology == pytest.approx(1.0 - 2.0**2 / 4.0**2)


def test_a_copy_of_the_baseline_is_at_no_distance_and_has_full_pattern_correlation() -> None:
    truth, normal, baseline = fields(2, 3)

    measured = field_components(baseline, truth, normal, baseline)

    assert measured.clone_distance == 0.0
    assert measured.pattern_correlation == pytest.approx(1.0)


def test_half_the_anomaly_is_half_as_active() -> None:
    truth, normal = fields(3, 2)

    assert field_components((truth + normal) / 2, truth, normal).activity == pytest.approx(0.5)


@pytest.mark.parametrize("offset", [0.0, 5.0, 1e3])
def test_an_anomaly_that_is_constant_has_no_correlation(offset: float) -> None:
    truth, normal = (np.rint(field) for field in fields(3, 2))

    measured = field_components(normal + offset, truth, normal)

    assert (measured.acc, measured.activity) == (None, 0.0)
    assert (measured.acc_uncentred is None) == (offset == 0.0)


def test_what_needs_a_reference_is_undefined_without_it() -> None:
    forecast, truth, normal = fields(4, 3)

    measured = field_components(forecast, truth, normal)

    needy = ("skill_gfs", "skill_persistence", "skill_blend", "pattern_correlation", "clone_distance")
    assert [getattr(measured, name) for name in needy] == [None] * len(needy)
    assert (measured.mse_gfs, measured.mse_persistence, measured.mse_blend) == (None, None, None)
    assert measured.mse_climatology > 0


def test_skill_over_a_perfect_reference_is_undefined() -> None:
    forecast, truth = fields(5, 2)

    measured = field_components(forecast, truth, truth, truth)

    assert measured.skill_climatology is None
    assert measured.skill_gfs is None


def exact(data: Iterable[Values], measures: Measures) -> FieldComponents:
    """The same formulas with exact sums, point by point; the blend apart."""
    forecast, truth, normal, gfs, earlier = data
    weights: list[float] = row_weights(forecast.shape[0], WEIGHTINGS[measures]).tolist()
    columns: int = forecast.shape[1]

    def mean(values: Values) -> float:
        rows: list[list[float]] = values.tolist()
        pairs = zip(weights, rows, strict=True)
        return math.fsum(weight * value for weight, row in pairs for value in row) / columns

    def deviation(values: Values) -> float:
        return math.sqrt(mean((values - mean(values)) ** 2))

    def correlation(a: Values, b: Values) -> float:
        return mean((a - mean(a)) * (b - mean(b))) / (deviation(a) * deviation(b))

    error, anomaly, true_anomaly = forecast - truth, forecast - normal, truth - normal
    corrected = error - math.fsum(error.ravel()) / error.size if measures == "gaia-2.9" else error
    squares = {"climatology": normal, "gfs": gfs, "persistence": earlier}
    mse = {name: mean((field - truth) ** 2) for name, field in squares.items()}
    errors = {name: field - truth for name, field in squares.items()}
    blend = best_blend(
        {(a, b): mean(errors[a] * errors[b]) for a, b in itertools.combinations_with_replacement(errors, 2)}
    )
    assert blend is not None
    return FieldComponents(
        rmse=math.sqrt(mean(error**2)),
        mse=mean(error**2),
        mae=mean(abs(error)),
        bias=mean(error),
        error_sd=deviation(error),
        acc=correlation(anomaly, true_anomaly),
        acc_uncentred=mean(anomaly * true_anomaly) / math.sqrt(mean(anomaly**2) * mean(true_anomaly**2)),
        skill_climatology=1 - mean(corrected**2) / mse["climatology"],
        skill_gfs=1 - mean(corrected**2) / mse["gfs"],
        skill_persistence=1 - mean(error**2) / mse["persistence"],
        skill_blend=1 - mean(error**2) / blend,
        activity=deviation(anomaly) / deviation(true_anomaly),
        pattern_correlation=correlation(forecast, gfs),
        clone_distance=mean((forecast - gfs) ** 2),
        mse_climatology=mse["climatology"],
        mse_gfs=mse["gfs"],
        mse_persistence=mse["persistence"],
        mse_blend=blend,
    )


@pytest.mark.parametrize("measures", WEIGHTINGS)
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), columns=st.integers(1, 40), rows=st.integers(2, 12))
def test_sums_are_exact_to_twelve_digits(measures: Measures, seed: int, columns: int, rows: int) -> None:
    data = fields(seed, shape=(rows, columns + 3))

    measured = components_of(data, measures)

    assert_same(measured, exact(data, measures), rel=1e-12, abs_=1e-12)


def test_float32_fields_are_summed_in_float64() -> None:
    data = [field.astype(np.float32) for field in fields(6, shape=(181, 360))]

    measured = components_of(data)

    assert measured == components_of(field.astype(np.float64) for field in data)


def test_a_forecast_of_more_digits_than_ours_is_not_rounded() -> None:
    forecast, *whole = fields(7)
    ours = [field.astype(np.float32) for field in whole]

    measured = components_of([forecast, *ours])

    assert measured == components_of([forecast, *(field.astype(np.float64) for field in ours)])
    assert measured != components_of([forecast.astype(np.float32), *ours])


TURNS: dict[str, Callable[[Values, np.random.Generator], Values]] = {
    "flipped and rolled": lambda field, chance: np.roll(field[::-1], chance.integers(36), axis=1),
    "mirrored": lambda field, chance: field[:, ::-1],
    "columns in another order": lambda field, chance: field[:, chance.permutation(36)],
}


@pytest.mark.parametrize("turn", TURNS)
@pytest.mark.parametrize("measures", WEIGHTINGS)
def test_turning_all_fields_alike_changes_nothing(measures: Measures, turn: str) -> None:
    data = fields(8)

    turned = [np.ascontiguousarray(TURNS[turn](field, np.random.default_rng(1))) for field in data]

    before, after = (components_of(each, measures) for each in (data, turned))
    assert_same(after, before, rel=1e-12, abs_=1e-13)


@pytest.mark.parametrize("measures", WEIGHTINGS)
@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), scale=st.floats(0.01, 100.0), shift=st.floats(-1000.0, 1000.0))
def test_measures_follow_scale_and_ignore_shift(
    measures: Measures, seed: int, scale: float, shift: float
) -> None:
    data = fields(seed)

    before = components_of(data, measures)
    after = components_of((field * scale + shift for field in data), measures)

    grows = {"rmse": 1, "mae": 1, "bias": 1, "error_sd": 1, "mse": 2, "clone_distance": 2}
    for name in NAMES:
        power = 2 if name.startswith("mse_") else grows.get(name, 0)
        expected = getattr(before, name) * scale**power
        assert getattr(after, name) == pytest.approx(expected, rel=1e-9, abs=1e-9), name


@pytest.mark.parametrize("shape", [(1, 1), (10, 10), (45, 90), (180, 360), (181, 360), (721, 1440)])
def test_every_size_is_measured(shape: tuple[int, int]) -> None:
    truth = np.full(shape, 274.0, np.float32)

    measured = field_components(truth + 1, truth, truth - 2, truth + 3)

    assert (measured.rmse, measured.mae, measured.bias) == pytest.approx((1.0, 1.0, 1.0))
    assert measured.clone_distance == pytest.approx(4.0)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), count=st.integers(2, 3), likeness=st.floats(0.0, 0.99))
def test_no_blend_of_references_beats_the_best_blend(seed: int, count: int, likeness: float) -> None:
    rng = np.random.default_rng(seed)
    common = rng.normal(size=50)
    errors = likeness * common + rng.uniform(0.1, 2.0, (count, 1)) * rng.normal(size=(count, 50))
    gram = {
        (str(a), str(b)): float(errors[a] @ errors[b])
        for a, b in itertools.combinations_with_replacement(range(count), 2)
    }

    best = best_blend(gram)

    shares = rng.dirichlet(np.full(count, 0.5), 4000)
    tried = ((shares @ errors) ** 2).sum(axis=1)
    assert best is not None
    assert best <= tried.min() * (1 + 1e-12)
    assert best >= tried.min() * 0.9


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", [(0, 0), (9, 35), (18, 16)])
def test_a_value_that_is_not_finite_is_seen_wherever_it_is(bad: float, place: tuple[int, int]) -> None:
    forecast, *ours = (field.astype(np.float32) for field in fields(9))
    forecast[place] = bad
    references = references_of(ours)

    compared = references.compare(forecast)

    assert not compared.is_finite
    assert references.damaged() is None


@pytest.mark.parametrize("damaged", ["truth", "climatology", "baseline", "persistence"])
def test_our_own_damage_is_named(damaged: str) -> None:
    ours = dict(zip(["truth", "climatology", "baseline", "persistence"], fields(10, 4), strict=True))
    ours[damaged][18, 35] = np.nan

    assert references_of(ours.values()).damaged() == damaged


def test_extremes_come_with_the_sums() -> None:
    forecast, *ours = (field.astype(np.float32) for field in fields(11))

    compared = references_of(ours).compare(forecast)

    assert (compared.minimum, compared.maximum) == (forecast.min(), forecast.max())


def test_a_field_of_another_shape_is_refused() -> None:
    forecast, truth, normal = fields(12, 3)

    with pytest.raises(ValueError, match="shape"):
        References(truth, normal).compare(forecast[1:])


@pytest.mark.parametrize("value", [1e-41, -1e-41, np.nan, np.inf, 3e38], ids=str)
def test_no_value_makes_measuring_slower(value: float) -> None:
    references = References(a_field(1), a_field(2), a_field(3), None)
    references.sums()

    def measuring_s(field: NDArray[np.float32]) -> float:
        found = []
        for _ in range(7):
            begun = time.thread_time()
            references.compare(field)
            found.append(time.thread_time() - begun)
        return min(found)

    hostile = np.full_like(a_field(), value)

    # Processors take a hundred times as long for the smallest numbers where nobody cares.
    assert measuring_s(hostile) < 20 * measuring_s(a_field())
