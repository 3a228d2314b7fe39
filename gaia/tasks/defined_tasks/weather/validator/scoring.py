"""Handlers: measure a miner's forecast against the truth; paths in, numbers out."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import xarray as xr

from gaia.tasks.defined_tasks.weather.rules.base import Component
from gaia.tasks.defined_tasks.weather.units import (
    DescribeForecast,
    Description,
    FieldDescription,
    LeadScored,
    LeadUnit,
    ScoreDay1,
    ScoreFinal,
    ScoreLead,
)
from gaia.tasks.defined_tasks.weather.validator.areas import Floats
from gaia.tasks.defined_tasks.weather.validator.copies.sketch_files import LeadSketches, Sketch, SketchFile
from gaia.tasks.defined_tasks.weather.validator.copies.sketches import (
    SketchPoints,
    error_sketch,
    sketch_points,
)
from gaia.tasks.defined_tasks.weather.validator.kernel import Values
from gaia.tasks.defined_tasks.weather.validator.measures import References
from gaia.tasks.defined_tasks.weather.validator.reading.chunks import Field, MinerStore
from gaia.tasks.defined_tasks.weather.variables import VARIABLES, split_field
from gaia.tasks.defined_tasks.weather.wire.store_layout import chunk_path
from gaia.validator.utils.errors import MinerFault, OwnFailure


def score_day1(unit: ScoreDay1) -> LeadScored:
    """Measure one lead against the GFS analysis, with the GFS forecast as baseline of each field.

    Raises
    ------
    OwnFailure
        If a field of ours is missing or damaged. Said first: blame needs evidence.
    MinerFault
        If the forecast is not what its manifest promised, lacks a field, or holds
        a value that is not finite or cannot be weather.
    """
    return _score(unit, needs_baseline=True)


def score_era5_final(unit: ScoreFinal) -> LeadScored:
    """Measure one lead against ERA5.

    As `score_day1`; what needs a baseline that is not given is None.
    """
    return _score(unit, needs_baseline=False)


def describe_forecast(unit: DescribeForecast) -> Description:
    """Say what a forecast holds, as evidence kept when it is rejected; blames nobody."""
    store = MinerStore.of(unit)
    out = np.empty(store.contract.field_shape, np.float32)
    described: dict[str, FieldDescription] = {}
    for field in unit.fields:
        try:
            described[field] = _describe(store.read_field(field, unit.lead_hours, out), field)
        except MinerFault as fault:
            described[field] = _describe(np.empty(0, np.float32), field, str(fault))
    return Description(fields=described)


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
    OwnFailure
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
            raise OwnFailure(f"the analysis holds no field of ours: {gfs_path}")
        scores: dict[str, float] = {}
        for name in names:
            for measure, value in _measures(forecast, truth, climatology, name).items():
                scores[f"day1_{measure}_{name}"] = value
        return scores


def require_comparable(forecast: xr.Dataset, truth: xr.Dataset, name: str) -> None:
    """Refuse to score what cannot be scored point for point.

    xarray would quietly compare only the points both fields share, and skip
    the rest; a miner could then earn a good score by leaving out what is hard.

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


class OwnFields:
    """Our own fields of one name, mapped once for all forecasts; whatever is wrong with them is our fault.

    Raises
    ------
    OwnFailure
        If one is missing or of the wrong size; values are looked at by `require_whole`.
    """

    def __init__(
        self, request: LeadUnit, field: str, shape: tuple[int, int], *, needs_baseline: bool
    ) -> None:
        self.field = field
        self._is_whole = False
        self._truth = _mapped(request.truth, field, shape, "truth")
        self._climatology = _mapped(request.climatology, field, shape, "climatology")
        self._baseline = (
            _mapped(request.baseline, field, shape, "baseline")
            if needs_baseline or field in request.baseline
            else None
        )
        self._persistence = (
            _mapped(request.persistence, field, shape, "persistence")
            if field in request.persistence
            else None
        )
        self.references = References(self._truth, self._climatology, self._baseline, self._persistence)

    def require_whole(self) -> None:
        """Refuse to judge anybody by a field of ours that is damaged."""
        if not self._is_whole and (name := self.references.damaged()):
            raise OwnFailure(f"{name} of {self.field} is incomplete")
        self._is_whole = True

    @cached_property
    def sketch_points(self) -> SketchPoints:
        return sketch_points(self._truth)

    def public_sketches(self) -> list[Sketch]:
        """Return the errors of the public forecasts that were given: GFS, climatology, persistence."""
        given = (self._baseline, self._climatology, self._persistence)
        return [error_sketch(field, self._truth, self.sketch_points) for field in given if field is not None]

    def score(
        self, store: MinerStore, request: LeadUnit, out: Field, sketch: SketchFile | None = None
    ) -> dict[str, Any]:
        """Return the component of one forecast, decoded into `out`; raises as `score_day1` does.

        Its error is added to `sketch`, if there is one.
        """
        try:
            forecast = store.read_field(self.field, request.lead_hours, out)
        except MinerFault:
            self.require_whole()
            raise
        compared = self.references.compare(forecast)
        self.require_whole()
        require_plausible(
            compared.is_finite,
            compared.minimum,
            compared.maximum,
            self.field,
            f"{self.field} at lead {request.lead_hours} h",
        )
        measured = asdict(compared.components(request.measures))
        if sketch is not None:
            sketch.add(error_sketch(forecast, self._truth, self.sketch_points))
        return {"field": self.field, "lead_hours": request.lead_hours, **measured}


