"""How far a forecast is from the truth: every measure, as formulas over arrays."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    import xarray as xr

Floats = NDArray[np.float64]

SPACE = ("lat", "lon")
LEAST_DEVIATION = 1e-12
"""A field whose weighted standard deviation is below this has no correlation with anything."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldComponents:
    """All measures of one field at one lead; None where a measure is not defined or not asked for."""

    rmse: float
    mse: float
    mae: float
    bias: float
    acc: float | None
    skill_climatology: float | None
    skill_gfs: float | None
    pattern_correlation: float | None
    clone_distance: float | None


def field_components(
    forecast: NDArray[np.floating],
    truth: NDArray[np.floating],
    climatology: NDArray[np.floating],
    baseline: NDArray[np.floating] | None = None,
) -> FieldComponents:
    """Measure one field of a forecast against the truth.

    Parameters
    ----------
    forecast, truth, climatology : float array, shape (lat, lon)
        One variable in one unit, on one even grid from 90 to -90 degrees north
        with both poles; all finite. float32 is summed in float64.
    baseline : float array, shape (lat, lon), optional
        The GFS forecast for the same lead; without it the three measures that
        need it are None.

    Returns
    -------
    FieldComponents
        In the field's own unit (`mse`, `clone_distance`: squared); correlations
        in [-1, 1]; skills at most 1.

    Notes
    -----
    Means are weighted by cos(lat). Both skills are those of rule set gaia-2.9:
    the forecast is first corrected by its *unweighted* mean error, which uses
    the truth, and the reference is not; a forecast that is the truth plus a
    constant has skill 1. `rmse`, `mse`, `mae` and `bias` are of the forecast as given.
    """
    given, true, usual = (np.asarray(field, np.float64) for field in (forecast, truth, climatology))
    rows = row_weights(given.shape[0])
    error = given - true
    squared = _mean(error * error, rows)
    corrected = _mean((error - error.mean()) ** 2, rows)
    skill_gfs = pattern = distance = None
    if baseline is not None:
        reference = np.asarray(baseline, np.float64)
        skill_gfs = skill(corrected, _mean((reference - true) ** 2, rows))
        pattern = _correlation(given, reference, rows)
        distance = _mean((given - reference) ** 2, rows)
    return FieldComponents(
        rmse=math.sqrt(squared),
        mse=squared,
        mae=_mean(np.abs(error), rows),
        bias=_mean(error, rows),
        acc=_correlation(given - usual, true - usual, rows),
        skill_climatology=skill(corrected, _mean((usual - true) ** 2, rows)),
        skill_gfs=skill_gfs,
        pattern_correlation=pattern,
        clone_distance=distance,
    )


def skill(mse: float, mse_reference: float) -> float | None:
    """Return ``1 - mse / mse_reference``; None where the reference is perfect.

    Examples
    --------
    >>> skill(1.0, 4.0), skill(4.0, 4.0), skill(1.0, 0.0)
    (0.75, 0.0, None)
    """
    return 1.0 - mse / mse_reference if mse_reference > 0 else None


def cosine_weights(latitudes: ArrayLike) -> Floats:
    """Return each latitude's share of area, ``max(cos(lat), 0)``, not normalised.

    Parameters
    ----------
    latitudes : float array
        Degrees north.

    Examples
    --------
    >>> cosine_weights([0.0, 60.0]).round(12).tolist()
    [1.0, 0.5]
    """
    return np.maximum(np.cos(np.deg2rad(np.asarray(latitudes, np.float64))), 0.0)


def row_weights(latitudes: int) -> Floats:
    """Return the weights of the rows of an even grid from pole to pole, summing to 1."""
    weights = cosine_weights(np.linspace(90.0, -90.0, latitudes))
    return np.asarray(weights / weights.sum(), np.float64)


def mse(forecast: xr.DataArray, truth: xr.DataArray) -> xr.DataArray:
    """Mean squared error over the globe.

    Parameters
    ----------
    forecast, truth : xr.DataArray, dims (..., lat, lon)
        One variable in one unit on one grid. `lat` in degrees north. A NaN
        makes the result NaN; no point is left out.

    Returns
    -------
    xr.DataArray, dims (...)
        Weighted by cos(lat); the variable's unit squared.

    Raises
    ------
    ValueError
        If the coordinates differ.

    Examples
    --------
    >>> import xarray as xr
    >>> field = xr.DataArray([[1.0, -2.0]], {"lat": [0.0], "lon": [0.0, 1.5]}, ("lat", "lon"))
    >>> float(mse(3 * field, field))
    10.0
    """
    require_same_grid(forecast, truth)
    error = _in_float64(forecast) - _in_float64(truth)
    return _spatial_mean(error * error)


def rmse(forecast: xr.DataArray, truth: xr.DataArray) -> xr.DataArray:
    """Root mean square error over the globe.

    Parameters
    ----------
    forecast, truth : xr.DataArray, dims (..., lat, lon)
        One variable in one unit on one grid. `lat` in degrees north. A NaN
        makes the result NaN; no point is left out.

    Returns
    -------
    xr.DataArray, dims (...)
        ``sqrt(sum w (f - o)^2 / sum w)`` with ``w = cos(lat)``; the variable's unit.

    Raises
    ------
    ValueError
        If the coordinates differ.

    Notes
    -----
    The root is taken last: to average over further dimensions, average `mse`.

    Examples
    --------
    >>> import xarray as xr
    >>> field = xr.DataArray([[1.0, -2.0]], {"lat": [0.0], "lon": [0.0, 1.5]}, ("lat", "lon"))
    >>> float(rmse(field + 3.0, field))
    3.0
    """
    return mse(forecast, truth) ** 0.5


