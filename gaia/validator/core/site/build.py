"""Makes the model of the pages from stored rows and from facts; pure."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from statistics import fmean
from typing import TYPE_CHECKING

import msgspec

from gaia.tasks.defined_tasks.weather.lead_kinds import LeadKind
from gaia.validator.core.site.model import (
    Awaited,
    FieldShown,
    FinalScore,
    Front,
    IncidentShown,
    Leaderboard,
    LeadShown,
    LeaseNote,
    MinerPage,
    OpenScore,
    OperatorNotes,
    Outcome,
    Ranked,
    RunPage,
    Site,
    Standing,
    TroubleShown,
    VectorShown,
    WeightShown,
)
from gaia.validator.core.site.plain_text import public, visible
from gaia.validator.core.status.troubles import health_of, troubles_of
from gaia.validator.db.history import RunSummary
from gaia.validator.db.published import FieldRow, RunRows
from gaia.validator.db.states import SETTLED, STANDING
from gaia.validator.utils.identities import Hotkey, RunId
from gaia.validator.utils.significance import half_width
from gaia.validator.utils.version import version

if TYPE_CHECKING:
    from gaia.validator.core.status.facts import Facts
    from gaia.validator.db.published import LeadScore, Published, WeightsRow
    from gaia.validator.db.rows import ForecastRow, ScoreRow


@dataclass(slots=True)
class Built:
    """What was made of rows; another site takes it over where its rows are the same objects."""

    outcomes: dict[RunId, tuple[RunSummary, RunRows, Callable[[str], str], list[Outcome]]] = field(
        default_factory=dict
    )
    fields: tuple[Sequence[FieldRow], Mapping[Hotkey, tuple[FieldShown, ...]]] = ((), {})


def site_of(
    facts: Facts,
    published: Published,
    window: timedelta,
    *,
    for_operator: bool,
    built: Built | None = None,
) -> Site:
    """Return all pages.

    Parameters
    ----------
    facts
        What is known about the validator.
    published
        Stored runs, scores and weights.
    window
        Age limit of the runs in a mean.
    for_operator
        Whether to add what only the operator may see; else reasons lose addresses and paths.
    built
        What the site before was made of, and from now on this one.
    """
    built = Built() if built is None else built
    outcomes = _outcomes(published, visible if for_operator else public, built)
    runs = [_run(run, outcomes[run.run_id]) for run in reversed(published.runs)]
    board = _leaderboard(published, outcomes, window)
    return Site(
        front=_front(facts, published, runs),
        leaderboard=board,
        miners=_miners(published, outcomes, board, _fields(published, built)),
        runs=runs,
        operator=_notes(facts) if for_operator else None,
    )


def standings(scores: Iterable[FinalScore], window: timedelta) -> list[Standing]:
    """Return a miner's standing after each completed run that counts for it, oldest first.

    An open score is no `FinalScore`, so that it cannot enter a mean.
    """
    counted = sorted((score for score in scores if score.is_counted), key=lambda score: score.init_time)
    found = []
    for last in counted:
        recent = [
            score.overall for score in counted if last.init_time - window < score.init_time <= last.init_time
        ]
        found.append(
            Standing(
                run_id=last.run_id,
                init_time=last.init_time,
                mean=fmean(recent),
                half_width=half_width(recent),
                runs=len(recent),
            )
        )
    return found


def _outcomes(published: Published, worded: Callable[[str], str], built: Built) -> dict[RunId, list[Outcome]]:
    """Return the outcomes of each run, the best final score first, then by uid."""
    now = {}
    for run in published.runs:
        rows, before = published.rows[run.run_id], built.outcomes.get(run.run_id)
        if before is None or before[1] is not rows or (before[0], before[2]) != (run, worded):
            before = run, rows, worded, _outcomes_of(run, rows, worded)
        now[run.run_id] = before
    built.outcomes = now
    return {run_id: those for run_id, (_, _, _, those) in now.items()}


def _outcomes_of(run: RunSummary, rows: RunRows, worded: Callable[[str], str]) -> list[Outcome]:
    scores = {row.hotkey: row for row in rows.scores if row.rule_set == run.rule_set}
    leads: defaultdict[Hotkey, list[LeadScore]] = defaultdict(list)
    for row in rows.leads:
        if row.rule_set == run.rule_set:
            leads[row.hotkey].append(row)
    found = [
        _outcome(run, forecast, scores.get(forecast.hotkey), leads[forecast.hotkey], worded)
        for forecast in rows.forecasts
    ]
    return sorted(found, key=_place)


def _fields(published: Published, built: Built) -> Mapping[Hotkey, tuple[FieldShown, ...]]:
    """Return the measures of each miner field by field."""
    if built.fields[0] is not published.fields:
        found: defaultdict[Hotkey, list[FieldShown]] = defaultdict(list)
        for row in published.fields:
            # Of 256 miners there are 180,000, and the event loop of the process waits meanwhile.
            found[row.hotkey].append(msgspec.convert(row, FieldShown, from_attributes=True))
        built.fields = published.fields, {hotkey: tuple(those) for hotkey, those in found.items()}
    return built.fields[1]


def _place(outcome: Outcome) -> tuple[bool, float, int, str]:
    score = outcome.score
    if isinstance(score, FinalScore) and score.is_counted:
        return False, -score.overall, outcome.uid, outcome.hotkey
    return True, 0.0, outcome.uid, outcome.hotkey


def _outcome(
    run: RunSummary,
    forecast: ForecastRow,
    score: ScoreRow | None,
    leads: Sequence[LeadScore],
    worded: Callable[[str], str],
) -> Outcome:
    return Outcome(
        run_id=run.run_id,
        hotkey=forecast.hotkey,
        uid=forecast.uid,
        state=forecast.state,
        reason=worded(forecast.reason or ""),
        committed_at=forecast.committed_at,
        score=_score(run, score, leads),
        leads=tuple(
            LeadShown(
                kind=row.kind,
                lead_hours=row.lead_hours,
                score=None if math.isnan(row.score) else row.score,
                reason=worded(row.reason) if row.reason else "",
            )
            for row in sorted(leads, key=lambda row: (row.kind != LeadKind.DAY1, row.lead_hours))
        ),
    )


def _score(
    run: RunSummary, score: ScoreRow | None, leads: Sequence[LeadScore]
) -> FinalScore | OpenScore | None:
    if run.is_open:
        scored = [row for row in leads if row.kind == LeadKind.FINAL]
        if score is None and not scored:
            return None
        return OpenScore(
            run_id=run.run_id,
            day1=score.day1 if score else None,
            leads_scored=len(scored),
            leads_wanted=len(run.contract.final_lead_hours) if run.contract else None,
        )
    if score is None:
        return None
    return FinalScore(
        run_id=run.run_id,
        init_time=run.init_time,
        rule_set=run.rule_set,
        overall=score.overall,
        day1=score.day1,
        is_counted=score.counted,
    )


def _run(run: RunSummary, outcomes: Sequence[Outcome]) -> RunPage:
    return RunPage(
        run_id=run.run_id,
        init_time=run.init_time,
        rule_set=run.rule_set,
        state=run.state,
        opened_at=run.opened_at,
        completed_at=run.completed_at,
        leads_wanted=run.contract.final_lead_hours if run.contract else (),
        states=_counts(outcomes),
        outcomes=outcomes,
    )


def _counts(outcomes: Iterable[Outcome]) -> dict[str, int]:
    """Return state -> number of outcomes, in alphabetical order."""
    return {str(state): count for state, count in sorted(Counter(one.state for one in outcomes).items())}


def _by_miner(
    published: Published, outcomes: Mapping[RunId, Sequence[Outcome]]
) -> dict[Hotkey, list[Outcome]]:
    """Return the outcomes of each miner, newest run first."""
    found: defaultdict[Hotkey, list[Outcome]] = defaultdict(list)
    for run in reversed(published.runs):
        for outcome in outcomes[run.run_id]:
            found[outcome.hotkey].append(outcome)
    return found


def _leaderboard(
    published: Published, outcomes: Mapping[RunId, Sequence[Outcome]], window: timedelta
) -> Leaderboard:
    rule_set = published.runs[-1].rule_set if published.runs else ""
    standing = _standing_vector(published)
    lines: list[tuple[Outcome, list[Standing]]] = []
    for those in _by_miner(published, outcomes).values():
        final = [one.score for one in those if isinstance(one.score, FinalScore)]
        line = standings([score for score in final if score.rule_set == rule_set], window)
        if line:
            lines.append((those[0], line))
    moments = [run.init_time for run in published.runs if not run.is_open]
    # A miner that left long ago has no place among those of today.
    lines = [pair for pair in lines if pair[1][-1].init_time > max(moments) - window]
    lines.sort(key=lambda pair: (-pair[1][-1].mean, pair[0].uid, pair[0].hotkey))
    return Leaderboard(
        rule_set=rule_set,
        window_days=window / timedelta(days=1),
        open_runs=[run.run_id for run in published.runs if run.is_open],
        miners=[
            Ranked(
                rank=rank,
                hotkey=newest.hotkey,
                uid=newest.uid,
                standings=line,
                weight=standing.weights.get(newest.hotkey, 0.0) if standing else None,
            )
            for rank, (newest, line) in enumerate(lines, 1)
        ],
    )


def _standing_vector(published: Published) -> WeightsRow | None:
    """Return the newest vector on chain."""
    return next((row for row in published.weights if row.state in STANDING), None)


def _miners(
    published: Published,
    outcomes: Mapping[RunId, Sequence[Outcome]],
    board: Leaderboard,
    fields: Mapping[Hotkey, tuple[FieldShown, ...]],
) -> list[MinerPage]:
    ranked = {row.hotkey: row for row in board.miners}
    pages = [
        MinerPage(
            hotkey=hotkey,
            uid=those[0].uid,
            rank=ranked[hotkey].rank if hotkey in ranked else None,
            standing=ranked[hotkey].standings[-1] if hotkey in ranked else None,
            outcomes=those,
            weights=[
                WeightShown(epoch=row.epoch, state=row.state, weight=row.weights.get(hotkey, 0.0))
                for row in published.weights
                if row.state in SETTLED  # others may be sealed, and a page would open them
            ],
            fields_run=published.fields_run if hotkey in fields else None,
            fields=fields.get(hotkey, ()),
            pictures=(),
        )
        for hotkey, those in _by_miner(published, outcomes).items()
    ]
    return sorted(pages, key=lambda page: (page.uid, page.hotkey))


def _front(facts: Facts, published: Published, runs: Sequence[RunPage]) -> Front:
    troubles = troubles_of(facts)
    work = facts.work
    vectors = [
        VectorShown(**{name: getattr(row, name) for name in VectorShown.__slots__})
        for row in published.weights
    ]
    open_runs = [run for run in runs if run.is_open]
    return Front(
        now=facts.now,
        is_simulated=facts.is_simulated,
        version=version(),
        rule_set=facts.rule_set,
        netuid=facts.chain.netuid if facts.chain else None,
        validator_trust=facts.chain.validator_trust if facts.chain else None,
        dividends=facts.chain.dividends if facts.chain else None,
        health=health_of(troubles).name.lower(),
        stands_by=facts.stands_by,
        trouble_names=list(dict.fromkeys(trouble.name for trouble in troubles)),
        is_database_read=work is not None,
        open_runs=[run.run_id for run in open_runs],
        states=_counts(outcome for run in open_runs for outcome in run.outcomes),
        awaited=[
            Awaited(source=row.source, sets=row.sets, retry_at=row.retry_at)
            for row in (work.archives if work else ())
        ],
        due=work.due if work else (),
        weights_set=next((row for row in vectors if row.state in STANDING), None),
        vectors=vectors,
        runs=[run.run_id for run in runs],
        earlier_runs=published.earlier_runs,
    )


def _notes(facts: Facts) -> OperatorNotes:
    return OperatorNotes(
        troubles=[
            TroubleShown(
                health=one.health.name.lower(),
                name=one.name,
                problem=visible(one.problem),
                remedy=visible(one.remedy),
            )
            for one in troubles_of(facts)
        ],
        incidents=[
            IncidentShown(
                party=row.party, began_at=row.began_at, last_at=row.last_at, evidence=visible(row.evidence)
            )
            for row in (facts.work.incidents if facts.work else ())
        ],
        database_error=visible(facts.database_error),
        next_trust=facts.chain.next_trust if facts.chain else None,
        permit_margin=facts.chain.permit_margin if facts.chain else None,
        lease=_lease(facts),
    )


def _lease(facts: Facts) -> LeaseNote | None:
    lease = facts.lease
    if lease is None:
        return None
    return LeaseNote(
        holder=visible(lease.name),
        since=lease.taken_at,
        is_held=lease.is_held,
        is_ours=facts.holds_lease,
    )
