"""Computes all sums that measures need in one pass over the fields, with equal bits on every machine.

A row is summed in 16 lanes: lane 3 takes columns 3, 19, 35 ... in that order. The lanes are then
added in halves, and rows one after the other. The compiled code fixes this order as vectors of 16.
Each processor executes them with its own width; nothing is reordered or contracted. The result
therefore depends neither on the processor nor on other processes.

An image ships this code as a library. Elsewhere numba compiles it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gaia.tasks.defined_tasks.weather.validator.shipped_code import shipped_function
from gaia.tasks.defined_tasks.weather.validator.sums import LANES, ForecastSums, PersistenceSums, TruthSums

__all__ = [
    "LANES",
    "ForecastSums",
    "PersistenceSums",
    "Table",
    "TruthSums",
    "Values",
    "sum_both",
    "sum_forecast",
    "sum_persistence",
    "sum_truth",
    "weigh",
]

Values = NDArray[Any]
"""A field, shape (lat, lon), C order: float32, or float64 for comparisons."""
Table = NDArray[np.float64]
"""Table of sums: one row per latitude, one column per sum."""


def sum_truth(truth: Values, climatology: Values, gfs: Values) -> Table:
    """Return the sums without the forecast, row by row; columns as in `TruthSums`.

    All fields have one type and shape. For a missing field, here and below, pass the climatology:
    it is already in the cache, and its sums are not used. A sum is not finite if a field is not.
    """
    table = np.empty((truth.shape[0], len(TruthSums._fields)))
    _pass("truth", truth)(truth, climatology, gfs, table)
    return table


def sum_persistence(truth: Values, climatology: Values, gfs: Values, persistence: Values) -> Table:
    """Return the sums with persistence, row by row; columns as in `PersistenceSums`."""
    table = np.empty((truth.shape[0], len(PersistenceSums._fields)))
    _pass("persistence", truth)(truth, climatology, gfs, persistence, table)
    return table


def sum_forecast(forecast: Values, truth: Values, climatology: Values, gfs: Values) -> Table:
    """Return the sums with one forecast, row by row.

    Returns
    -------
    Table
        Columns as in `ForecastSums`, then the smallest and the largest value, ignoring NaN.
    """
    table = np.empty((truth.shape[0], len(ForecastSums._fields) + 2))
    _pass("forecast", truth)(forecast, truth, climatology, gfs, table)
    return table


def sum_both(forecast: Values, truth: Values, climatology: Values, gfs: Values) -> tuple[Table, Table]:
    """Return the results of `sum_forecast` and `sum_truth`, bit for bit, but read each field only once."""
    of_forecast = np.empty((truth.shape[0], len(ForecastSums._fields) + 2))
    of_truth = np.empty((truth.shape[0], len(TruthSums._fields)))
    _pass("both", truth)(forecast, truth, climatology, gfs, of_forecast, of_truth)
    return of_forecast, of_truth


def weigh(table: Table, weights: NDArray[np.float64]) -> list[float]:
    """Return the weighted sum of the rows of a table, added from the first to the last."""
    total = np.zeros(table.shape[1])
    _function("weigh")(table, weights, total)
    sums: list[float] = total.tolist()
    return sums


def _pass(name: str, truth: Values) -> Callable[..., None]:
    return _function(f"{name}_{truth.dtype.char}")


@cache
def _function(name: str) -> Callable[..., None]:
    """Return a function of the kernel: the shipped one, else the one that numba compiles."""
    shipped = shipped_function(name)
    if shipped is not None:
        return shipped
    from gaia.tasks.defined_tasks.weather.validator.compiled import compiled
    from gaia.tasks.defined_tasks.weather.validator.kernel_code import programs

    return compiled(*programs()[name])


for _name in ("weigh", "truth_f", "persistence_f", "forecast_f", "both_f"):
    _function(_name)