def mae(forecast: xr.DataArray, truth: xr.DataArray) -> xr.DataArray:
    """Mean absolute error over the globe.

    Parameters
    ----------
    forecast, truth : xr.DataArray, dims (..., lat, lon)
        One variable in one unit on one grid. `lat` in degrees north. A NaN
        makes the result NaN; no point is left out.

    Returns
    -------
    xr.DataArray, dims (...)
        Weighted by cos(lat); the variable's unit.

    Raises
    ------
    ValueError
        If the coordinates differ.

    Examples
    --------
    >>> import xarray as xr
    >>> field = xr.DataArray([[1.0, -2.0]], {"lat": [0.0], "lon": [0.0, 1.5]}, ("lat", "lon"))
    >>> float(mae(2 * field, field))
    1.5
    """
    require_same_grid(forecast, truth)
    return _spatial_mean(abs(_in_float64(forecast) - _in_float64(truth)))


def bias(forecast: xr.DataArray, truth: xr.DataArray) -> xr.DataArray:
    """Mean error over the globe, positive where the forecast is too high.

    Parameters
    ----------
    forecast, truth : xr.DataArray, dims (..., lat, lon)
        One variable in one unit on one grid. `lat` in degrees north. A NaN
        makes the result NaN; no point is left out.

    Returns
    -------
    xr.DataArray, dims (...)
        ``sum w (f - o) / sum w`` with ``w = cos(lat)``; the variable's unit.

    Raises
    ------
    ValueError
        If the coordinates differ.

    Examples
    --------
    >>> import xarray as xr
    >>> field = xr.DataArray([[1.0, -2.0]], {"lat": [0.0], "lon": [0.0, 1.5]}, ("lat", "lon"))
    >>> float(bias(field - 0.5, field))
    -0.5
    """
    require_same_grid(forecast, truth)
    return _spatial_mean(_in_float64(forecast) - _in_float64(truth))


def acc(forecast: xr.DataArray, truth: xr.DataArray, climatology: xr.DataArray) -> xr.DataArray:
    """Correlate forecast and true departures from climatology (ACC).

    Parameters
    ----------
    forecast, truth, climatology : xr.DataArray, dims (..., lat, lon)
        One variable in one unit, valid at the same times, on one grid.
        `lat` in degrees north. A NaN makes the result NaN.

    Returns
    -------
    xr.DataArray, dims (...)
        Area-weighted, centred ACC in [-1, 1]. NaN where either anomaly field
        is constant, as no correlation is defined there.

    Raises
    ------
    ValueError
        If the coordinates differ.

    Notes
    -----
    Centred: the spatial mean of each anomaly is removed, as the World
    Meteorological Organization asks in [1]_; weights are cos(lat).

    References
    ----------
    .. [1] WMO (2019), Manual on the Global Data-processing and Forecasting
       System, WMO-No. 485, appendix 2.2.34.

    Examples
    --------
    >>> import xarray as xr
    >>> field = xr.DataArray([[1.0, -2.0]], {"lat": [0.0], "lon": [0.0, 1.5]}, ("lat", "lon"))
    >>> round(float(acc(field, -field, climatology=0 * field)), 12)
    -1.0
    """
    require_same_grid(forecast, truth, climatology)
    usual = _in_float64(climatology)
    ours, theirs = _in_float64(forecast) - usual, _in_float64(truth) - usual
    ours, theirs = ours - _spatial_mean(ours), theirs - _spatial_mean(theirs)
    our_variance, their_variance = _spatial_mean(ours * ours), _spatial_mean(theirs * theirs)
    varies = (our_variance > LEAST_DEVIATION**2) & (their_variance > LEAST_DEVIATION**2)
    product = (our_variance * their_variance).where(varies) ** 0.5
    return (_spatial_mean(ours * theirs) / product).clip(-1.0, 1.0)


def require_same_grid(*fields: xr.DataArray) -> None:
    """Refuse fields that xarray would quietly cut down to the points they share.

    Raises
    ------
    ValueError
        If dimensions or coordinates differ.
    """
    first = fields[0].coords.to_dataset()
    for field in fields[1:]:
        if field.dims != fields[0].dims or not field.coords.to_dataset().equals(first):
            raise ValueError("fields are not on one grid")


def _mean(values: Floats, rows: Floats) -> float:
    return float(rows @ values.mean(axis=1))


def _correlation(one: Floats, other: Floats, rows: Floats) -> float | None:
    """Weighted Pearson correlation, or None where either field is constant."""
    one, other = one - _mean(one, rows), other - _mean(other, rows)
    deviation, other_deviation = math.sqrt(_mean(one * one, rows)), math.sqrt(_mean(other * other, rows))
    if deviation < LEAST_DEVIATION or other_deviation < LEAST_DEVIATION:
        return None
    return min(1.0, max(-1.0, _mean(one * other, rows) / (deviation * other_deviation)))


def _in_float64(field: xr.DataArray) -> xr.DataArray:
    return field.astype(np.float64)


def _spatial_mean(field: xr.DataArray) -> xr.DataArray:
    latitudes = field["lat"]
    weights = latitudes.copy(data=cosine_weights(latitudes.values))
    total = weights.sum() * field.sizes["lon"]
    return (field * weights).sum(SPACE, skipna=False) / total