def chunk_digest(store: MinerStore, field: str, lead_hours: int) -> str:
    """Return the digest of a field's chunk as promised, which `read_field` held it to."""
    return store.digests[chunk_path(field, lead_hours, store.contract.step_hours)]


def require_plausible(is_finite: bool, smallest: float, largest: float, name: str, what: str) -> None:
    """Refuse values that cannot be weather.

    Raises
    ------
    MinerFault
        Saying what is wrong with `what`.
    """
    if not is_finite:
        raise MinerFault(f"{what} holds values that are not finite")
    variable = VARIABLES[_variable_of(name)]
    if smallest < variable.minimum or largest > variable.maximum:
        raise MinerFault(
            f"{what} reaches from {smallest:g} to {largest:g} {variable.unit}, "
            f"outside {variable.minimum:g} to {variable.maximum:g}"
        )


def _score(unit: ScoreLead, *, needs_baseline: bool) -> LeadScored:
    store = MinerStore.of(unit)
    shape = store.contract.field_shape
    out = np.empty(shape, np.float32)
    components, digests = [], {}
    with LeadSketches({"": unit.sketch}) as sketches:
        for field in unit.fields:
            own = OwnFields(unit, field, shape, needs_baseline=needs_baseline)
            sketches.add_public(own.public_sketches)
            components.append(Component(**own.score(store, unit, out, sketches.of(""))))
            digests[field] = chunk_digest(store, field, unit.lead_hours)
    return LeadScored(components=components, field_digests=digests)


def _mapped(paths: Mapping[str, str], field: str, shape: tuple[int, int], kind: str) -> Field:
    try:
        values: Field = np.memmap(paths[field], "<f4", "r", shape=shape)
        size = Path(paths[field]).stat().st_size
    except KeyError:
        raise OwnFailure(f"no {kind} of {field} was given") from None
    except (OSError, ValueError) as error:
        raise OwnFailure(f"{kind} of {field} cannot be read: {error}") from error
    if values.nbytes != size:
        raise OwnFailure(f"{kind} of {field} has another size than its grid")
    return values


def _describe(values: Field, field: str, problem: str | None = None) -> FieldDescription:
    variable = VARIABLES[split_field(field)[0]]
    finite = values[np.isfinite(values)]
    if not finite.size:
        return FieldDescription(
            finite_fraction=0.0, minimum=None, maximum=None, mean=None, plausible=False, problem=problem
        )
    smallest, largest = float(finite.min()), float(finite.max())
    complete = finite.size == values.size
    return FieldDescription(
        finite_fraction=finite.size / values.size,
        minimum=smallest,
        maximum=largest,
        mean=float(finite.mean(dtype=np.float64)),
        plausible=complete and variable.minimum <= smallest and largest <= variable.maximum,
        problem=problem,
    )


def _open(path: str) -> xr.Dataset:
    try:
        return xr.open_dataset(path, engine="zarr", chunks=None, consolidated=False)
    except (OSError, ValueError, KeyError) as error:
        raise OwnFailure(f"{path} cannot be opened: {error}") from error


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
    require_plausible(True, compared.minimum, compared.maximum, name, name)
    return asdict(compared.components("plain"))
