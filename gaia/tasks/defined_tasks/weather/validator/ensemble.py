"""How good an ensemble of forecasts is: the continuous ranked probability score."""

from __future__ import annotations

import numpy as np

from gaia.tasks.defined_tasks.weather.validator.areas import Weighting
from gaia.tasks.defined_tasks.weather.validator.metrics import Labelled, spatial_mean

MEMBER = "member"


def crps(ensemble: Labelled, truth: Labelled, weights: Weighting = "area", *, fair: bool = True) -> Labelled:
    """Continuous ranked probability score of an ensemble, averaged over the globe.

    Parameters
    ----------
    ensemble : xr.DataArray, dims (member, ..., lat, lon), in any order
        Forecasts that are meant to be equally likely, in one unit.
    truth : xr.DataArray, dims (..., lat, lon)
        On the same grid.
    weights
        "area": exact area of each row's cells; "cos": cos(lat).
    fair
        As for `crps_of_points`.

    Returns
    -------
    xr.DataArray, dims (...)
        The variable's unit; less is better. For one member, not fair, the mean absolute error.

    Raises
    ------
    ValueError
        If the coordinates differ, or there is but one member to be fair to.

    Examples
    --------
    >>> import xarray as xr
    >>> truth = xr.DataArray([[0.0, 0.0]], {"lat": [0.0], "lon": [0.0, 1.5]}, ("lat", "lon"))
    >>> both = xr.concat([truth - 1.0, truth + 1.0], "member")
    >>> float(crps(both, truth)), float(crps(both, truth, fair=False))
    (0.0, 0.5)
    """
    return spatial_mean(crps_of_points(ensemble, truth, fair=fair), weights)


def crps_of_points(ensemble: Labelled, truth: Labelled, *, fair: bool = True) -> Labelled:
    """Continuous ranked probability score at every point.

    Parameters
    ----------
    ensemble : xr.DataArray, dims (member, ...), in any order
    truth : xr.DataArray, dims (...)
        On the same points; a NaN on either side gives NaN.
    fair
        Whether to divide the spread by ``m (m - 1)``, so that a small ensemble
        is not held to be worse for being small [2]_, or by ``m^2``, which is
        the score of the ensemble as it stands [1]_.

    Returns
    -------
    xr.DataArray, dims (...)
        ``mean |x_i - o| - sum_ij |x_i - x_j| / (2 m (m - 1))``; the variable's unit.

    Raises
    ------
    ValueError
        If the coordinates differ, or there is but one member to be fair to.

    Notes
    -----
    The double sum is had from the members in order of size:
    ``sum_ij |x_i - x_j| = 2 sum_k (2k - m - 1) x_(k)``.

    References
    ----------
    .. [1] Gneiting and Raftery (2007), Strictly proper scoring rules, JASA 102,
       359-378, doi:10.1198/016214506000001437.
    .. [2] Ferro (2014), Fair scores for ensemble forecasts, Q. J. R. Meteorol.
       Soc. 140, 1917-1923, doi:10.1002/qj.2270.
    """
    members = ensemble.sizes[MEMBER]
    if fair and members < 2:
        raise ValueError("a fair score needs two members")
    values = ensemble.transpose(MEMBER, *truth.dims)
    if not values.isel({MEMBER: 0}, drop=True).coords.to_dataset().equals(truth.coords.to_dataset()):
        raise ValueError("ensemble and truth are not on one grid")
    observed = truth.values.astype(np.float64)
    given = np.sort(values.values.astype(np.float64), axis=0)
    ranks = 2.0 * np.arange(1, members + 1) - members - 1.0
    # Against the truth, so that what is far from zero loses no digits.
    spread = np.tensordot(ranks, given - observed, axes=1)
    distance = np.abs(given - observed).mean(axis=0)
    return truth.copy(data=distance - spread / (members * ((members - 1) if fair else members)))
