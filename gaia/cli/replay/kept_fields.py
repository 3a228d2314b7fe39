"""Computes error fields of kept forecasts; a separate process decodes miners' bytes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from gaia.cli.replay.units import StoredUnit, require_digest
from gaia.cli.select import NotThere
from gaia.tasks.defined_tasks.weather.validator.reading.chunks import MinerStore
from gaia.validator.utils.errors import GaiaError

_MOST_POINTS = 20_000
"""Upper limit of the points in a correlation; weather errors are smooth, so more change little."""

T = TypeVar("T")
Error = NDArray[np.float32]
Matrix = NDArray[np.float64]


def mean_error(executor: ProcessPoolExecutor, units: Iterable[StoredUnit], field: str) -> Error:
    """Return the mean over `units` of forecast minus truth (lat 90..-90, lon 0..360-d).

    Raises
    ------
    NotThere
        If nothing was kept, or a kept file was changed.
    """
    total, count = None, 0
    for unit in units:
        error = _answer(executor.submit(read_error, unit, field).result())
        total = error.astype(np.float64) if total is None else total + error
        count += 1
    if total is None:
        raise NotThere(f"no forecast of {field} was scored there")
    return np.asarray(total / count, np.float32)


def mean_correlation(executor: ProcessPoolExecutor, groups: Iterable[Sequence[StoredUnit]]) -> Matrix:
    """Return the mean over `groups` of the correlation of errors between the units of a group.

    Parameters
    ----------
    groups
        Units of one lead of one run, one per miner, always in the same order.
    """
    futures = [executor.submit(correlate, list(group)) for group in groups]
    if not futures:
        raise NotThere("no lead was scored for all of these miners")
    matrices = [np.asarray(_answer(future.result()), np.float64) for future in futures]
    return np.asarray(np.mean(matrices, axis=0), np.float64)


def read_error(stored: StoredUnit, field: str) -> Error | str:
    """Return forecast minus truth, or the reason why it cannot be computed."""
    try:
        return _error(stored, field)
    except GaiaError as error:
        return str(error)


def correlate(units: Sequence[StoredUnit]) -> Matrix | str:
    """Return the area-weighted correlation of errors (unit, unit), averaged over the fields."""
    try:
        fields = units[0].unit.fields
        return np.asarray(np.mean([_correlation(units, field) for field in fields], axis=0), np.float64)
    except GaiaError as error:
        return str(error)


def _correlation(units: Sequence[StoredUnit], field: str) -> Matrix:
    rows: list[NDArray[np.float64]] = []
    weights = np.empty(0)
    for unit in units:
        error = _error(unit, field)
        stride = max(1, round((error.size / _MOST_POINTS) ** 0.5))
        cosines = np.cos(np.radians(np.linspace(90.0, -90.0, error.shape[0])))[::stride, None]
        thinned = error[::stride, ::stride].astype(np.float64)
        weights = np.broadcast_to(np.maximum(cosines, 0.0), thinned.shape).ravel()
        rows.append(thinned.ravel())
    errors = np.stack(rows)
    errors -= (errors @ weights / weights.sum())[:, None]
    errors *= np.sqrt(weights)
    lengths = np.sqrt(np.einsum("ij,ij->i", errors, errors))
    errors /= np.where(lengths > 0, lengths, 1.0)[:, None]
    return np.clip(errors @ errors.T, -1.0, 1.0)


def _error(stored: StoredUnit, field: str) -> Error:
    truth_path = stored.unit.truth[field]
    require_digest(Path(truth_path), stored.digests[truth_path])
    store = MinerStore.of(stored.unit)
    shape = store.contract.field_shape
    forecast = store.read_field(field, stored.unit.lead_hours, np.empty(shape, np.float32))
    truth = np.fromfile(truth_path, "<f4").reshape(shape)
    return np.asarray(forecast - truth, np.float32)


def _answer(value: T | str) -> T:
    if isinstance(value, str):
        raise NotThere(f"{value}; inputs are kept for GAIA_KEEP_INPUTS_DAYS")
    return value
