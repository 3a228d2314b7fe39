"""Labelled measures are those of the pipeline, keep further dimensions, and never skip a point."""

from __future__ import annotations

import doctest
from collections.abc import Callable
from types import ModuleType

import numpy as np
import pytest
import xarray as xr
from numpy.typing import NDArray

from gaia.tasks.defined_tasks.weather.validator.areas import Weighting
from gaia.tasks.defined_tasks.weather.validator.measures import Measures, field_components
from tests.support.formulas import comparisons, errors

Values = NDArray[np.float64]


def fields(seed: int, count: int = 5, shape: tuple[int, int] = (19, 36)) -> list[Values]:
    rng = np.random.default_rng(seed)
    return [280.0 + 10.0 * rng.normal(size=shape) for _ in range(count)]


def on_globe(values: Values) -> xr.DataArray:
    rows, columns = values.shape[-2:]
    coords = {"lat": np.linspace(90, -90, rows), "lon": np.arange(columns) * 360.0 / columns}
    return xr.DataArray(values, coords, ("lat", "lon"))


@pytest.mark.parametrize(("weights", "corrects"), [("cos", ["skill_climatology", "skill_gfs"]), ("area", [])])
def test_labelled_measures_equal_those_of_the_pipeline(weights: Weighting, corrects: list[str]) -> None:
    data = fields(7)
    f, o, c, g, p = map(on_globe, data)

    labelled = {
        "rmse": errors.rmse(f, o, weights),
        "mse": errors.mse(f, o, weights),
        "mae": errors.mae(f, o, weights),
        "bias": errors.bias(f, o, weights),
        "error_sd": errors.error_sd(f, o, weights),
        "acc": comparisons.acc(f, o, c, weights),
        "acc_uncentred": comparisons.acc(f, o, c, weights, centred=False),
        "skill_climatology": comparisons.mse_skill(f, o, c, weights=weights),
        "skill_gfs": comparisons.mse_skill(f, o, g, weights=weights),
        "skill_persistence": comparisons.mse_skill(f, o, p, weights=weights),
        "skill_blend": comparisons.mse_skill(f, o, c, g, p, weights=weights),
        "activity": comparisons.activity(f, o, c, weights),
        "pattern_correlation": comparisons.pattern_correlation(f, g, weights),
        "clone_distance": errors.clone_distance(f, g, weights),
    }

    forecast, truth, normal, baseline, earlier = data
    measures: Measures = "gaia-2.9" if weights == "cos" else "plain"
    plain = field_components(forecast, truth, normal, baseline, earlier, measures)
    for name in labelled.keys() - set(corrects):
        assert float(labelled[name]) == pytest.approx(getattr(plain, name), rel=1e-12, abs=1e-13), name


def test_wind_errors_add_up_as_vectors() -> None:
    uf, vf, uo, vo = map(on_globe, fields(1, 4))

    length = errors.vector_rmse((uf, vf), (uo, vo))

    assert float(length**2) == pytest.approx(float(errors.mse(uf, uo) + errors.mse(vf, vo)))


def test_labelled_measures_keep_further_dimensions() -> None:
    forecast, truth = (xr.concat([on_globe(f), on_globe(f) * 2], "level") for f in fields(8, 2))

    assert errors.rmse(forecast, truth).dims == ("level",)
    assert float(errors.rmse(forecast, truth)[1] / errors.rmse(forecast, truth)[0]) == pytest.approx(2.0)


def test_a_blend_is_made_anew_for_every_level() -> None:
    f, o, c, g = (xr.concat([on_globe(field), on_globe(field[::-1])], "level") for field in fields(2, 4))

    skill = comparisons.mse_skill(f, o, c, g)

    assert skill.dims == ("level",)
    one = comparisons.mse_skill(*(field.isel(level=1) for field in (f, o, c, g)))
    assert float(skill[1]) == pytest.approx(float(one))


@pytest.mark.parametrize("count", [0, 4])
def test_skill_is_over_one_to_three_references(count: int) -> None:
    forecast, truth = map(on_globe, fields(3, 2))

    with pytest.raises(ValueError, match="one to three"):
        comparisons.mse_skill(forecast, truth, *[forecast] * count)


MEASURES: dict[str, Callable[[xr.DataArray, xr.DataArray], xr.DataArray]] = {
    "bias": errors.bias,
    "mae": errors.mae,
    "mse": errors.mse,
    "rmse": errors.rmse,
    "error_sd": errors.error_sd,
    "acc": lambda f, o: comparisons.acc(f, o, 0 * o.fillna(0.0)),
    "pattern": comparisons.pattern_correlation,
    "activity": lambda f, o: comparisons.activity(f, o, 0 * o.fillna(0.0)),
    "skill": lambda f, o: comparisons.mse_skill(f, o, o.fillna(0.0) + 1.0),
    "blend": lambda f, o: comparisons.mse_skill(f, o, o.fillna(0.0) + 1.0, o.fillna(0.0) + 2.0),
    "wind": lambda f, o: errors.vector_rmse((f, f), (o, o)),
}


@pytest.mark.parametrize("name", MEASURES)
@pytest.mark.parametrize("missing", ["forecast", "truth"])
def test_a_missing_value_is_never_skipped(name: str, missing: str) -> None:
    given = dict(zip(("forecast", "truth"), map(on_globe, fields(9, 2)), strict=True))
    given[missing][9, 0] = np.nan

    assert np.isnan(MEASURES[name](given["forecast"], given["truth"]))


@pytest.mark.parametrize("name", MEASURES)
def test_fields_on_other_points_are_refused_rather_than_aligned(name: str) -> None:
    forecast, truth = map(on_globe, fields(11, 2))

    with pytest.raises(ValueError, match="one grid"):
        MEASURES[name](forecast.isel(lat=slice(4, 5)), truth)
    with pytest.raises(ValueError, match="one grid"):
        MEASURES[name](forecast.assign_coords(lon=truth["lon"] + 1), truth)


def test_a_constant_anomaly_has_no_labelled_correlation_either() -> None:
    truth, normal = map(on_globe, fields(10, 2))

    assert np.isnan(comparisons.acc(normal, truth, normal))
    assert np.isnan(comparisons.activity(truth, normal, normal))


@pytest.mark.parametrize("formulas", [errors, comparisons])
def test_examples_of_the_formulas_are_right(formulas: ModuleType) -> None:
    done = doctest.testmod(formulas)

    assert done.attempted >= 12
    assert done.failed == 0
