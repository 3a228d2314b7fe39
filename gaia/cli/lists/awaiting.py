"""What a run and each of its forecasts wait for: a pure reading of what the database holds.

No clock is asked. A moment in the past says that the step is due.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

from gaia.tasks.defined_tasks.weather.forecasts.outcomes import LeadKey, expected_leads
from gaia.tasks.defined_tasks.weather.lead_kinds import LeadKind
from gaia.tasks.defined_tasks.weather.references.dues import published_at
from gaia.tasks.defined_tasks.weather.references.keys import ReferenceKey, lead_keys
from gaia.validator.db.states import ForecastState

if TYPE_CHECKING:
    from gaia.tasks.defined_tasks.weather.rules.base import Measures
    from gaia.validator.db.inputs import Contract
    from gaia.validator.db.progress import ForecastProgress, LeadProgress, ReferenceProgress
    from gaia.validator.utils.settings.sources import SourcesSettings

Needs = Mapping[LeadKey, Mapping[str, ReferenceKey]]
"""(kind, lead in hours) -> role -> reference set, in the order in which leads fall due."""


class SetState(StrEnum):
    """What is known of a reference set."""

    READY = "ready"
    AWAITED = "awaited"
    """It was asked for, and is asked for again."""
    UNASKED = "unasked"
    GIVEN_UP = "given up"
    """It was missing for too long, and is not asked for again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SetShown:
    """One reference set that a lead needs."""

    role: str
    """Such as "truth" or "climatology"."""
    reference_id: str
    state: SetState
    usual_at: datetime | None
    """When its source usually publishes it; None: it is there at any time."""
    retry_at: datetime | None
    """When it is asked for again; None: it was not asked for yet, or is ready."""
    attempts: int
    """Failed attempts; a set that is not published yet spends none."""
    last_error: str | None

    @property
    def is_missing(self) -> bool:
        return self.state in (SetState.AWAITED, SetState.UNASKED)

    @property
    def expected_at(self) -> datetime | None:
        """When a missing set may be there."""
        return self.retry_at or self.usual_at


@dataclass(frozen=True, slots=True, kw_only=True)
class LeadShown:
    """One lead of a run over all its forecasts, under the run's rules."""

    kind: LeadKind
    lead_hours: int
    scored: int
    """Forecasts with a measured score at it."""
    lost: int
    """Forecasts whose row at it says why nothing was measured."""
    truth_due_at: datetime
    """When its truth is usually published."""
    references: Sequence[SetShown]

    @property
    def missing(self) -> list[SetShown]:
        """The sets that are still awaited."""
        return [one for one in self.references if one.is_missing]

    @property
    def ready_at(self) -> datetime | None:
        """When the last missing set may be there; None: none is missing."""
        return max((one.expected_at for one in self.missing if one.expected_at), default=None)


class Next(NamedTuple):
    """The next step of one forecast."""

    step: str = ""
    """"ask", "freeze" or "score"; "": it has ended."""
    at: datetime | None = None
    """When it is due; None: it has ended."""
    window_ends_at: datetime | None = None
    """End of the freeze window, until the manifest is frozen."""
    lead: LeadKey | None = None
    """The lead that is scored next."""


_BEFORE_FREEZE = {ForecastState.PLANNED: "ask", ForecastState.REQUESTED: "freeze"}
_SCORED_NOW = {
    ForecastState.FROZEN: (LeadKind.DAY1, LeadKind.FINAL),
    ForecastState.SCORED_DAY1: (LeadKind.FINAL,),
}
"""State -> kinds of leads that may be unscored, in the order in which they fall due."""


def needed_sets(init_time: datetime, contract: Contract, measures: Measures) -> Needs:
    """Return the reference sets of every lead of a run."""
    return {
        (kind, hours): lead_keys(kind, init_time, hours, (), measures)
        for kind in LeadKind
        for hours in sorted(expected_leads(contract, kind))
    }


def names_of(needs: Needs) -> list[str]:
    """Return the names of all reference sets, each once."""
    return sorted({key.reference_id for keys in needs.values() for key in keys.values()})


def leads_shown(
    needs: Needs,
    rows: Iterable[LeadProgress],
    known: Mapping[str, ReferenceProgress],
    sources: SourcesSettings,
) -> list[LeadShown]:
    """Return every lead of a run, in the order in which they fall due."""
    by_lead: dict[LeadKey, list[bool]] = {}
    for row in rows:
        by_lead.setdefault((row.kind, row.lead_hours), []).append(row.is_measured)
    return [
        LeadShown(
            kind=LeadKind(lead[0]),
            lead_hours=lead[1],
            scored=sum(by_lead.get(lead, ())),
            lost=len(by_lead.get(lead, ())) - sum(by_lead.get(lead, ())),
            truth_due_at=published_at(keys["truth"], sources) or keys["truth"].valid_time,
            references=[_set_shown(role, key, known, sources) for role, key in keys.items()],
        )
        for lead, keys in needs.items()
    ]


def next_of(
    forecast: ForecastProgress, done: Collection[LeadKey], leads: Sequence[LeadShown], window: timedelta
) -> Next:
    """Return the next step of a forecast.

    Parameters
    ----------
    done
        Leads of the forecast that have a row.
    leads
        All leads of its run, in the order in which they fall due.
    window
        Length of the freeze window where nothing moved its end.
    """
    if step := _BEFORE_FREEZE.get(forecast.state):
        return Next(step, forecast.next_at, forecast.window_ends_at or forecast.opened_at + window)
    for lead in leads:
        key = lead.kind, lead.lead_hours
        if lead.kind in _SCORED_NOW.get(forecast.state, ()) and key not in done:
            return Next("score", max(forecast.next_at, lead.ready_at or forecast.next_at), lead=key)
    return Next()


def _set_shown(
    role: str, key: ReferenceKey, known: Mapping[str, ReferenceProgress], sources: SourcesSettings
) -> SetShown:
    row = known.get(key.reference_id)
    state = SetState.UNASKED if row is None else _state_of(row)
    return SetShown(
        role=role,
        reference_id=key.reference_id,
        state=state,
        usual_at=published_at(key, sources),
        retry_at=row.retry_at if row and state is SetState.AWAITED else None,
        attempts=row.attempts if row else 0,
        last_error=row.last_error if row and state is not SetState.READY else None,
    )


def _state_of(row: ReferenceProgress) -> SetState:
    if row.ready:
        return SetState.READY
    return SetState.AWAITED if row.given_up_at is None else SetState.GIVEN_UP
