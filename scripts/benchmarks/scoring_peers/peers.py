"""The same measures of one field, computed by other libraries and formulas."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from gaia.tasks.defined_tasks.weather.validator.areas import row_weights

Field = NDArray[np.float32]
Peer = Callable[[xr.DataArray, xr.DataArray, xr.DataArray, xr.DataArray], Mapping[str, Any]]

SPACE = ["lat", "lon"]


def available() -> dict[str, Peer]:
    """Return the installed peers."""
    peers: dict[str, Peer] = {"weatherbench2": weatherbench2}
    for name, module, peer in (
        ("xskillscore", "xskillscore", xskillscore),
        ("scores", "scores.continuous", scores),
    ):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                importlib.import_module(module)
            except ImportError:
                continue
        peers[name] = peer
    return peers


def labelled(values: Field) -> xr.DataArray:
    rows, columns = values.shape
    coords = {"lat": np.linspace(90, -90, rows), "lon": np.arange(columns) * 360.0 / columns}
    return xr.DataArray(values, coords, ("lat", "lon"))


def xskillscore(f: xr.DataArray, o: xr.DataArray, c: xr.DataArray, g: xr.DataArray) -> Mapping[str, Any]:
    """Measure with xskillscore, in as few calls as possible; it has no standard deviations."""
    xs = importlib.import_module("xskillscore")
    common = {"dim": SPACE, "weights": _full_weights(o)}
    corrected = f - (f - o).mean()
    left = xs.mse(corrected, o, **common)
    mse, bias = xs.mse(f, o, **common), xs.me(f, o, **common)
    return {
        "rmse": np.sqrt(mse),
        "mae": xs.mae(f, o, **common),
        "bias": bias,
        "error_sd": np.sqrt(mse - bias**2),
        "acc": xs.pearson_r(f - c, o - c, **common),
        "skill_climatology": 1 - left / xs.mse(c, o, **common),
        "skill_gfs": 1 - left / xs.mse(g, o, **common),
        "pattern_correlation": xs.pearson_r(f, g, **common),
        "clone_distance": xs.mse(f, g, **common),
    }


def scores(f: xr.DataArray, o: xr.DataArray, c: xr.DataArray, g: xr.DataArray) -> Mapping[str, Any]:
    """Measure with scores; correlations, which it lacks, come from its means of products."""
    continuous = importlib.import_module("scores.continuous")
    common = {"reduce_dims": SPACE, "weights": _full_weights(o)}
    zero = xr.zeros_like(o)

    def mean(values: xr.DataArray) -> Any:
        return continuous.additive_bias(values, zero, **common)

    corrected = f - (f - o).mean()
    left = continuous.mse(corrected, o, **common)
    mse, bias = continuous.mse(f, o, **common), continuous.additive_bias(f, o, **common)
    return {
        "rmse": np.sqrt(mse),
        "mae": continuous.mae(f, o, **common),
        "bias": bias,
        "error_sd": np.sqrt(mse - bias**2),
        **_anomalies(f - c, o - c, mean),
        "skill_climatology": 1 - left / continuous.mse(c, o, **common),
        "skill_gfs": 1 - left / continuous.mse(g, o, **common),
        "pattern_correlation": _correlation(f, g, mean),
        "clone_distance": continuous.mse(f, g, **common),
    }


def weatherbench2(f: xr.DataArray, o: xr.DataArray, c: xr.DataArray, g: xr.DataArray) -> Mapping[str, Any]:
    """Measure with the formulas of WeatherBench 2 (Rasp et al. 2024, section 3), one metric at a time.

    Its package is only available from its repository, so its formulas are written out here.
    Measures that it lacks are written in the same way.
    """
    rows = o["lat"].copy(data=row_weights(o.sizes["lat"], "area") * o.sizes["lat"])

    def mean(values: xr.DataArray) -> Any:
        return values.weighted(rows).mean(SPACE, skipna=False)

    def mse(one: xr.DataArray, other: xr.DataArray) -> Any:
        return mean((one - other) ** 2)

    squared, bias = mse(f, o), mean(f - o)
    return {
        "rmse": np.sqrt(squared),
        "mae": mean(abs(f - o)),
        "bias": bias,
        "error_sd": np.sqrt(squared - bias**2),
        **_anomalies(f - c, o - c, mean),
        "skill_climatology": 1 - mse(f, o) / mse(c, o),
        "skill_gfs": 1 - mse(f, o) / mse(g, o),
        "pattern_correlation": _correlation(f, g, mean),
        "clone_distance": mse(f, g),
    }


def _anomalies(a: xr.DataArray, b: xr.DataArray, mean: Callable[[xr.DataArray], Any]) -> dict[str, Any]:
    """Return both anomaly correlations and the activity, from five means."""
    aa, bb, ab, of_a, of_b = mean(a * a), mean(b * b), mean(a * b), mean(a), mean(b)
    variance, other = aa - of_a**2, bb - of_b**2
    return {
        "acc": (ab - of_a * of_b) / np.sqrt(variance * other),
        "acc_uncentred": ab / np.sqrt(aa * bb),
        "activity": np.sqrt(variance / other),
    }


def _correlation(a: xr.DataArray, b: xr.DataArray, mean: Callable[[xr.DataArray], Any]) -> Any:
    a, b = a - mean(a), b - mean(b)
    return mean(a * b) / np.sqrt(mean(a * a) * mean(b * b))


def _full_weights(like: xr.DataArray) -> xr.DataArray:
    rows = row_weights(like.sizes["lat"], "cos")
    return like.copy(data=np.broadcast_to(rows[:, None], like.shape).astype(like.dtype))
