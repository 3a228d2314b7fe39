"""Handlers: measure a miner's forecast against the truth; paths in, numbers out."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import xarray as xr
from numpy.typing import NDArray

from gaia.tasks.defined_tasks.weather.validator import metrics
from gaia.tasks.defined_tasks.weather.validator.chunks import Field
from gaia.tasks.defined_tasks.weather.validator.verification import StoreRequest
from gaia.tasks.defined_tasks.weather.variables import VARIABLES, split_field
from gaia.validator.utils.errors import MinerFault, TransientError


class ScoreRequest(StoreRequest, frozen=True, kw_only=True):
    """One lead of one forecast, and our own fields to hold it against.

    Our fields are files of little-endian float32, (lat, lon) in C order.
    """

    lead_hours: int
    fields: list[str]
    truth: dict[str, str]
    """Field -> path."""
    climatology: dict[str, str]
    baseline: dict[str, str] = msgspec.field(default_factory=dict)
    """The GFS forecast for the same valid time; only on day 1."""


class DescribeRequest(StoreRequest, frozen=True, kw_only=True):
    """One lead of one forecast, to be looked at."""

    lead_hours: int
    fields: list[str]


def score_day1(payload: dict[str, Any]) -> dict[str, Any]:
    """Measure one lead against the GFS analysis, with the GFS forecast as baseline.

    Parameters
    ----------
    payload
        A `ScoreRequest` with a baseline for every field.

    Returns
    -------
    dict
        ``components``: per field the values of `metrics.FieldComponents` with
        ``field`` and ``lead_hours``; ``field_digests``: field -> sha256 (hex) of
        its decoded float32 values, equal for equal forecasts however packed.

    Raises
    ------
    TransientError
        If a field of ours is missing or damaged. Checked first: blame needs evidence.
    MinerFault
        If the forecast is not what its manifest promised, lacks a field, or holds
        a value that is not finite or cannot be weather.
    """
    return _score(msgspec.convert(payload, ScoreRequest), with_baseline=True)


def score_era5_final(payload: dict[str, Any]) -> dict[str, Any]:
    """Measure one lead against ERA5.

    As `score_day1`, without a baseline; ``skill_gfs``, ``pattern_correlation``
    and ``clone_distance`` are None.
    """
    return _score(msgspec.convert(payload, ScoreRequest), with_baseline=False)


def describe_forecast(payload: dict[str, Any]) -> dict[str, Any]:
    """Say what a forecast holds, as evidence kept when it is rejected; blames nobody.

    Parameters
    ----------
    payload
        A `DescribeRequest`.

    Returns
    -------
    dict
        ``fields``: field -> ``finite_fraction``; ``minimum``, ``maximum`` and
        ``mean`` (unweighted) of the finite values, in the field's unit, None if
        there are none; ``plausible``: all values can be weather; ``problem``:
        why the field could not be read, else None.
    """
    request = msgspec.convert(payload, DescribeRequest)
    store = request.store()
    out = np.empty(store.contract.field_shape, np.float32)
    described: dict[str, Any] = {}
    for field in request.fields:
        try:
            described[field] = _describe(store.read_field(field, request.lead_hours, out), field)
        except MinerFault as fault:
            described[field] = {**_describe(np.empty(0, np.float32), field), "problem": str(fault)}
    return {"fields": described}


def handle_day1_scoring(miner_path: str, gfs_path: str, clim_path: str) -> dict[str, float]:
    """Measure a forecast held as zarr against the GFS analysis held as zarr.

    For stores of ours; a miner's own store is only ever read by `chunks`.

    Parameters
    ----------
    miner_path, gfs_path : str
        Zarr stores of fields over (..., lat, lon), named as in `variables.py`.
        Every known field of the analysis is measured.
    clim_path : str
        Zarr store of the climatology for the same time; may not exist.

    Returns
    -------
    dict
        ``day1_<measure>_<field>`` with measures ``rmse``, ``mae``, ``bias`` in
        the field's unit and, where there is a climatology, ``acc`` (NaN where
        undefined). Over further dimensions the mean is taken, before any root.

    Raises
    ------
    TransientError
        If the analysis or climatology is damaged.
    MinerFault
        If the forecast lacks a field, a grid point or a finite value, or holds a
        value that cannot be weather.
    """
    with ExitStack() as stack:
        forecast, truth = (stack.enter_context(_open(path)) for path in (miner_path, gfs_path))
        climatology = stack.enter_context(_open(clim_path)) if Path(clim_path).exists() else None
        names = [str(name) for name in truth.data_vars if _is_known(str(name))]
        if not names:
            raise TransientError(f"the analysis holds no field of ours: {gfs_path}")
        scores: dict[str, float] = {}
        for name in names:
            require_comparable(forecast, truth, name)
            _require_plausible(forecast[name].values, name, name)
            for measure, value in _measures(forecast[name], truth[name], climatology).items():
                scores[f"day1_{measure}_{name}"] = value
        return scores


def require_comparable(forecast: xr.Dataset, truth: xr.Dataset, name: str) -> None:
    """Refuse to score what cannot be scored point for point.

    xarray would quietly compare only the points both fields share, and skip
    the rest; a miner could then earn a good score by leaving out what is hard.

    Raises
    ------
    TransientError
        If our own truth is damaged. Checked first: blame needs evidence.
    MinerFault
        If the forecast lacks the variable, a grid point, or a finite value.
    """
    if name not in truth or not np.isfinite(truth[name]).all():
        raise TransientError(f"truth for {name} is incomplete")
    if name not in forecast:
        raise MinerFault(f"forecast lacks {name}")
    same_dims = forecast[name].dims == truth[name].dims
    if not same_dims or not forecast[name].coords.to_dataset().equals(truth[name].coords.to_dataset()):
        raise MinerFault(f"forecast of {name} is not on the requested grid")
    if not np.isfinite(forecast[name]).all():
        raise MinerFault(f"forecast of {name} holds values that are not finite")


def _score(request: ScoreRequest, *, with_baseline: bool) -> dict[str, Any]:
    store = request.store()
    shape = store.contract.field_shape
    out = np.empty(shape, np.float32)
    components, digests = [], {}
    for field in request.fields:
        truth = _own_field(request.truth, field, shape, "truth")
        climatology = _own_field(request.climatology, field, shape, "climatology")
        baseline = _own_field(request.baseline, field, shape, "baseline") if with_baseline else None
        forecast = store.read_field(field, request.lead_hours, out)
        _require_plausible(forecast, field, f"{field} at lead {request.lead_hours} h")
        measured = metrics.field_components(forecast, truth, climatology, baseline)
        components.append({"field": field, "lead_hours": request.lead_hours, **asdict(measured)})
        digests[field] = hashlib.sha256(forecast.data).hexdigest()
    return {"components": components, "field_digests": digests}


def _own_field(paths: Mapping[str, str], field: str, shape: tuple[int, int], kind: str) -> Field:
    """Map one of our own fields; whatever is wrong with it is not the miner's doing."""
    try:
        values: Field = np.memmap(paths[field], "<f4", "r", shape=shape)
    except KeyError:
        raise TransientError(f"no {kind} of {field} was given") from None
    except (OSError, ValueError) as error:
        raise TransientError(f"{kind} of {field} cannot be read: {error}") from error
    if values.nbytes != Path(paths[field]).stat().st_size:
        raise TransientError(f"{kind} of {field} has another size than its grid")
    if not np.isfinite(values).all():
        raise TransientError(f"{kind} of {field} is incomplete")
    return values


