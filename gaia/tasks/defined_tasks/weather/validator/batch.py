"""Handler: measure one lead of many forecasts, field by field, against our own fields mapped once."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np

from gaia.tasks.defined_tasks.weather.validator.copies.sketch_files import LeadSketches, SketchFile
from gaia.tasks.defined_tasks.weather.validator.own_fields import LeadRequest, OwnFields, chunk_digest
from gaia.tasks.defined_tasks.weather.validator.reading.chunks import MinerStore
from gaia.validator.utils.errors import MinerFault, OwnFailure


class Spooled(msgspec.Struct, frozen=True, kw_only=True):
    """One forecast in the spool."""

    store_dir: str
    digests: dict[str, str]
    """Path in the store -> sha256 (hex) from the frozen manifest."""
    sketch: str = ""
    """Where the sketch of its errors goes; "": none is wanted."""


class BatchRequest(LeadRequest, frozen=True, kw_only=True):
    """One lead of many forecasts of one run."""

    kind: Literal["day1", "final"]
    forecasts: dict[str, Spooled]
    """Hotkey -> where its forecast is."""

    def stores(self) -> dict[str, MinerStore]:
        return {
            hotkey: MinerStore(Path(spooled.store_dir), spooled.digests, self.contract)
            for hotkey, spooled in self.forecasts.items()
        }


def score_batch(payload: dict[str, Any]) -> dict[str, Any]:
    """Measure one lead of many forecasts; to the same bits as one by one.

    Each field of ours is mapped and summed once, each forecast decoded into the
    same buffer: memory does not grow with forecasts or fields.

    Parameters
    ----------
    payload
        A `BatchRequest`; for day 1 with a baseline for every field.

    Returns
    -------
    dict
        Hotkey -> what `scoring.score_day1` or `scoring.score_era5_final` would return, or
        ``failure`` with ``error_type`` and ``message`` of what it would raise.

    Raises
    ------
    OwnFailure
        If a field of ours is missing or damaged: that concerns all.
    """
    request = msgspec.convert(payload, BatchRequest)
    values: dict[str, dict[str, Any]] = {
        hotkey: {"components": [], "field_digests": {}} for hotkey in request.forecasts
    }
    stores = request.stores()
    shape = request.contract.field_shape
    out = np.empty(shape, np.float32)
    with LeadSketches({hotkey: spooled.sketch for hotkey, spooled in request.forecasts.items()}) as sketches:
        for field in request.fields:
            own = OwnFields(request, field, shape, needs_baseline=request.kind == "day1")
            sketches.add_public(own.public_sketches)
            for hotkey, store in stores.items():
                if "failure" not in values[hotkey]:
                    values[hotkey] = _with_field(
                        values[hotkey], own, store, request, out, sketches.of(hotkey)
                    )
                if "failure" in values[hotkey]:
                    sketches.drop(hotkey)
    return values


def _with_field(
    value: Mapping[str, Any],
    own: OwnFields,
    store: MinerStore,
    request: BatchRequest,
    out: Any,
    sketch: SketchFile | None,
) -> dict[str, Any]:
    """Add one field to what a forecast has so far; its failure takes the place of all."""
    try:
        component = own.score(store, request, out, sketch)
    except (MinerFault, OwnFailure) as error:
        own.require_whole()
        return {"failure": {"error_type": type(error).__name__, "message": str(error)}}
    digest = chunk_digest(store, own.field, request.lead_hours)
    return {
        "components": [*value["components"], component],
        "field_digests": {**value["field_digests"], own.field: digest},
    }
