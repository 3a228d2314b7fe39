"""The same measures of one field, as others' libraries and formulas compute them."""

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
    """Return the peers that are installed."""
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
    """As few calls as give the measures, each difference made once; deviations it has none of are left out."""
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
    """Its functions where it has them; its means of products for the correlations, which it has not."""
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
    """The formulas of WeatherBench 2 (Rasp et al. 2024, section 3), each a metric of its own, as there.

    The package is to be had from its repository alone, so the formulas are written out,
    and those of the measures it does not have in the same way.
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
    """Both correlations of anomalies and their activity, from five means."""
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
