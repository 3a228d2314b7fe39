"""Handlers: measure a miner's forecast against the truth; paths in, numbers out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from gaia.tasks.defined_tasks.weather.validator.copies.sketch_files import LeadSketches
from gaia.tasks.defined_tasks.weather.validator.own_fields import LeadRequest, OwnFields, chunk_digest
from gaia.tasks.defined_tasks.weather.validator.reading.chunks import Field, MinerStore
from gaia.tasks.defined_tasks.weather.validator.verification import StoreRequest
from gaia.tasks.defined_tasks.weather.validator.zarr_example import (
    handle_day1_scoring as handle_day1_scoring,  # noqa: PLC0414 - operators' examples import it from here
)
from gaia.tasks.defined_tasks.weather.variables import VARIABLES, split_field
from gaia.validator.utils.errors import MinerFault


class ScoreRequest(LeadRequest, frozen=True, kw_only=True):
    """One lead of one forecast."""

    store_dir: str
    digests: dict[str, str]
    """Path in the store -> sha256 (hex) from the frozen manifest."""
    sketch: str = ""
    """Where the sketch of its errors goes; "": none is wanted."""

    def store(self) -> MinerStore:
        return MinerStore(Path(self.store_dir), self.digests, self.contract)


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
        ``components``: per field the values of `measures.FieldComponents` with
        ``field`` and ``lead_hours``; ``field_digests``: field -> sha256 (hex) of its
        chunk as the manifest promised it, and as it was found to be before it was decoded.

    Raises
    ------
    OwnFailure
        If a field of ours is missing or damaged. Said first: blame needs evidence.
    MinerFault
        If the forecast is not what its manifest promised, lacks a field, or holds
        a value that is not finite or cannot be weather.
    """
    return _score(msgspec.convert(payload, ScoreRequest), needs_baseline=True)


def score_era5_final(payload: dict[str, Any]) -> dict[str, Any]:
    """Measure one lead against ERA5.

    As `score_day1`; what needs a baseline that is not given is None.
    """
    return _score(msgspec.convert(payload, ScoreRequest), needs_baseline=False)


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


def _score(request: ScoreRequest, *, needs_baseline: bool) -> dict[str, Any]:
    store = request.store()
    shape = request.contract.field_shape
    out = np.empty(shape, np.float32)
    components, digests = [], {}
    with LeadSketches({"": request.sketch}) as sketches:
        for field in request.fields:
            own = OwnFields(request, field, shape, needs_baseline=needs_baseline)
            sketches.add_public(own.public_sketches)
            components.append(own.score(store, request, out, sketches.of("")))
            digests[field] = chunk_digest(store, field, request.lead_hours)
    return {"components": components, "field_digests": digests}


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