def _require_plausible(values: NDArray[np.floating], field: str, what: str) -> None:
    smallest, largest = float(values.min()), float(values.max())
    # Minimum and maximum of an array that holds a NaN are NaN.
    if not (math.isfinite(smallest) and math.isfinite(largest)):
        raise MinerFault(f"{what} holds values that are not finite")
    variable = VARIABLES[_variable_of(field)]
    if smallest < variable.minimum or largest > variable.maximum:
        raise MinerFault(
            f"{what} reaches from {smallest:g} to {largest:g} {variable.unit}, "
            f"outside {variable.minimum:g} to {variable.maximum:g}"
        )


def _describe(values: Field, field: str) -> dict[str, Any]:
    variable = VARIABLES[split_field(field)[0]]
    finite = values[np.isfinite(values)]
    if not finite.size:
        nothing = dict.fromkeys(("minimum", "maximum", "mean"))
        return {"finite_fraction": 0.0, **nothing, "plausible": False, "problem": None}
    smallest, largest = float(finite.min()), float(finite.max())
    complete = finite.size == values.size
    return {
        "finite_fraction": finite.size / values.size,
        "minimum": smallest,
        "maximum": largest,
        "mean": float(finite.mean(dtype=np.float64)),
        "plausible": complete and variable.minimum <= smallest and largest <= variable.maximum,
        "problem": None,
    }


def _open(path: str) -> xr.Dataset:
    try:
        return xr.open_dataset(path, engine="zarr", chunks=None, consolidated=False)
    except (OSError, ValueError, KeyError) as error:
        raise TransientError(f"{path} cannot be opened: {error}") from error


def _variable_of(name: str) -> str:
    """Return the variable of a field or, where all levels are held together, of an array."""
    return name if name in VARIABLES else split_field(name)[0]


def _is_known(name: str) -> bool:
    try:
        _variable_of(name)
    except ValueError:
        return False
    return True


def _measures(
    forecast: xr.DataArray, truth: xr.DataArray, climatology: xr.Dataset | None
) -> dict[str, float]:
    measured = {
        "rmse": math.sqrt(float(metrics.mse(forecast, truth).mean())),
        "mae": float(metrics.mae(forecast, truth).mean()),
        "bias": float(metrics.bias(forecast, truth).mean()),
    }
    if climatology is not None:
        require_comparable(truth.to_dataset(), climatology, str(truth.name))
        usual = climatology[str(truth.name)]
        measured["acc"] = float(metrics.acc(forecast, truth, usual).mean(skipna=False))
    return measured
