"""Example of a handler: `handle_day1_scoring`, day-1 measures of a forecast in a zarr store of ours."""

from __future__ import annotations

import math
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from gaia.tasks.defined_tasks.weather.validator.measures import References
from gaia.tasks.defined_tasks.weather.validator.own_fields import require_plausible, variable_of
from gaia.validator.utils.errors import MinerFault, OwnFailure

if TYPE_CHECKING:
    from gaia.tasks.defined_tasks.weather.validator.areas import Floats
    from gaia.tasks.defined_tasks.weather.validator.kernel import Values


def handle_day1_scoring(miner_path: str, gfs_path: str, clim_path: str) -> dict[str, float]:
    """Measure a forecast in a zarr store against the GFS analysis in another.

    Only for stores of ours; a miner's store is read by `reading.chunks` alone.

    Parameters
    ----------
    miner_path, gfs_path : str
        Zarr stores of fields over (..., lat, lon), named as in `variables.py`.
        Every known field of the analysis is measured.
    clim_path : str
        Zarr store of the climatology for the same time; it may be missing.

    Returns
    -------
    dict
        ``day1_<measure>_<field>`` with the measures ``rmse``, ``mae`` and ``bias`` in the field's
        unit and, with a climatology, ``acc`` (NaN if undefined). Other dimensions are averaged
        before any root.

    Raises
    ------
    OwnFailure
        If the analysis or climatology is damaged.
    MinerFault
        If the forecast lacks a field or a grid point, or holds a value that is not finite or
        cannot be weather.
    """
    with ExitStack() as stack:
        forecast, truth = (stack.enter_context(_open(path)) for path in (miner_path, gfs_path))
        climatology = stack.enter_context(_open(clim_path)) if Path(clim_path).exists() else None
        names = [str(name) for name in truth.data_vars if _is_known(str(name))]
        if not names:
            raise OwnFailure(f"the analysis holds no field of ours: {gfs_path}")
        scores: dict[str, float] = {}
        for name in names:
            for measure, value in _measures(forecast, truth, climatology, name).items():
                scores[f"day1_{measure}_{name}"] = value
        return scores


def require_comparable(forecast: xr.Dataset, truth: xr.Dataset, name: str) -> None:
    """Raise unless forecast and truth can be compared at every point.

    xarray would silently compare only the points that both fields share. A miner could then
    earn a good score by leaving out difficult points.

    Raises
    ------
    OwnFailure
        If our own truth is damaged. Checked first: blame needs evidence.
    MinerFault
        If the forecast lacks the variable, a grid point, or a finite value.
    """
    if name not in truth or not np.isfinite(truth[name]).all():
        raise OwnFailure(f"truth for {name} is incomplete")
    if name not in forecast:
        raise MinerFault(f"forecast lacks {name}")
    same_dims = forecast[name].dims == truth[name].dims
    if not same_dims or not forecast[name].coords.to_dataset().equals(truth[name].coords.to_dataset()):
        raise MinerFault(f"forecast of {name} is not on the requested grid")
    if not np.isfinite(forecast[name]).all():
        raise MinerFault(f"forecast of {name} holds values that are not finite")


def _open(path: str) -> xr.Dataset:
    try:
        return xr.open_dataset(path, engine="zarr", chunks=None, consolidated=False)
    except (OSError, ValueError, KeyError) as error:
        raise OwnFailure(f"{path} cannot be opened: {error}") from error


def _is_known(name: str) -> bool:
    try:
        variable_of(name)
    except ValueError:
        return False
    return True


def _measures(
    forecast: xr.Dataset, truth: xr.Dataset, climatology: xr.Dataset | None, name: str
) -> dict[str, float]:
    require_comparable(forecast, truth, name)
    fields = [forecast, truth]
    if climatology is not None:
        try:
            require_comparable(truth, climatology, name)
        except MinerFault as fault:
            raise OwnFailure(f"climatology and analysis are not alike: {fault}") from fault
        fields.append(climatology)
    latitudes = truth["lat"].values.astype(np.float64)
    shape = (-1, *truth[name].shape[-2:])
    planes = zip(*(dataset[name].values.reshape(shape) for dataset in fields), strict=True)
    measured = [_measure_plane(plane, latitudes, name) for plane in planes]
    scores = {measure: fmean(each[measure] for each in measured) for measure in ("mse", "mae", "bias")}
    scores = {"rmse": math.sqrt(scores.pop("mse")), **scores}
    if climatology is not None:
        scores["acc"] = fmean(math.nan if each["acc"] is None else each["acc"] for each in measured)
    return scores


def _measure_plane(plane: tuple[Values, ...], latitudes: Floats, name: str) -> dict[str, Any]:
    forecast, truth, climatology = (*plane, plane[1])[:3]
    compared = References(truth, climatology, latitudes=latitudes).compare(forecast)
    require_plausible(compared.minimum, compared.maximum, name, name, is_finite=True)
    return asdict(compared.components("plain"))
