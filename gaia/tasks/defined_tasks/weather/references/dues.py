"""When truths are usually published, and how old they are."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from gaia.tasks.defined_tasks.weather.lead_kinds import LeadKind
from gaia.tasks.defined_tasks.weather.references.keys import ReferenceKey, ReferenceSource, lead_keys
from gaia.tasks.defined_tasks.weather.sources.gfs import PUBLISHED_AFTER

if TYPE_CHECKING:
    from gaia.validator.utils.settings.contract import ContractSettings
    from gaia.validator.utils.settings.sources import SourcesSettings

TRUTHS: Final = (ReferenceSource.GFS, ReferenceSource.ERA5)
"""Sources of truths: the GFS analysis on day 1, and ERA5 later."""

_MOMENT = "%Y-%m-%dT%HZ"


def truths_of(
    init_times: Iterable[datetime], contract: ContractSettings, sources: SourcesSettings
) -> dict[ReferenceKey, datetime]:
    """Return every truth that the runs of `init_times` are scored against -> when it is usually published."""
    leads = [(LeadKind.DAY1, hours) for hours in contract.day1_lead_hours]
    leads += [(LeadKind.FINAL, hours) for hours in contract.final_lead_hours]
    truths = [
        lead_keys(kind, init_time, hours, (), "gaia-2.9")["truth"]
        for init_time in init_times
        for kind, hours in leads
    ]
    dues = {truth: published_at(truth, sources) for truth in truths}
    return {truth: moment for truth, moment in dues.items() if moment is not None}


def published_at(key: ReferenceKey, sources: SourcesSettings) -> datetime | None:
    """Return when the source of a reference set usually publishes it; None: it is there at any time."""
    match key.source:
        case ReferenceSource.GFS:
            return key.init_time + PUBLISHED_AFTER
        case ReferenceSource.ERA5:
            return key.valid_time + timedelta(days=sources.era5_delay_days, hours=sources.era5_buffer_hours)
        case ReferenceSource.CLIMATOLOGY:
            return None


def next_dues(
    truths: Mapping[ReferenceKey, datetime], settled: Collection[str]
) -> dict[ReferenceSource, datetime]:
    """Return source -> when the first of its `truths` that is not `settled` is usually published.

    A moment in the past says that this truth is late. A source without such truths is missing.

    Parameters
    ----------
    settled
        Names of the reference sets that are ready or given up.
    """
    dues: dict[ReferenceSource, datetime] = {}
    for truth, moment in truths.items():
        if truth.reference_id not in settled:
            dues[truth.source] = min(moment, dues.get(truth.source, moment))
    return dues


def valid_time_of(reference_id: str) -> datetime:
    """Return the moment for which a truth holds, from its name.

    >>> valid_time_of("era5/2026-03-26T00Z/final").isoformat(), valid_time_of("gfs/2026-03-25T12Z+0/day1").hour
    ('2026-03-26T00:00:00+00:00', 12)
    """
    moment = reference_id.split("/")[1].partition("+")[0]
    return datetime.strptime(moment, _MOMENT).replace(tzinfo=UTC)
