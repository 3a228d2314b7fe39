"""How a forecast compares with the truth's anomaly and with other forecasts: formulas over labelled arrays."""

from __future__ import annotations

import xarray as xr

from gaia.tasks.defined_tasks.weather.validator.areas import Weighting
from gaia.tasks.defined_tasks.weather.validator.blends import best_blend
from gaia.tasks.defined_tasks.weather.validator.measures import LEAST_DEVIATION
from tests.support.formulas.errors import (
    Labelled,
    deviation,
    difference,
    in_float64,
    mse,
    require_same_grid,
    spatial_mean,
)


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
    ours, theirs = difference(forecast, climatology), difference(truth, climatology)
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
    return _correlation(in_float64(forecast), in_float64(other), weights, centred=True)


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
    ours = deviation(difference(forecast, climatology), weights)
    theirs = deviation(difference(truth, climatology), weights)
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
        hindsight, has the least error (`blends.best_blend`).
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
    errors = [difference(reference, truth) for reference in references]
    if len(errors) == 1:
        least = spatial_mean(errors[0] * errors[0], weights)
    else:
        pairs = [(i, j) for i in range(len(errors)) for j in range(i, len(errors))]
        products = [spatial_mean(errors[i] * errors[j], weights) for i, j in pairs]

        def blended(*values: float) -> float | None:
            return best_blend({(str(i), str(j)): v for (i, j), v in zip(pairs, values, strict=True)})

        least = xr.apply_ufunc(blended, *products, vectorize=True, output_dtypes=[float])
    return 1.0 - mse(forecast, truth, weights) / least.where(least > 0)


def _correlation(ours: Labelled, theirs: Labelled, weights: Weighting, *, centred: bool) -> Labelled:
    if centred:
        ours, theirs = ours - spatial_mean(ours, weights), theirs - spatial_mean(theirs, weights)
    our_square, their_square = spatial_mean(ours * ours, weights), spatial_mean(theirs * theirs, weights)
    varies = (our_square > LEAST_DEVIATION**2) & (their_square > LEAST_DEVIATION**2)
    product = (our_square * their_square).where(varies) ** 0.5
    return (spatial_mean(ours * theirs, weights) / product).clip(-1.0, 1.0)
