"""Handlers that measure a miner's forecast against the truth; they take paths and return numbers."""

from __future__ import annotations

import numpy as np

from gaia.tasks.defined_tasks.weather.units import (
    DescribeForecast,
    Description,
    FieldDescription,
    LeadScored,
    ScoreDay1,
    ScoreFinal,
    ScoreLead,
)
from gaia.tasks.defined_tasks.weather.validator.copies.sketch_files import LeadSketches
from gaia.tasks.defined_tasks.weather.validator.own_fields import OwnFields, chunk_digest
from gaia.tasks.defined_tasks.weather.validator.reading.chunks import Field, MinerStore
from gaia.tasks.defined_tasks.weather.validator.zarr_example import (
    handle_day1_scoring as handle_day1_scoring,  # noqa: PLC0414 - operators' examples import it from here
)
from gaia.tasks.defined_tasks.weather.variables import VARIABLES, split_field
from gaia.validator.utils.errors import MinerFault


def score_day1(unit: ScoreDay1) -> LeadScored:
    """Measure one lead against the GFS analysis, with the GFS forecast as baseline of each field.

    Raises
    ------
    OwnFailure
        If a reference field is missing or damaged. Checked first: blame needs evidence.
    MinerFault
        If the forecast differs from its manifest, lacks a field, or holds a value that is not
        finite or cannot be weather.
    """
    return _score(unit, needs_baseline=True)


def score_era5_final(unit: ScoreFinal) -> LeadScored:
    """Measure one lead against ERA5.

    As `score_day1`; measures that need a missing baseline are None.
    """
    return _score(unit, needs_baseline=False)


def describe_forecast(unit: DescribeForecast) -> Description:
    """Return statistics of a forecast, which are stored as evidence when it is rejected."""
    store = MinerStore.of(unit)
    out = np.empty(store.contract.field_shape, np.float32)
    described: dict[str, FieldDescription] = {}
    for field in unit.fields:
        try:
            described[field] = _describe(store.read_field(field, unit.lead_hours, out), field)
        except MinerFault as fault:
            described[field] = _describe(np.empty(0, np.float32), field, str(fault))
    return Description(fields=described)


def _score(unit: ScoreLead, *, needs_baseline: bool) -> LeadScored:
    store = MinerStore.of(unit)
    shape = store.contract.field_shape
    out = np.empty(shape, np.float32)
    components, digests = [], {}
    with LeadSketches({"": unit.sketch}) as sketches:
        for field in unit.fields:
            own = OwnFields(unit, field, shape, needs_baseline=needs_baseline)
            sketches.add_public(own.public_sketches)
            components.append(own.score(store, unit, out, sketches.of("")))
            digests[field] = chunk_digest(store, field, unit.lead_hours)
    return LeadScored(components=components, field_digests=digests)


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
