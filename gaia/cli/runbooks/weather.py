"""Runbooks about runs, miners and truths."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gaia.cli.runbooks import shared
from gaia.cli.runbooks.branch import Branch, Runbook
from gaia.cli.tables import one_line

if TYPE_CHECKING:
    from gaia.cli.runbooks.facts import Facts

LOW_SCORE: Final = 0.3
"""Median below which ValidatorLowScoringPerformance fires."""
_FEW = 3
_MANY = 0.2
"""Share of all requests; a few dead miners are usual."""


def _last_run_set(facts: Facts) -> str:
    last = facts.settings.last_run
    return f"GAIA_LAST_RUN is {last:%Y-%m-%dT%H:%MZ}" if last is not None and last < facts.now else ""


def _scoring_late(facts: Facts) -> str:
    return "main_scoring is overdue" if facts.total("gaia_task_overdue", task="main_scoring") else ""


def _no_run_yet(facts: Facts) -> str:
    return "no run is recorded" if facts.rows is not None and not facts.rows.runs else ""


def _truth_awaited(facts: Facts) -> str:
    if facts.rows is None or not facts.rows.awaited:
        return ""
    row = facts.rows.awaited[0]
    retry = f"{row.retry_at:%Y-%m-%d %H:%MZ}" if row.retry_at else "soon"
    return f"{row.source} lacks {row.sets} sets, next try {retry}: {one_line(row.last_error)}"


def _no_key(facts: Facts) -> str:
    is_empty = facts.knows_secrets and not facts.settings.cds_key.get_secret_value()
    return "GAIA_CDS_KEY is empty" if is_empty else ""


def _mostly_rejected(facts: Facts) -> str:
    runs = [run for run in facts.rows.runs if run.is_frozen] if facts.rows else []
    if not runs or 2 * runs[-1].rejected <= runs[-1].forecasts:
        return ""
    return f"{runs[-1].run_id}: {runs[-1].rejected} of {runs[-1].forecasts} are rejected"


def _few_scored(facts: Facts) -> str:
    runs = [run for run in facts.rows.runs if run.has_scores] if facts.rows else []
    is_few = bool(runs) and runs[-1].forecasts - runs[-1].rejected < _FEW
    return f"{runs[-1].run_id}: {runs[-1].forecasts - runs[-1].rejected} are not rejected" if is_few else ""


def _low_scores(facts: Facts) -> str:
    found = facts.samples.by("gaia_weather_score_day1", "statistic") if facts.samples else {}
    is_low = found.get("median", LOW_SCORE) < LOW_SCORE
    return ", ".join(f"{name} {value:.2f}" for name, value in found.items()) if is_low else ""


def _network_away(facts: Facts) -> str:
    parties = {row.party for row in facts.rows.incidents} if facts.rows else set()
    failed = facts.by("gaia_source_requests_total", "source", outcome="failed")
    is_away = "chain" in parties and bool(failed)
    return f"the chain is away, and requests to {', '.join(failed)} failed" if is_away else ""


def _miners_silent(facts: Facts) -> str:
    outcomes = facts.by("gaia_miner_requests_total", "outcome")
    timeouts = facts.total("gaia_miner_communication_timeouts_total")
    asked = sum(outcomes.values())
    is_much = timeouts is not None and timeouts > _MANY * asked
    return f"{timeouts:.0f} of {asked:.0f} requests timed out since the start" if is_much else ""


def _reasons(facts: Facts) -> str:
    found = list(facts.by("gaia_verification_failures_total", "reason").items())[:3]
    return (
        f"since the start: {', '.join(f'{count:.0f} {reason}' for reason, count in found)}" if found else ""
    )


LAST_RUN_SET = Branch(
    sentence="A setting forbids later runs.",
    remedy="Remove `GAIA_LAST_RUN`, which is for rehearsals only, and restart.",
    look=_last_run_set,
)
SCORING_LATE = Branch(
    sentence="The job main_scoring has not succeeded for a long time.",
    remedy="Read `gaia logs --level warning`: the job says why it fails.",
    look=_scoring_late,
)
NO_RUN_YET = Branch(
    sentence="No run was ever opened.",
    remedy="Runs open daily at `GAIA_RUN_HOUR_UTC`. If that time is past, compare the host's clock with UTC.",
    look=_no_run_yet,
)
TRUTH_AWAITED = Branch(
    sentence="An archive has not delivered what a run waits for.",
    remedy="Wait if the archive is down or late; it is asked again by itself. Act if the error above speaks of a key or a licence.",
    look=_truth_awaited,
)
NO_KEY = Branch(
    sentence="There is no key for the Climate Data Store.",
    remedy="Set `GAIA_CDS_KEY`, and restart. Without it no lead is scored against ERA5.",
    look=_no_key,
)
MOSTLY_REJECTED = Branch(
    sentence="Most forecasts of the newest run were rejected.",
    remedy="`gaia explain last UID` says why for one miner. One reason for nearly all points to a change of ours: report it.",
    look=_mostly_rejected,
)
FEW_SCORED = Branch(
    sentence="Only very few forecasts can be scored.",
    remedy="Nothing, if the subnet has few miners. Else see why the others are rejected: `gaia explain last UID`.",
    look=_few_scored,
)
LOW_SCORES = Branch(
    sentence="The forecasts themselves score low.",
    remedy="Compare with `gaia scores list last:5`. A fall in one day for all miners points to a wrong reference: report it.",
    look=_low_scores,
)
NETWORK_AWAY = Branch(
    sentence="The network of this host fails, not the miners.",
    remedy="Check the host's route, its name server and its firewall.",
    look=_network_away,
)
MINERS_SILENT = Branch(
    sentence="Many miners do not answer in time.",
    remedy="Nothing, if other validators see the same. Else check the firewall for outgoing ports, and raise `GAIA_MINER_TIMEOUT_S`.",
    look=_miners_silent,
)
REASONS = Branch(
    sentence="Forecasts fail their verification for a few reasons.",
    remedy="`gaia explain last UID` shows one of them. If a release of ours came just before, report it.",
    look=_reasons,
)
_OURS: Final = (
    shared.ENGINE_DOWN,
    shared.ENGINE_HANGS,
    shared.DATABASE_AWAY,
    shared.BLOCKED,
    shared.UNREADABLE,
    shared.DISK_FULL,
)

RUNBOOKS: Final = (
    Runbook(
        alert="NoRecentActivity",
        meaning="The job main_scoring has not succeeded for 30 minutes. On a healthy validator it ends every few seconds.",
        impact="Nothing happens: no run opens, no miner is polled, nothing is scored.",
        branches=(*shared.RUNNING, *_OURS, shared.CHAIN_AWAY, SCORING_LATE, shared.ERRORS),
    ),
    Runbook(
        alert="NoRunOpened",
        meaning="More than 26 hours have passed since a run was opened, and runs open daily.",
        impact="After `GAIA_RUN_LOOK_BACK_HOURS` the run is skipped: this validator then has no scores for that day.",
        branches=(*shared.RUNNING, *_OURS, LAST_RUN_SET, shared.CHAIN_AWAY, SCORING_LATE, shared.ERRORS),
    ),
    Runbook(
        alert="NoWeatherRuns",
        meaning="No run has been open for 25 hours. Runs open daily and stay open for two weeks.",
        impact="Nothing is asked and nothing is scored. Weights stay as they are until they are too old.",
        branches=(
            *shared.RUNNING,
            *_OURS,
            LAST_RUN_SET,
            shared.CHAIN_AWAY,
            NO_RUN_YET,
            SCORING_LATE,
            shared.ERRORS,
        ),
    ),
    Runbook(
        alert="StuckWeatherRuns",
        meaning="A run has been open for more than 17 days. It should end when ERA5 for its last lead is there.",
        impact="The run counts with the leads that are scored. Its files stay on the disk.",
        branches=(
            *shared.RUNNING,
            shared.DATABASE_AWAY,
            shared.DISK_FULL,
            NO_KEY,
            TRUTH_AWAITED,
            shared.WORKERS_DOWN,
            shared.ERRORS,
        ),
    ),
    Runbook(
        alert="LowScoringPerformance",
        meaning="The median day-1 score of the newest run is below 0.3.",
        impact="None by itself: weights rank miners. It may be the first sign of a wrong reference field.",
        branches=(*shared.RUNNING, shared.DATABASE_AWAY, MOSTLY_REJECTED, FEW_SCORED, LOW_SCORES),
    ),
    Runbook(
        alert="MinersUnresponsive",
        meaning="More than half of the requests to miners in the last hour timed out.",
        impact="Miners that cannot be reached have no forecast in this run. If the fault is ours, they lose it through us.",
        branches=(*shared.RUNNING, NETWORK_AWAY, shared.HOST_BUSY, shared.ENGINE_BUSY, MINERS_SILENT),
    ),
    Runbook(
        alert="TruthLate",
        meaning="A reference set is more than a day later than its source usually publishes it.",
        impact="The leads that need it are scored later. After `GAIA_DAY1_GIVE_UP_HOURS` or `GAIA_FINAL_GIVE_UP_DAYS` they count for no miner.",
        branches=(*shared.RUNNING, shared.DATABASE_AWAY, shared.DISK_FULL, NO_KEY, TRUTH_AWAITED),
    ),
    Runbook(
        alert="VerificationFailures",
        meaning="Three times as many forecasts as usual failed their verification in a day.",
        impact="None, if miners lie. If a change of ours is the cause, honest miners are rejected.",
        branches=(*shared.RUNNING, MOSTLY_REJECTED, REASONS),
    ),
)
