"""How far a forecast is from the truth: every measure as a formula over labelled arrays, for people.

The pipeline computes the same with `kernel` and `measures`, in one pass.
Throughout, f is the forecast, o the truth, c the climatology, w the weights of
latitudes; fields have dims (..., lat, lon), one unit and one grid. A NaN makes
the result NaN: no point is left out.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import xarray as xr

from gaia.tasks.defined_tasks.weather.validator.areas import Weighting, area_weights, cosine_weights
from gaia.tasks.defined_tasks.weather.validator.measures import LEAST_DEVIATION, best_blend

Labelled: TypeAlias = xr.DataArray

SPACE = ("lat", "lon")


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
    return spatial_mean(_difference(forecast, truth), weights)


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
    return spatial_mean(abs(_difference(forecast, truth)), weights)


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
    error = _difference(forecast, truth)
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
    return _deviation(_difference(forecast, truth), weights)


def acc(
    forecast: Labelled,
    truth: Labelled,
    climatology: Labelled,
    weights: Weighting = "area",
    *,
    centred: bool = True,
) -> Labelled:
    """Correlate forecast and true departures from climatology (ACC).

    Parameters
    ----------
    forecast, truth, climatology : xr.DataArray, dims (..., lat, lon)
        Valid at the same times.
    weights
        As for `bias`.
    centred
        Whether the spatial mean of each anomaly is taken off first, as the World
        Meteorological Organization asks [1]_; WeatherBench 2 does not [2]_.

    Returns
    -------
    xr.DataArray, dims (...)
        In [-1, 1]. NaN where either anomaly is constant (if not centred: zero),
        as no correlation is defined there.

    Raises
    ------
    ValueError
        If the coordinates differ.

    References
    ----------
    .. [1] WMO (2019), Manual on the Global Data-processing and Forecasting
       System, WMO-No. 485, appendix 2.2.34.
    .. [2] Rasp et al. (2024), WeatherBench 2, JAMES 16, doi:10.1029/2023MS004019.

    Examples
    --------
    >>> import xarray as xr
    >>> field = xr.DataArray([[1.0, -2.0]], {"lat": [0.0], "lon": [0.0, 1.5]}, ("lat", "lon"))
    >>> round(float(acc(field, -field, climatology=0 * field)), 12)
    -1.0
    """
    ours, theirs = _difference(forecast, climatology), _difference(truth, climatology)
    return _correlation(ours, theirs, weights, centred=centred)


def pattern_correlation(forecast: Labelled, other: Labelled, weights: Weighting = "area") -> Labelled:
    """Correlate two fields as they are: do they look like the same weather at all?

    Parameters
    ----------
    forecast, other : xr.DataArray, dims (..., lat, lon)
    weights
        As for `bias`.

    Returns
    -------
    xr.DataArray, dims (...)
        Weighted Pearson correlation in [-1, 1]; NaN where either field is constant.

    Raises
    ------
    ValueError
        If the coordinates differ.

    Examples
    --------
    >>> import xarray as xr
    >>> field = xr.DataArray([[1.0, -2.0]], {"lat": [0.0], "lon": [0.0, 1.5]}, ("lat", "lon"))
    >>> round(float(pattern_correlation(field, 2 * field + 5.0)), 12)
    1.0
    """
    require_same_grid(forecast, other)
    return _correlation(_in_float64(forecast), _in_float64(other), weights, centred=True)


def activity(
    forecast: Labelled, truth: Labelled, climatology: Labelled, weights: Weighting = "area"
) -> Labelled:
    """Compare how much a forecast and the truth depart from climatology: below 1 it is too smooth.

    Parameters
    ----------
    forecast, truth, climatology, weights
        As for `acc`.

    Returns
    -------
    xr.DataArray, dims (...)
        ``sd(f - c) / sd(o - c)``; NaN where the truth's anomaly is constant.

    Raises
    ------
    ValueError
        If the coordinates differ.

    References
    ----------
    .. [1] Ben Bouallegue et al. (2024), The rise of data-driven weather
       forecasting, BAMS 105, doi:10.1175/BAMS-D-23-0162.1.

    Examples
    --------
    >>> import xarray as xr
    >>> field = xr.DataArray([[1.0, -2.0]], {"lat": [0.0], "lon": [0.0, 1.5]}, ("lat", "lon"))
    >>> float(activity(0.5 * field, field, climatology=0 * field))
    0.5
    """
    ours = _deviation(_difference(forecast, climatology), weights)
    theirs = _deviation(_difference(truth, climatology), weights)
    return ours / theirs.where(theirs > LEAST_DEVIATION)


def mse_skill(
    forecast: Labelled, truth: Labelled, *references: Labelled, weights: Weighting = "area"
) -> Labelled:
    """Say which part of a reference's squared error a forecast avoids.

    Parameters
    ----------
    forecast, truth : xr.DataArray, dims (..., lat, lon)
    references : one to three of xr.DataArray, dims (..., lat, lon)
        Climatology, GFS, persistence. Several: the blend of them that, with
        hindsight, has the least error (`measures.best_blend`).
    weights
        As for `bias`.

    Returns
    -------
    xr.DataArray, dims (...)
        ``1 - mse(f, o) / mse(reference, o)``; at most 1, NaN where the reference is perfect.

    Raises
    ------
    ValueError
        If the coordinates differ, or there is no reference, or more than three.

    References
    ----------
    .. [1] Murphy (1988), Skill scores based on the mean square error, Mon. Wea.
       Rev. 116, 2417-2424.

    Examples
    --------
    >>> import xarray as xr
    >>> field = xr.DataArray([[1.0, -2.0]], {"lat": [0.0], "lon": [0.0, 1.5]}, ("lat", "lon"))
    >>> float(mse_skill(field + 1.0, field, field + 2.0))
    0.75
    >>> float(mse_skill(field + 1.0, field, field + 2.0, field - 2.0))
    nan
    """
    if not 1 <= len(references) <= 3:
        raise ValueError(f"{len(references)} references, not one to three")
    errors = [_difference(reference, truth) for reference in references]
    if len(errors) == 1:
        least = spatial_mean(errors[0] * errors[0], weights)
    else:
        pairs = [(i, j) for i in range(len(errors)) for j in range(i, len(errors))]
        products = [spatial_mean(errors[i] * errors[j], weights) for i, j in pairs]

        def blended(*values: float) -> float | None:
            return best_blend({(str(i), str(j)): v for (i, j), v in zip(pairs, values, strict=True)})

        least = xr.apply_ufunc(blended, *products, vectorize=True, output_dtypes=[float])
    return 1.0 - mse(forecast, truth, weights) / least.where(least > 0)


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


def _difference(one: Labelled, other: Labelled) -> Labelled:
    require_same_grid(one, other)
    return _in_float64(one) - _in_float64(other)


def _correlation(ours: Labelled, theirs: Labelled, weights: Weighting, *, centred: bool) -> Labelled:
    if centred:
        ours, theirs = ours - spatial_mean(ours, weights), theirs - spatial_mean(theirs, weights)
    our_square, their_square = spatial_mean(ours * ours, weights), spatial_mean(theirs * theirs, weights)
    varies = (our_square > LEAST_DEVIATION**2) & (their_square > LEAST_DEVIATION**2)
    product = (our_square * their_square).where(varies) ** 0.5
    return (spatial_mean(ours * theirs, weights) / product).clip(-1.0, 1.0)


def _deviation(field: Labelled, weights: Weighting) -> Labelled:
    centred = field - spatial_mean(field, weights)
    return spatial_mean(centred * centred, weights) ** 0.5


def _in_float64(field: Labelled) -> Labelled:
    return field.astype(np.float64)
