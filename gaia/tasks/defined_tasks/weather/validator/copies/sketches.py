"""Overlap of forecasts, computed from their errors on a sample of points."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

ROWS: Final = 45
COLUMNS: Final = 90
POINTS: Final = ROWS * COLUMNS
"""Number of points: every 4th along each axis of the 1-degree grid, every 16th of the 0.25-degree grid."""
INDEPENDENT = 0.1
"""Correlation of residual errors up to which two forecasts are independent."""
ERROR_LIMIT: Final = 2.0
"""Relative squared error at which the score of a field reaches its minimum: see `in_units`."""
BEYOND = 10.0
"""Squared error, relative to the least, above which a forecast is left out of the best mean."""
ROUNDS = 12
DESCENTS = 300
_ROUNDING = 1e-10
_TINY = 1e-300


@dataclass(frozen=True, slots=True)
class SketchPoints:
    """Sampled points of one field at one lead."""

    rows: slice
    columns: slice
    weights: Floats
    """Root of each row's share of the area (row, 1)."""


def sketch_points(truth: NDArray[np.floating]) -> SketchPoints:
    """Return the points at which errors against a truth are sampled.

    Parameters
    ----------
    truth : float array, shape (lat, lon)
        On an even grid of 1 or 0.25 degrees from pole to pole.

    Notes
    -----
    The points are evenly spaced; the truth itself decides their offset, which all miners share.
    The offset is unknown when miners commit, so a copy cannot differ on these points alone.
    """
    step = truth.shape[1] // COLUMNS
    drawn = hashlib.sha256(np.ascontiguousarray(truth[::step, ::step], "<f4").tobytes()).digest()
    first_row, first_column = drawn[0] % step, drawn[1] % step
    rows = slice(first_row, first_row + step * ROWS, step)
    cosines = np.cos(np.radians(np.linspace(90.0, -90.0, truth.shape[0])[rows]))
    return SketchPoints(rows, slice(first_column, None, step), np.sqrt(np.clip(cosines, 0.0, None))[:, None])


def error_sketch(
    forecast: NDArray[np.floating], truth: NDArray[np.floating], points: SketchPoints | None = None
) -> NDArray[np.float32]:
    """Return the error of one field on the sampled points, weighted by area.

    Parameters
    ----------
    forecast, truth : float array, shape (lat, lon)
        On one of the grids of `sketch_points`.
    points
        Points of the truth, if they are already computed.

    Returns
    -------
    float32 array, shape (POINTS,)
        ``(f - o) sqrt(cos(lat))``. The inner product of two sketches is an area-weighted mean
        product of errors, up to a factor that is nearly the same for all fields.
    """
    at = points or sketch_points(truth)
    error = forecast[at.rows, at.columns].astype(np.float64) - truth[at.rows, at.columns]
    sketch: NDArray[np.float32] = (error * at.weights).astype(np.float32).ravel()
    return sketch


def residual_errors(errors: NDArray[np.floating], public: NDArray[np.floating]) -> NDArray[np.float32]:
    """Return errors after the errors of public forecasts are projected out, scaled to unit size.

    Parameters
    ----------
    errors : float array, shape (..., forecasts, points)
        Sketches of one field at one lead of one run; 0 where one is missing.
    public : float array, shape (..., baselines, points)
        Sketches of GFS, climatology and persistence.

    Returns
    -------
    float32 array, shape (..., forecasts, points)
        Each has size 1, or 0 if nothing is left. Every field, lead and run thus counts the same, and
        ruining one on purpose hides nothing in the others.
    """
    across = np.swapaxes(public, -1, -2)
    among = (public @ across).astype(np.float64)
    parts = (errors @ across).astype(np.float64) @ np.linalg.pinv(among, hermitian=True)
    residual = errors - (parts @ public).astype(np.float32)
    before = np.square(errors, dtype=np.float64).sum(axis=-1, keepdims=True)
    after = np.square(residual, dtype=np.float64).sum(axis=-1, keepdims=True)
    scale = np.where(after > _ROUNDING * before, 1.0 / np.sqrt(np.maximum(after, _TINY)), 0.0)
    scaled: NDArray[np.float32] = (residual * scale).astype(np.float32)
    return scaled


