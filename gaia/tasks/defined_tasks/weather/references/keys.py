"""Names of reference sets: one source at one time, for one kind of lead."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING

from gaia.tasks.defined_tasks.weather.lead_kinds import LeadKind

if TYPE_CHECKING:
    from gaia.tasks.defined_tasks.weather.rules.base import Measures


class ReferenceSource(StrEnum):
    """Source of a reference set."""

    GFS = "gfs"
    ERA5 = "era5"
    CLIMATOLOGY = "climatology"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferenceKey:
    """One source at one time: a GFS field set, an ERA5 field set or a climatology."""

    source: ReferenceSource
    init_time: datetime
    lead_hours: int
    fields: tuple[str, ...]
    kind: LeadKind
    """Kind of lead that the set is for."""

    @property
    def valid_time(self) -> datetime:
        return self.init_time + timedelta(hours=self.lead_hours)

    @property
    def reference_id(self) -> str:
        if self.source is ReferenceSource.GFS:
            return f"gfs/{self.init_time:%Y-%m-%dT%HZ}+{self.lead_hours}/{self.kind}"
        return f"{self.source}/{self.valid_time:%Y-%m-%dT%HZ}/{self.kind}"


def lead_keys(
    kind: LeadKind, init_time: datetime, lead_hours: int, fields: Sequence[str], measures: Measures
) -> dict[str, ReferenceKey]:
    """Return role -> reference set that one lead is compared with.

    The truth is the GFS analysis on day 1, and ERA5 later. Plain measures use every public
    forecast at every lead: GFS, persistence of its analysis, and climatology. The measures of
    gaia-2.9 use GFS on day 1 only.
    """
    valid_time = init_time + timedelta(hours=lead_hours)

    def key(source: ReferenceSource, start: datetime, lead: int) -> ReferenceKey:
        return ReferenceKey(source=source, init_time=start, lead_hours=lead, fields=tuple(fields), kind=kind)

    is_day1 = kind is LeadKind.DAY1
    truth = (
        key(ReferenceSource.GFS, valid_time, 0)
        if is_day1
        else key(ReferenceSource.ERA5, init_time, lead_hours)
    )
    # The climatology comes first, because the others are checked against it.
    keys = {"climatology": key(ReferenceSource.CLIMATOLOGY, init_time, lead_hours), "truth": truth}
    if is_day1 or measures == "plain":
        keys["baseline"] = key(ReferenceSource.GFS, init_time, lead_hours)
    if measures == "plain":
        keys["persistence"] = key(ReferenceSource.GFS, init_time, 0)
    return keys
