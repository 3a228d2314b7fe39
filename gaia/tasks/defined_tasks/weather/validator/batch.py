"""Handler that measures one lead of many forecasts, field by field, against reference fields mapped once."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from gaia.tasks.defined_tasks.weather.lead_kinds import LeadKind
from gaia.tasks.defined_tasks.weather.units import BatchMember, LeadFailure, ScoreBatch
from gaia.tasks.defined_tasks.weather.validator.copies.sketch_files import LeadSketches, SketchFile
from gaia.tasks.defined_tasks.weather.validator.own_fields import OwnFields, chunk_digest
from gaia.tasks.defined_tasks.weather.validator.reading.chunks import Contract, Field, MinerStore
from gaia.validator.utils.errors import MinerFault, OwnFailure
from gaia.validator.utils.identities import Hotkey


def score_batch(unit: ScoreBatch) -> dict[Hotkey, BatchMember]:
    """Measure one lead of many forecasts, with the same bits as one by one.

    Each reference field is mapped and summed once, and all forecasts are decoded into one buffer.
    Memory therefore does not grow with forecasts or fields. Day 1 has a baseline for every field.

    Returns
    -------
    dict
        Hotkey -> the answer of `scoring.score_day1` or `scoring.score_era5_final`, or its error as
        ``failure``.

    Raises
    ------
    OwnFailure
        If a reference field is missing or damaged, which affects all forecasts.
    """
    contract = Contract.of(unit)
    members = {hotkey: BatchMember() for hotkey in unit.forecasts}
    stores = {
        hotkey: MinerStore(Path(spooled.store_dir), spooled.digests, contract)
        for hotkey, spooled in unit.forecasts.items()
    }
    out = np.empty(contract.field_shape, np.float32)
    with LeadSketches({hotkey: spooled.sketch for hotkey, spooled in unit.forecasts.items()}) as sketches:
        for field in unit.fields:
            own = OwnFields(unit, field, contract.field_shape, needs_baseline=unit.kind == LeadKind.DAY1)
            sketches.add_public(own.public_sketches)
            for hotkey, store in stores.items():
                if members[hotkey].failure is None:
                    members[hotkey] = _with_field(members[hotkey], own, store, unit, out, sketches.of(hotkey))
                if members[hotkey].failure is not None:
                    sketches.drop(hotkey)
    return members


def _with_field(
    member: BatchMember,
    own: OwnFields,
    store: MinerStore,
    unit: ScoreBatch,
    out: Field,
    sketch: SketchFile | None,
) -> BatchMember:
    """Add one field to a forecast's result; a failure replaces the result."""
    try:
        component = own.score(store, unit, out, sketch)
    except (MinerFault, OwnFailure) as error:
        own.require_whole()
        return BatchMember(failure=LeadFailure(error_type=type(error).__name__, message=str(error)))
    digest = chunk_digest(store, own.field, unit.lead_hours)
    return BatchMember(
        components=[*member.components, component],
        field_digests={**member.field_digests, own.field: digest},
    )
