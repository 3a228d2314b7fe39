"""Decides which scores of the original are taken over, and why others are not: pure functions."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from gaia.tasks.defined_tasks.weather.lead_kinds import LeadKind
from gaia.tasks.defined_tasks.weather.rules.gaia_2_9 import DAY1_PASS, DAY1_SHARE, RULES
from gaia.tasks.defined_tasks.weather.schedule import run_id_of
from gaia.validator.utils.identities import Hotkey, RunId

RULE_SET: Final = RULES.name
"""The rules of the original."""
DAY1_LEAD_HOURS: Final = 12
"""The only lead that the original scores on day 1 (scoring.md, 3.3)."""
FINAL_LEAD_HOURS: Final = tuple(range(24, 241, 24))
NOT_SCORED: Final = "the original had no score here when it was imported"
"""Reason of a lead that other forecasts of the run have; it counts as 0, as in the original."""


class LeftOut(StrEnum):
    """Why a row of the original is not taken over."""

    IMPORTED = "imported"
    OWN_RUN = "own_run"
    STILL_OPENS = "still_opens"
    NO_SCORE = "no_score"
    NO_NUMBER = "no_number"
    NOT_REGISTERED = "not_registered"
    TWICE = "twice"


WORDS: Final[Mapping[LeftOut, str]] = {
    LeftOut.IMPORTED: "the run is imported already",
    LeftOut.OWN_RUN: "this validator has a run of its own of that time",
    LeftOut.STILL_OPENS: "this validator opens the run of that time itself",
    LeftOut.NO_SCORE: "the original has scored nothing of it",
    LeftOut.NO_NUMBER: "the score is no number from 0 to 1",
    LeftOut.NOT_REGISTERED: "the hotkey is not registered with that uid any more",
    LeftOut.TWICE: "a newer row of that run and miner is there",
}
"""The same, for the operator."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OriginalScore:
    """What the original has of one miner in one run."""

    run: int
    """Number of the run in the original's database."""
    init_time: datetime
    opened_at: datetime | None
    uid: int
    hotkey: Hotkey
    day1: float | None
    leads: Sequence[float | None]
    """Scores at `FINAL_LEAD_HOURS`; None: not scored."""
    overall: float | None
    """Without the bonus of the best miner; None: no lead is scored against ERA5 yet."""
    scored_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What decides beside the scores."""

    own: Collection[datetime]
    """Initial times of our own runs."""
    imported: Collection[datetime]
    """Initial times of imported runs."""
    opening: Collection[datetime]
    """Initial times of runs that this validator still opens."""
    registered: Mapping[tuple[int, str], int]
    """(uid, hotkey) of each neuron -> block of its registration."""
    now: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportedLead:
    """One row of lead_scores."""

    kind: LeadKind
    lead_hours: int
    score: float
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportedForecast:
    """One miner's forecast in an imported run."""

    hotkey: Hotkey
    uid: int
    registered_at: int
    day1: float | None
    overall: float
    leads: Sequence[ImportedLead]
    scored_at: datetime

    @property
    def by_lead(self) -> dict[str, float]:
        """Final lead in hours, as text -> score, as score_table has it."""
        return {str(lead.lead_hours): lead.score for lead in self.leads if lead.kind is LeadKind.FINAL}


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportedRun:
    """One run that is taken over."""

    run_id: RunId
    init_time: datetime
    opened_at: datetime
    imported_from: str
    forecasts: Sequence[ImportedForecast]

    @property
    def scored_at(self) -> datetime:
        """Time of its newest score."""
        return max(forecast.scored_at for forecast in self.forecasts)

    @property
    def total(self) -> float:
        """Sum of its overall scores."""
        return math.fsum(forecast.overall for forecast in self.forecasts)

    @property
    def lead_scores(self) -> int:
        """Number of its lead scores that the original computed."""
        return sum(lead.reason is None for forecast in self.forecasts for lead in forecast.leads)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is taken over, oldest run first, and what is not."""

    runs: Sequence[ImportedRun]
    left_out: Mapping[LeftOut, int]
    """Reason -> number of rows of the original."""
    bad_parts: int
    """Number of day-1 and lead scores that are no numbers from 0 to 1, of forecasts that are taken over."""


def plan_of(scores: Iterable[OriginalScore], known: Known) -> Plan:
    """Decide on each row of the original; the newest row of a run and miner comes first."""
    left_out: Counter[LeftOut] = Counter()
    taken: dict[datetime, dict[int, OriginalScore]] = {}
    for score in scores:
        reason = _reason(score, known)
        if reason is None and score.uid in taken.get(score.init_time, {}):
            reason = LeftOut.TWICE
        if reason is None:
            taken.setdefault(score.init_time, {})[score.uid] = score
        else:
            left_out[reason] += 1
    runs = [_run(list(by_uid.values()), known) for _, by_uid in sorted(taken.items())]
    bad = sum(_is_bad(part) for by_uid in taken.values() for row in by_uid.values() for part in _parts(row))
    return Plan(runs=runs, left_out=left_out, bad_parts=bad)


def overall_of(score: OriginalScore) -> float | None:
    """Return the score that the original's weights follow from, without the bonus (scoring.md, 3.5).

    None if nothing is scored. It may be any number that the original has stored, also NaN.
    """
    if score.overall is not None or score.day1 is None:
        return score.overall
    return score.day1 if _is_bad(score.day1) else DAY1_SHARE * (score.day1 >= DAY1_PASS)


def _reason(score: OriginalScore, known: Known) -> LeftOut | None:
    runs = (
        (LeftOut.IMPORTED, known.imported),
        (LeftOut.OWN_RUN, known.own),
        (LeftOut.STILL_OPENS, known.opening),
    )
    for reason, init_times in runs:
        if score.init_time in init_times:
            return reason
    overall = overall_of(score)
    if overall is None:
        return LeftOut.NO_SCORE
    if _is_bad(overall):
        return LeftOut.NO_NUMBER
    return None if (score.uid, score.hotkey) in known.registered else LeftOut.NOT_REGISTERED


def _run(scores: Sequence[OriginalScore], known: Known) -> ImportedRun:
    init_time = scores[0].init_time
    opened_at = min((each.opened_at for each in scores if each.opened_at is not None), default=init_time)
    scored = {
        hours
        for score in scores
        for hours, part in zip(FINAL_LEAD_HOURS, score.leads, strict=True)
        if _is_good(part)
    }
    numbers = ", ".join(map(str, sorted({score.run for score in scores})))
    return ImportedRun(
        run_id=run_id_of(init_time),
        init_time=init_time,
        opened_at=opened_at,
        imported_from=f"original run {numbers}",
        forecasts=[_forecast(score, scored, opened_at, known) for score in scores],
    )


def _forecast(
    score: OriginalScore, scored: Collection[int], opened_at: datetime, known: Known
) -> ImportedForecast:
    overall = overall_of(score)
    assert overall is not None
    day1 = score.day1 if _is_good(score.day1) else None
    leads = [] if day1 is None else [_lead(LeadKind.DAY1, DAY1_LEAD_HOURS, day1)]
    leads += [
        _lead(LeadKind.FINAL, hours, part)
        for hours, part in zip(FINAL_LEAD_HOURS, score.leads, strict=True)
        if hours in scored
    ]
    return ImportedForecast(
        hotkey=score.hotkey,
        uid=score.uid,
        registered_at=known.registered[score.uid, score.hotkey],
        day1=day1,
        overall=overall,
        leads=leads,
        scored_at=min(score.scored_at or opened_at, known.now),
    )


def _lead(kind: LeadKind, hours: int, score: float | None) -> ImportedLead:
    if score is None or _is_bad(score):
        return ImportedLead(kind=kind, lead_hours=hours, score=0.0, reason=NOT_SCORED)
    return ImportedLead(kind=kind, lead_hours=hours, score=score)


def _parts(score: OriginalScore) -> Sequence[float | None]:
    return [score.day1, *score.leads]


def _is_good(score: float | None) -> bool:
    return score is not None and not _is_bad(score)


def _is_bad(score: float | None) -> bool:
    """Return whether a score is there, and is NaN, infinite or outside of 0 to 1."""
    return score is not None and not 0.0 <= score <= 1.0
