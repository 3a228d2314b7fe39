"""On real fields our numbers are those of xskillscore and scores."""

from __future__ import annotations

import warnings
from dataclasses import asdict
from typing import Any

import numpy as np
import pytest
import xarray as xr
from numpy.typing import NDArray

from gaia.localnet.weather.pack import WeatherPack
from gaia.tasks.defined_tasks.weather.validator.areas import row_weights
from gaia.tasks.defined_tasks.weather.validator.measures import WEIGHTINGS, Measures, field_components

FIELDS = ["2t", "msl", "10u", "10v"]
SPACE = ["lat", "lon"]


def on_globe(values: NDArray[Any], *dims: str) -> xr.DataArray:
    rows, columns = values.shape[-2:]
    coords = {"lat": np.linspace(90, -90, rows), "lon": np.arange(columns) * 360.0 / columns}
    return xr.DataArray(values, coords, (*dims, "lat", "lon"))


@pytest.fixture(scope="module", params=FIELDS)
def real(request: pytest.FixtureRequest) -> list[xr.DataArray]:
    """Forecast, truth, climatology, GFS and persistence, made of a week of ERA5 in float32."""
    frames = WeatherPack().frames(request.param)
    normal = frames.mean(axis=0, dtype=np.float64).astype(np.float32)
    fields = [frames[6], frames[7], normal, (frames[5] + frames[6]) / 2, frames[4]]
    return [on_globe(np.asarray(field, np.float32)) for field in fields]


def ours(real: list[xr.DataArray], measures: Measures) -> dict[str, float | None]:
    forecast, truth, climatology, gfs, persistence = (field.values for field in real)
    return asdict(field_components(forecast, truth, climatology, gfs, persistence, measures))


def weights_like(field: xr.DataArray, measures: Measures) -> xr.DataArray:
    rows = row_weights(field.sizes["lat"], WEIGHTINGS[measures])
    return field.copy(data=np.broadcast_to(rows[:, None], field.shape).copy())


@pytest.mark.parametrize("measures", WEIGHTINGS)
def test_xskillscore_agrees_to_six_digits(real: list[xr.DataArray], measures: Measures) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        xs = pytest.importorskip("xskillscore")
    f, o, c, g, p = (field.astype(np.float64) for field in real)
    common = {"dim": SPACE, "weights": weights_like(o, measures)}
    corrected = f - (f - o).mean() if measures == "gaia-2.9" else f

    theirs = {
        "rmse": xs.rmse(f, o, **common),
        "mse": xs.mse(f, o, **common),
        "mae": xs.mae(f, o, **common),
        "bias": xs.me(f, o, **common),
        "acc": xs.pearson_r(f - c, o - c, **common),
        "skill_climatology": 1 - xs.mse(corrected, o, **common) / xs.mse(c, o, **common),
        "skill_gfs": 1 - xs.mse(corrected, o, **common) / xs.mse(g, o, **common),
        "skill_persistence": 1 - xs.mse(f, o, **common) / xs.mse(p, o, **common),
        "pattern_correlation": xs.pearson_r(f, g, **common),
        "clone_distance": xs.mse(f, g, **common),
    }

    found = ours(real, measures)
    for name, value in theirs.items():
        assert found[name] == pytest.approx(float(value), rel=1e-6), name


@pytest.mark.parametrize("measures", WEIGHTINGS)
def test_scores_agrees_to_six_digits(real: list[xr.DataArray], measures: Measures) -> None:
    continuous = pytest.importorskip("scores.continuous")
    f, o, c, g, p = (field.astype(np.float64) for field in real)
    common = {"reduce_dims": SPACE, "weights": weights_like(o, measures)}

    theirs = {
        "rmse": continuous.rmse(f, o, **common),
        "mse": continuous.mse(f, o, **common),
        "mae": continuous.mae(f, o, **common),
        "bias": continuous.additive_bias(f, o, **common),
        "mse_climatology": continuous.mse(c, o, **common),
        "mse_gfs": continuous.mse(g, o, **common),
        "mse_persistence": continuous.mse(p, o, **common),
        "clone_distance": continuous.mse(f, g, **common),
    }

    found = ours(real, measures)
    for name, value in theirs.items():
        assert found[name] == pytest.approx(float(value), rel=1e-6), name
