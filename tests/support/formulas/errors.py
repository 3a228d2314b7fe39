"""How far a forecast is from the truth: each measure of errors as a formula over labelled arrays.

The validator computes the same with `kernel` and `measures`, in one pass. Throughout, f is the
forecast, o the truth, c the climatology, w the weights of latitudes; fields have dims
(..., lat, lon), one unit and one grid. A NaN makes the result NaN: no point is left out.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import xarray as xr

from gaia.tasks.defined_tasks.weather.validator.areas import Weighting, area_weights, cosine_weights

Labelled: TypeAlias = xr.DataArray


def bias(forecast: Labelled, truth: Labelled, weights: Weighting = "area") -> Labelled:
    """Mean error (ME) over the globe, positive where the forecast is too high.

    Parameters
    ----------
    forecast, truth : xr.DataArray, dims (..., lat, lon)
        `lat` in degrees north.
    weights
        "area": exact area of each row's cells; "cos": cos(lat), for parity with others.

    Returns
    -------
    xr.DataArray, dims (...)
        ``sum w (f - o) / sum w``; the variable's unit.

    Raises
    ------
    ValueError
        If the coordinates differ.

    References
    ----------
    .. [1] WMO (2019), Manual on the Global Data-processing and Forecasting
       System, WMO-No. 485, appendix 2.2.34.

    Examples
    --------
    >>> import xarray as xr
    >>> field = xr.DataArray([[1.0, -2.0]], {"lat": [0.0], "lon": [0.0, 1.5]}, ("lat", "lon"))
    >>> float(bias(field - 0.5, field))
    -0.5
    """
    return spatial_mean(difference(forecast, truth), weights)


def mae(forecast: Labelled, truth: Labelled, weights: Weighting = "area") -> Labelled:
    """Mean absolute error over the globe.

    Parameters
    ----------
    forecast, truth, weights
        As for `bias`.

    Returns
    -------
    xr.DataArray, dims (...)
        ``sum w |f - o| / sum w``; the variable's unit.

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
    return spatial_mean(abs(difference(forecast, truth)), weights)


def mse(forecast: Labelled, truth: Labelled, weights: Weighting = "area") -> Labelled:
    """Mean squared error over the globe.

    Parameters
    ----------
    forecast, truth, weights
        As for `bias`.

    Returns
    -------
    xr.DataArray, dims (...)
        ``sum w (f - o)^2 / sum w``; the variable's unit squared.

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
    error = difference(forecast, truth)
    return spatial_mean(error * error, weights)


def rmse(forecast: Labelled, truth: Labelled, weights: Weighting = "area") -> Labelled:
    """Root mean square error over the globe.

    Parameters
    ----------
    forecast, truth, weights
        As for `bias`.

    Returns
    -------
    xr.DataArray, dims (...)
        ``sqrt(sum w (f - o)^2 / sum w)``; the variable's unit.

    Raises
    ------
    ValueError
        If the coordinates differ.

    Notes
    -----
    The root is taken last [1]_: to average over further dimensions, average `mse`.

    References
    ----------
    .. [1] Rasp et al. (2024), WeatherBench 2, JAMES 16, doi:10.1029/2023MS004019.

    Examples
    --------
    >>> import xarray as xr
    >>> field = xr.DataArray([[1.0, -2.0]], {"lat": [0.0], "lon": [0.0, 1.5]}, ("lat", "lon"))
    >>> float(rmse(field + 3.0, field))
    3.0
    """
    return mse(forecast, truth, weights) ** 0.5


def vector_rmse(
    forecast: tuple[Labelled, Labelled], truth: tuple[Labelled, Labelled], weights: Weighting = "area"
) -> Labelled:
    """Root mean square length of the error of a wind, given by its two components.

    Parameters
    ----------
    forecast, truth : pairs of xr.DataArray, dims (..., lat, lon)
        Eastward and northward component.
    weights
        As for `bias`.

    Returns
    -------
    xr.DataArray, dims (...)
        ``sqrt(sum w ((uf - uo)^2 + (vf - vo)^2) / sum w)``; m s-1.

    Raises
    ------
    ValueError
        If the coordinates differ.

    References
    ----------
    .. [1] Rasp et al. (2024), WeatherBench 2, JAMES 16, doi:10.1029/2023MS004019, section 3.

    Examples
    --------
    >>> import xarray as xr
    >>> calm = xr.DataArray([[0.0, 0.0]], {"lat": [0.0], "lon": [0.0, 1.5]}, ("lat", "lon"))
    >>> float(vector_rmse((calm + 3.0, calm + 4.0), (calm, calm)))
    5.0
    """
    require_same_grid(*forecast, *truth)
    parts = [mse(ours, theirs, weights) for ours, theirs in zip(forecast, truth, strict=True)]
    return (parts[0] + parts[1]) ** 0.5


def error_sd(forecast: Labelled, truth: Labelled, weights: Weighting = "area") -> Labelled:
    """Standard deviation of the error: what is left of it once its mean is known.

    Parameters
    ----------
    forecast, truth, weights
        As for `bias`.

    Returns
    -------
    xr.DataArray, dims (...)
        ``sqrt(sum w (e - sum w e / sum w)^2 / sum w)`` with ``e = f - o``; the variable's unit.

    Raises
    ------
    ValueError
        If the coordinates differ.

    Examples
    --------
    >>> import xarray as xr
    >>> field = xr.DataArray([[1.0, -2.0]], {"lat": [0.0], "lon": [0.0, 1.5]}, ("lat", "lon"))
    >>> float(error_sd(field + 3.0, field)), float(error_sd(3 * field, field))
    (0.0, 3.0)
    """
    return deviation(difference(forecast, truth), weights)


def clone_distance(forecast: Labelled, other: Labelled, weights: Weighting = "area") -> Labelled:
    """Say how far a forecast is from one it may be a copy of: their mean squared difference.

    Parameters
    ----------
    forecast, other : xr.DataArray, dims (..., lat, lon)
    weights
        As for `bias`.

    Returns
    -------
    xr.DataArray, dims (...)
        ``sum w (f - g)^2 / sum w``; the variable's unit squared.

    Raises
    ------
    ValueError
        If the coordinates differ.

    Examples
    --------
    >>> import xarray as xr
    >>> field = xr.DataArray([[1.0, -2.0]], {"lat": [0.0], "lon": [0.0, 1.5]}, ("lat", "lon"))
    >>> float(clone_distance(field, field)), float(clone_distance(field + 0.5, field))
    (0.0, 0.25)
    """
    return mse(forecast, other, weights)


def spatial_mean(field: Labelled, weights: Weighting = "area") -> Labelled:
    """Average over `lat` and `lon`, each row weighted by its share of the globe; NaN where any value is."""
    latitudes = field["lat"]
    shares = (area_weights if weights == "area" else cosine_weights)(latitudes.values)
    rows = latitudes.copy(data=shares / shares.sum())
    return (field.mean("lon", skipna=False) * rows).sum("lat", skipna=False)


def require_same_grid(*fields: Labelled) -> None:
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


def difference(one: Labelled, other: Labelled) -> Labelled:
    """Subtract fields of one grid in float64."""
    require_same_grid(one, other)
    return in_float64(one) - in_float64(other)


def deviation(field: Labelled, weights: Weighting) -> Labelled:
    """Return the standard deviation over the globe."""
    centred = field - spatial_mean(field, weights)
    return spatial_mean(centred * centred, weights) ** 0.5


def in_float64(field: Labelled) -> Labelled:
    """Return the field in the type all sums are made in."""
    return field.astype(np.float64)