def in_units(errors: NDArray[np.floating], public: NDArray[np.floating], unit: Floats | float) -> Floats:
    """Return errors in units of the best public forecast's error, with a bounded size.

    Parameters
    ----------
    errors : float array, shape (..., forecasts, points)
        Sketches of one field at one lead of one run; 0 where one is missing.
    public : float array, shape (..., baselines, points)
        Sketches of GFS, climatology and persistence.
    unit : float or float64 array, shape (..., 1, 1)
        Denominator of `public_skill` in `rules/gaia_next.py`: the least squared error of public
        forecasts and their best blend. Above 0.

    Returns
    -------
    float64 array, shape (..., forecasts, points)
        ``e / sqrt(unit)`` up to a squared size of `ERROR_LIMIT`, where the score of a field reaches
        -1. Beyond it, `errors` fade into those of the best of `public`, enlarged to that size. The
        squared size is at most 3.125.

    Notes
    -----
    Without a bound, one ruined field would outweigh all others. If its errors were only reduced,
    the forecast would seem nearer the truth. The mean of many copies, each ruined differently,
    would then seem the best mean. Public errors are larger, and all forecasts share them.
    """
    scaled = errors / np.sqrt(unit)
    sizes = np.square(scaled).sum(axis=-1, keepdims=True)
    kept = ERROR_LIMIT / np.maximum(sizes, ERROR_LIMIT)
    known = np.square(public, dtype=np.float64).sum(axis=-1, keepdims=True)
    place = known.argmin(axis=-2, keepdims=True)
    best, size = (np.take_along_axis(values, place, axis=-2) for values in (public, known))
    limit = np.sqrt(ERROR_LIMIT / np.maximum(size, _TINY))
    bounded: Floats = kept * scaled + (1.0 - kept) * limit * best
    return bounded


def overlaps(raw: Floats, residual: Floats) -> Floats:
    """Return the overlap of each two forecasts, in [0, 1].

    Parameters
    ----------
    raw : float64 array, shape (forecasts, forecasts)
        Gram matrix of errors `in_units`, summed over fields, leads and runs.
    residual : float64 array, shape (forecasts, forecasts)
        Gram matrix of `residual_errors`, summed likewise.

    Returns
    -------
    float64 array, shape (forecasts, forecasts)
        Symmetric, with 1 on the diagonal. It is 0 up to a correlation of `INDEPENDENT`, and then
        rises linearly, so that there is no threshold to stay just below.

    Notes
    -----
    Independent forecasts share the errors that all models make. Projecting out the error of a
    weighted mean removes them. The weight of a forecast is one over the sum of its overlaps, found
    by iteration. With equal weights, many copies would dominate the mean and look independent of
    each other. Two such means can exist. The iteration starts at the mean with the least error, to
    which noisy copies of one model add nothing. Only forecasts with skill should be passed.
    """
    weights = best_mean(raw)
    shared = np.eye(len(residual))
    for _ in range(ROUNDS):
        shared = _kernel(_without_mean(residual, weights / weights.sum()))
        weights = 1.0 / shared.sum(axis=1)
    return shared


def best_mean(gram: Floats) -> Floats:
    """Return the weights, at least 0 and summing to 1, of the mean forecast with the least squared error.

    A forecast without data (0) has weight 0. So has one with more than `BEYOND` times the least
    error, because the largest error limits the step of the descent.
    """
    sizes = gram.diagonal()
    if not (sizes > 0.0).any():
        return np.full(len(sizes), 1.0 / max(len(sizes), 1))
    able = np.flatnonzero((sizes > 0.0) & (sizes <= BEYOND * sizes[sizes > 0.0].min()))
    among = gram[np.ix_(able, able)]
    part = np.full(len(able), 1.0 / len(able))
    largest = float(np.linalg.norm(among, 2))
    for _ in range(DESCENTS):
        part = _on_simplex(part - among @ part / largest)
    weights = np.zeros(len(sizes))
    weights[able] = part
    return weights


def _on_simplex(values: Floats) -> Floats:
    """Return the nearest point whose coordinates are at least 0 and sum to 1."""
    ordered = np.sort(values)[::-1]
    excess = (np.cumsum(ordered) - 1.0) / np.arange(1, len(values) + 1)
    nearest: Floats = np.maximum(values - excess[np.flatnonzero(ordered > excess)[-1]], 0.0)
    return nearest


def _without_mean(gram: Floats, weights: Floats) -> Floats:
    with_mean = gram @ weights
    size = float(weights @ with_mean)
    return gram - np.outer(with_mean, with_mean) / size if size > 0.0 else gram


def _kernel(gram: Floats) -> Floats:
    sizes = np.sqrt(np.clip(gram.diagonal(), 0.0, None))
    scale = np.outer(sizes, sizes)
    correlation = np.divide(gram, scale, out=np.zeros_like(gram), where=scale > 0.0)
    shared: Floats = np.clip((correlation - INDEPENDENT) / (1.0 - INDEPENDENT), 0.0, 1.0)
    np.fill_diagonal(shared, 1.0)
    return shared
