"""Reference fields of one lead, and the measures of a forecast against them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gaia.tasks.defined_tasks.weather.rules.base import Component
from gaia.tasks.defined_tasks.weather.validator.copies.sketches import (
    SketchPoints,
    error_sketch,
    sketch_points,
)
from gaia.tasks.defined_tasks.weather.validator.measures import References
from gaia.tasks.defined_tasks.weather.variables import VARIABLES, split_field
from gaia.tasks.defined_tasks.weather.wire.store_layout import chunk_path
from gaia.validator.utils.errors import ImplausibleValues, MinerFault, OwnFailure

if TYPE_CHECKING:
    from gaia.tasks.defined_tasks.weather.units import LeadUnit
    from gaia.tasks.defined_tasks.weather.validator.copies.sketch_files import Sketch, SketchFile
    from gaia.tasks.defined_tasks.weather.validator.reading.chunks import Field, MinerStore


class OwnFields:
    """Reference fields of one name, mapped once for all forecasts; their faults are ours.

    Raises
    ------
    OwnFailure
        If one is missing or of the wrong size; `require_whole` checks the values.
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
        """Raise `OwnFailure` if a reference field is damaged."""
        if not self._is_whole and (name := self.references.damaged()):
            raise OwnFailure(f"{name} of {self.field} is incomplete")
        self._is_whole = True

    @cached_property
    def sketch_points(self) -> SketchPoints:
        return sketch_points(self._truth)

    def public_sketches(self) -> list[Sketch]:
        """Return the errors of the given public forecasts: GFS, climatology, persistence."""
        given = (self._baseline, self._climatology, self._persistence)
        return [error_sketch(field, self._truth, self.sketch_points) for field in given if field is not None]

    def score(
        self, store: MinerStore, request: LeadUnit, out: Field, sketch: SketchFile | None = None
    ) -> Component:
        """Return the component of one forecast, decoded into `out`; raise as `score_day1` does.

        The error is also added to `sketch`, if one is given.
        """
        try:
            forecast = store.read_field(self.field, request.lead_hours, out)
        except MinerFault:
            self.require_whole()
            raise
        compared = self.references.compare(forecast)
        self.require_whole()
        require_plausible(
            compared.minimum,
            compared.maximum,
            self.field,
            f"{self.field} at lead {request.lead_hours} h",
            is_finite=compared.is_finite,
        )
        measured = asdict(compared.components(request.measures))
        if sketch is not None:
            sketch.add(error_sketch(forecast, self._truth, self.sketch_points))
        return Component(field=self.field, lead_hours=request.lead_hours, **measured)


def chunk_digest(store: MinerStore, field: str, lead_hours: int) -> str:
    """Return the committed digest of a field's chunk, which `read_field` has verified."""
    return store.digests[chunk_path(field, lead_hours, store.contract.step_hours)]


def require_plausible(smallest: float, largest: float, name: str, what: str, *, is_finite: bool) -> None:
    """Raise unless the range of values is possible weather.

    Raises
    ------
    MinerFault
        If a value is not finite or outside the limits; names `what`.
    """
    if not is_finite:
        raise ImplausibleValues(f"{what} holds values that are not finite")
    variable = VARIABLES[variable_of(name)]
    if smallest < variable.minimum or largest > variable.maximum:
        raise ImplausibleValues(
            f"{what} reaches from {smallest:g} to {largest:g} {variable.unit}, "
            f"outside {variable.minimum:g} to {variable.maximum:g}"
        )


def variable_of(name: str) -> str:
    """Return the variable of a field or of an array that holds all levels."""
    return name if name in VARIABLES else split_field(name)[0]


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
