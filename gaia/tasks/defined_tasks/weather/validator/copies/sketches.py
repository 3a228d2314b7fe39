"""Which forecasts are the same work: their errors on a few points, held against each other."""

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
"""Of every grid: each 4th point of one of a degree, each 16th of one of a quarter."""
INDEPENDENT = 0.1
"""Correlation of own errors up to which two forecasts are nobody's copy."""
LEAST_WORTH: Final = 2.0
"""Square error, in that of the best public forecast, from which a field is worth no less: see `in_units`."""
BEYOND = 10.0
"""Square error, in the least of all, of forecasts that no good mean has in it."""
ROUNDS = 12
DESCENTS = 300
_ROUNDING = 1e-10
_TINY = 1e-300


@dataclass(frozen=True, slots=True)
class SketchPoints:
    """Where the errors of one field at one lead are looked at."""

    rows: slice
    columns: slice
    weights: Floats
    """Root of each row's share of the area (row, 1)."""


def sketch_points(truth: NDArray[np.floating]) -> SketchPoints:
    """Return which points the errors against a truth are looked at.

    Parameters
    ----------
    truth : float array, shape (lat, lon)
        On an even grid of 1 or 0.25 degrees from pole to pole.

    Notes
    -----
    Evenly spaced; from where is drawn from the truth itself, the same for everybody. Nobody knows
    it when forecasts are bound, so no copy can be made to differ on these points alone.
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
    """Return the error of one field on a thin set of points, each weighted by its area.

    Parameters
    ----------
    forecast, truth : float array, shape (lat, lon)
        On one grid that `sketch_points` knows.
    points
        Those of the truth, where they are known already.

    Returns
    -------
    float32 array, shape (POINTS,)
        ``(f - o) sqrt(cos(lat))``: the inner product of two sketches is an
        area-weighted mean product of errors, up to a factor all fields nearly share.
    """
    at = points or sketch_points(truth)
    error = forecast[at.rows, at.columns].astype(np.float64) - truth[at.rows, at.columns]
    sketch: NDArray[np.float32] = (error * at.weights).astype(np.float32).ravel()
    return sketch


def own_errors(errors: NDArray[np.floating], public: NDArray[np.floating]) -> NDArray[np.float32]:
    """Return what is left of errors once the public ones are projected out, scaled to unit size.

    Parameters
    ----------
    errors : float array, shape (..., forecasts, points)
        Sketches of one field at one lead of one run; 0 where one is missing.
    public : float array, shape (..., baselines, points)
        Sketches of GFS, climatology and persistence.

    Returns
    -------
    float32 array, shape (..., forecasts, points)
        Each of size 1, or 0 where nothing is left. So no field, lead or run counts
        for more than another: one that is ruined on purpose hides nothing in the others.
    """
    across = np.swapaxes(public, -1, -2)
    among = (public @ across).astype(np.float64)
    parts = (errors @ across).astype(np.float64) @ np.linalg.pinv(among, hermitian=True)
    own = errors - (parts @ public).astype(np.float32)
    before = np.square(errors, dtype=np.float64).sum(axis=-1, keepdims=True)
    after = np.square(own, dtype=np.float64).sum(axis=-1, keepdims=True)
    scale = np.where(after > _ROUNDING * before, 1.0 / np.sqrt(np.maximum(after, _TINY)), 0.0)
    scaled: NDArray[np.float32] = (own * scale).astype(np.float32)
    return scaled


def in_units(errors: NDArray[np.floating], public: NDArray[np.floating], unit: Floats | float) -> Floats:
    """Return errors in units of the best public forecast's, none beyond all measure.

    Parameters
    ----------
    errors : float array, shape (..., forecasts, points)
        Sketches of one field at one lead of one run; 0 where one is missing.
    public : float array, shape (..., baselines, points)
        Sketches of GFS, climatology and persistence.
    unit : float or float64 array, shape (..., 1, 1)
        What `public_skill` of `rules/gaia_next.py` divides by: the least square error
        of what is public, the best blend included. Above 0.

    Returns
    -------
    float64 array, shape (..., forecasts, points)
        ``e / sqrt(unit)`` up to a square size of `LEAST_WORTH`, where the score of a field
        ends at -1. From there `errors` fade into those of the best of `public`, enlarged to
        that size; the square size is 3.125 at most.

    Notes
    -----
    A field ruined beyond measure would outweigh all others. Were its errors only made
    smaller, the forecast would come nearer the truth: the mean of many copies, each ruined
    differently, would seem the best there is. Public errors are larger, and shared by all.
    """
    scaled = errors / np.sqrt(unit)
    sizes = np.square(scaled).sum(axis=-1, keepdims=True)
    kept = LEAST_WORTH / np.maximum(sizes, LEAST_WORTH)
    known = np.square(public, dtype=np.float64).sum(axis=-1, keepdims=True)
    place = known.argmin(axis=-2, keepdims=True)
    best, size = (np.take_along_axis(values, place, axis=-2) for values in (public, known))
    limit = np.sqrt(LEAST_WORTH / np.maximum(size, _TINY))
    bounded: Floats = kept * scaled + (1.0 - kept) * limit * best
    return bounded


def overlaps(whole: Floats, own: Floats) -> Floats:
    """Return how much of the work of each two forecasts is the same, in [0, 1].

    Parameters
    ----------
    whole : float64 array, shape (forecasts, forecasts)
        Products of errors `in_units`, added up over fields, leads and runs.
    own : float64 array, shape (forecasts, forecasts)
        Products of `own_errors`, added up likewise.

    Returns
    -------
    float64 array, shape (forecasts, forecasts)
        Symmetric, 1 on the diagonal. 0 up to a correlation of `INDEPENDENT`, from
        there in proportion: no threshold to stay just under.

    Notes
    -----
    Independent forecasts share errors too, those that all models make. These are
    removed by projecting out the error of a mean, in which each forecast counts for as
    much as is its own: one over the sum of its overlaps, found by repetition.
    Otherwise many copies would be the mean, and look independent of each other. Two
    such means can exist; the repetition starts at the mean with the least error, to
    which noisy copies of one model add nothing however many there are. Only forecasts
    with skill belong in here.
    """
    weights = best_mean(whole)
    shared = np.eye(len(own))
    for _ in range(ROUNDS):
        shared = _kernel(_without_mean(own, weights / weights.sum()))
        weights = 1.0 / shared.sum(axis=1)
    return shared


def best_mean(products: Floats) -> Floats:
    """Return the weights, at least 0 and summing to 1, of the mean forecast with the least square error.

    A forecast of which nothing is known (0), or `BEYOND` what the best errs by, has no part
    in it: the steps of the descent are as short as the largest error demands.
    """
    sizes = products.diagonal()
    if not (sizes > 0.0).any():
        return np.full(len(sizes), 1.0 / max(len(sizes), 1))
    able = np.flatnonzero((sizes > 0.0) & (sizes <= BEYOND * sizes[sizes > 0.0].min()))
    among = products[np.ix_(able, able)]
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


def _without_mean(products: Floats, weights: Floats) -> Floats:
    with_mean = products @ weights
    size = float(weights @ with_mean)
    return products - np.outer(with_mean, with_mean) / size if size > 0.0 else products


def _kernel(products: Floats) -> Floats:
    sizes = np.sqrt(np.clip(products.diagonal(), 0.0, None))
    scale = np.outer(sizes, sizes)
    correlation = np.divide(products, scale, out=np.zeros_like(products), where=scale > 0.0)
    shared: Floats = np.clip((correlation - INDEPENDENT) / (1.0 - INDEPENDENT), 0.0, 1.0)
    np.fill_diagonal(shared, 1.0)
    return shared
