"""Measures agree with what can be worked out by hand, with a brute-force sum, and with xskillscore."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from gaia.tasks.defined_tasks.weather.validator import metrics
from gaia.tasks.defined_tasks.weather.validator.metrics import FieldComponents, field_components

Values = NDArray[np.float64]

# Three rows: both poles weigh nothing, so only the equator counts.
TRUTH = np.array([[9.0, 9.0], [1.0, 3.0], [9.0, 9.0]])
NORMAL = np.zeros((3, 2))


def fields(seed: int, count: int = 4, shape: tuple[int, int] = (19, 36)) -> list[Values]:
    rng = np.random.default_rng(seed)
    return [280.0 + 10.0 * rng.normal(size=shape) for _ in range(count)]


def on_globe(values: Values) -> xr.DataArray:
    rows, columns = values.shape[-2:]
    coords = {"lat": np.linspace(90, -90, rows), "lon": np.arange(columns) * 360.0 / columns}
    return xr.DataArray(values, coords, ("lat", "lon"))


def assert_same(one: FieldComponents, other: FieldComponents, rel: float, abs_: float = 0.0) -> None:
    for name in FieldComponents.__slots__:
        assert getattr(one, name) == pytest.approx(getattr(other, name), rel=rel, abs=abs_), name


def test_errors_are_those_worked_out_by_hand() -> None:
    forecast = TRUTH + np.array([[50.0, 50.0], [2.0, -4.0], [50.0, 50.0]])

    measured = field_components(forecast, TRUTH, NORMAL)

    assert measured.mse == pytest.approx((2.0**2 + 4.0**2) / 2)
    assert measured.rmse == pytest.approx(math.sqrt(10.0))
    assert measured.mae == pytest.approx(3.0)
    assert measured.bias == pytest.approx(-1.0)


def test_a_perfect_forecast_has_no_error_and_full_correlation_and_skill() -> None:
    forecast, normal, baseline = fields(0, 3)

    measured = field_components(forecast, forecast, normal, baseline)

    assert (measured.rmse, measured.mae, measured.bias) == (0.0, 0.0, 0.0)
    assert (measured.skill_climatology, measured.skill_gfs) == (1.0, 1.0)
    assert measured.acc == pytest.approx(1.0)


def test_skill_forgives_a_constant_error_and_errors_do_not() -> None:
    truth, normal, baseline = fields(1, 3)

    measured = field_components(truth + 5.0, truth, normal, baseline)

    assert measured.skill_climatology == pytest.approx(1.0)
    assert measured.skill_gfs == pytest.approx(1.0)
    assert measured.acc == pytest.approx(1.0)
    assert measured.rmse == pytest.approx(5.0)
    assert measured.bias == pytest.approx(5.0)


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


def test_the_forecast_of_climatology_has_no_anomaly_correlation() -> None:
    truth, normal = fields(3, 2)

    measured = field_components(normal, truth, normal)

    assert measured.acc is None


def test_what_needs_a_baseline_is_undefined_without_one() -> None:
    measured = field_components(*fields(4, 3))

    assert measured.skill_gfs is None
    assert measured.pattern_correlation is None
    assert measured.clone_distance is None


def test_skill_over_a_perfect_reference_is_undefined() -> None:
    forecast, truth = fields(5, 2)

    measured = field_components(forecast, truth, truth, truth)

    assert measured.skill_climatology is None
    assert measured.skill_gfs is None


def brute_force(forecast: Values, truth: Values, normal: Values, baseline: Values) -> FieldComponents:
    """The same formulas with exact sums, point by point."""
    rows, columns = forecast.shape
    weights = [max(math.cos(math.radians(90 - 180 * row / (rows - 1))), 0.0) for row in range(rows)]
    points = [(r, c) for r in range(rows) for c in range(columns)]
    total = math.fsum(weights[r] for r, _ in points)

    def mean(values: Values) -> float:
        return math.fsum(weights[r] * values[r, c] for r, c in points) / total

    def correlation(a: Values, b: Values) -> float:
        a, b = a - mean(a), b - mean(b)
        return mean(a * b) / math.sqrt(mean(a * a) * mean(b * b))

    error = forecast - truth
    left = error - math.fsum(error.ravel()) / error.size
    return FieldComponents(
        rmse=math.sqrt(mean(error**2)),
        mse=mean(error**2),
        mae=mean(abs(error)),
        bias=mean(error),
        acc=correlation(forecast - normal, truth - normal),
        skill_climatology=1 - mean(left**2) / mean((normal - truth) ** 2),
        skill_gfs=1 - mean(left**2) / mean((baseline - truth) ** 2),
        pattern_correlation=correlation(forecast, baseline),
        clone_distance=mean((forecast - baseline) ** 2),
    )


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_sums_are_exact_to_twelve_digits(seed: int) -> None:
    data = fields(seed, shape=(7, 12))

    assert_same(field_components(*data), brute_force(*data), rel=1e-10, abs_=1e-12)


def test_float32_fields_are_summed_in_float64() -> None:
    data = [field.astype(np.float32) for field in fields(6, shape=(181, 360))]

    measured = field_components(*data)

    assert_same(measured, field_components(*(field.astype(np.float64) for field in data)), rel=1e-14)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    scale=st.floats(0.01, 100.0),
    shift=st.floats(-1000.0, 1000.0),
    roll=st.integers(0, 35),
)
def test_measures_follow_scale_and_ignore_shift_flip_and_roll(
    seed: int, scale: float, shift: float, roll: int
) -> None:
    data = fields(seed)

    before = field_components(*data)
    after = field_components(*(np.roll(field[::-1] * scale + shift, roll, axis=1) for field in data))

    expected = FieldComponents(
        rmse=before.rmse * scale,
        mse=before.mse * scale**2,
        mae=before.mae * scale,
        bias=before.bias * scale,
        acc=before.acc,
        skill_climatology=before.skill_climatology,
        skill_gfs=before.skill_gfs,
        pattern_correlation=before.pattern_correlation,
        clone_distance=(before.clone_distance or 0.0) * scale**2,
    )
    assert_same(after, expected, rel=1e-6, abs_=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_measures_agree_with_xskillscore(seed: int) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        xs = pytest.importorskip("xskillscore")
    data = [field.astype(np.float32) for field in fields(seed, shape=(37, 72))]
    forecast, truth, normal, baseline = (on_globe(field.astype(np.float64)) for field in data)
    cosines = np.cos(np.deg2rad(forecast["lat"].values)).clip(min=0.0)
    weights = forecast.copy(data=np.broadcast_to(cosines[:, None], forecast.shape))
    common: dict[str, Any] = {"dim": ["lat", "lon"], "weights": weights}
    corrected = forecast - (forecast - truth).mean()

    theirs = FieldComponents(
        rmse=float(xs.rmse(forecast, truth, **common)),
        mse=float(xs.mse(forecast, truth, **common)),
        mae=float(xs.mae(forecast, truth, **common)),
        bias=float(xs.me(forecast, truth, **common)),
        acc=float(xs.pearson_r(forecast - normal, truth - normal, **common)),
        skill_climatology=1 - float(xs.mse(corrected, truth, **common) / xs.mse(normal, truth, **common)),
        skill_gfs=1 - float(xs.mse(corrected, truth, **common) / xs.mse(baseline, truth, **common)),
        pattern_correlation=float(xs.pearson_r(forecast, baseline, **common)),
        clone_distance=float(xs.mse(forecast, baseline, **common)),
    )

    assert_same(field_components(*data), theirs, rel=1e-6, abs_=1e-9)


def test_labelled_measures_equal_those_of_plain_arrays() -> None:
    data = fields(7)
    forecast, truth, normal = (on_globe(field) for field in data[:3])

    plain = field_components(*data[:3])

    assert float(metrics.mse(forecast, truth)) == pytest.approx(plain.mse, rel=1e-12)
    assert float(metrics.rmse(forecast, truth)) == pytest.approx(plain.rmse, rel=1e-12)
    assert float(metrics.mae(forecast, truth)) == pytest.approx(plain.mae, rel=1e-12)
    assert float(metrics.bias(forecast, truth)) == pytest.approx(plain.bias, rel=1e-9)
    assert float(metrics.acc(forecast, truth, normal)) == pytest.approx(plain.acc, rel=1e-12)


def test_labelled_measures_keep_further_dimensions() -> None:
    forecast, truth = (xr.concat([on_globe(f), on_globe(f) * 2], "level") for f in fields(8, 2))

    assert metrics.rmse(forecast, truth).dims == ("level",)
    assert float(metrics.rmse(forecast, truth)[1] / metrics.rmse(forecast, truth)[0]) == pytest.approx(2.0)


def test_a_missing_value_is_never_skipped() -> None:
    forecast, truth = (on_globe(field) for field in fields(9, 2))
    forecast[9, 0] = np.nan

    assert np.isnan(metrics.rmse(forecast, truth))


def test_a_constant_anomaly_has_no_labelled_correlation_either() -> None:
    truth, normal = (on_globe(field) for field in fields(10, 2))

    assert np.isnan(metrics.acc(normal, truth, normal))


def test_fields_on_other_points_are_refused_rather_than_aligned() -> None:
    forecast, truth = (on_globe(field) for field in fields(11, 2))

    with pytest.raises(ValueError, match="one grid"):
        metrics.rmse(forecast.isel(lat=slice(4, 5)), truth)
    with pytest.raises(ValueError, match="one grid"):
        metrics.acc(forecast, truth, truth.assign_coords(lon=truth["lon"] + 1))


def test_row_weights_sum_to_one_and_vanish_at_the_poles() -> None:
    weights = metrics.row_weights(181)

    assert weights.sum() == pytest.approx(1.0)
    assert weights[0] == pytest.approx(0.0, abs=1e-16)
    assert weights[30] == pytest.approx(weights[90] / 2)
