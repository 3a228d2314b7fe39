"""Runbooks about errors, overdue jobs, releases and the monitoring itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gaia.cli.runbooks import shared
from gaia.cli.runbooks.branch import Branch, Runbook
from gaia.cli.tables import one_line
from gaia.validator.doctor.looks.host import is_clock_synchronised

if TYPE_CHECKING:
    from gaia.cli.runbooks.facts import Facts


def _answers_here(facts: Facts) -> str:
    return f"{facts.endpoint} has {len(facts.samples)} samples" if facts.samples else ""


def _overdue(facts: Facts) -> str:
    return ", ".join(sorted(facts.by("gaia_task_overdue", "task")))


def _no_backup(facts: Facts) -> str:
    is_overdue = "daily_backup" in facts.by("gaia_task_overdue", "task")
    return "daily_backup has not succeeded for six hours" if is_overdue else ""


def _unforeseen(facts: Facts) -> str:
    parties = facts.by("gaia_unforeseen_errors_total", "party")
    return (
        f"since the start: {', '.join(f'{count:.0f} with {party}' for party, count in parties.items())}"
        if parties
        else ""
    )


def _archive_errors(facts: Facts) -> str:
    rows = facts.rows.awaited if facts.rows else ()
    return f"{rows[0].source}: {one_line(rows[0].last_error)}" if rows else ""


def _incidents(facts: Facts) -> str:
    rows = facts.rows.incidents if facts.rows else ()
    return f"{rows[0].party}: {one_line(rows[0].evidence)}" if rows else ""


def _deaths(facts: Facts) -> str:
    deaths = facts.deaths()
    return f"{len(deaths)} in the last hour; the newest: {deaths[0].sentence}" if deaths else ""


def _simulated(facts: Facts) -> str:
    file = facts.settings.clock_file
    return f"GAIA_CLOCK_FILE is {file}" if file is not None else ""


def _not_synchronised(_facts: Facts) -> str:
    is_kept = is_clock_synchronised()
    return "the kernel says that no time service keeps the clock" if is_kept is False else ""


def _newer(facts: Facts) -> str:
    versions = facts.by("gaia_build_info", "version") if facts.total("gaia_update_available") else {}
    return f"version {', '.join(versions)} runs here" if versions else ""


def _none_taken(facts: Facts) -> str:
    messages = facts.by("gaia_notifications_total", "outcome")
    failed = messages.get("failed", 0.0)
    return (
        f"{failed:.0f} refused or lost since the start, none taken"
        if failed and "sent" not in messages
        else ""
    )


def _some_taken(facts: Facts) -> str:
    messages = facts.by("gaia_notifications_total", "outcome")
    sent, failed = messages.get("sent", 0.0), messages.get("failed", 0.0)
    return f"{failed:.0f} refused or lost since the start, {sent:.0f} taken" if failed and sent else ""


ANSWERS_HERE = Branch(
    sentence="The endpoint answers on this machine, so Prometheus does not reach it.",
    remedy=(
        "Compare the targets in `prometheus.yml`. `GAIA_METRICS_HOST=127.0.0.1` is visible on this machine only."
        " The scrape job must be called `gaia`."
    ),
    look=_answers_here,
)
NO_BACKUP = Branch(
    sentence="No backup can be made.",
    remedy=(
        "`gaia logs --event job_failed` tells why. `gaia doctor` looks at the folder and the programs."
        " `gaia backup create` makes one now."
    ),
    look=_no_backup,
)
OVERDUE = Branch(
    sentence="Recurring jobs have not succeeded in time.",
    remedy="Read `gaia logs --event job_failed`: it has the failures in words.",
    look=_overdue,
)
UNFORESEEN = Branch(
    sentence="An exception came that nobody foresaw.",
    remedy="It is a bug: report what `gaia logs --event unforeseen_error` prints.",
    look=_unforeseen,
)
ARCHIVE_ERRORS = Branch(
    sentence="An archive refuses what is asked.",
    remedy="If it speaks of a key or a licence, correct `GAIA_CDS_KEY` or accept the licence. Else it is tried again.",
    look=_archive_errors,
)
INCIDENTS = Branch(
    sentence="A party outside the validator fails.",
    remedy="See the runbook of SubstrateConnectionLost for the chain, and that of WeightsStale for weights.",
    look=_incidents,
)
DEATHS = Branch(
    sentence="Processes died.",
    remedy="See the runbook of ProcessRestarting: `gaia runbook ProcessRestarting` names the cause.",
    look=_deaths,
)
SIMULATED = Branch(
    sentence="The validator has a simulated clock, as in a rehearsal.",
    remedy="Remove `GAIA_CLOCK_FILE`, and restart, unless this is a rehearsal.",
    look=_simulated,
)
NOT_SYNCHRONISED = Branch(
    sentence="No time service keeps the clock of this host.",
    remedy="Install one: `apt-get install chrony`, or `timedatectl set-ntp true`. A container has the clock of its host.",
    look=_not_synchronised,
)
NONE_TAKEN = Branch(
    sentence="No address has taken a message since the start.",
    remedy=(
        "Run `gaia notify test`, which names the service and the reason. Correct `GAIA_NOTIFY_URLS`,"
        " or let this host reach the service. What is not delivered is sent again each minute."
    ),
    look=_none_taken,
)
SOME_TAKEN = Branch(
    sentence="An address did not take some messages.",
    remedy=(
        "`gaia logs --event notification_failed` names the service. If `gaia notify test` fails for it,"
        " correct its address in `GAIA_NOTIFY_URLS`. Else the service was away, and is back."
    ),
    look=_some_taken,
)
NEWER = Branch(
    sentence="The check for updates found a newer release.",
    remedy="Read its changelog, then upgrade when no run is being polled: between 00:00 and 17:00 UTC.",
    look=_newer,
)

RUNBOOKS: Final = (
    Runbook(
        alert="MetricsAbsent",
        meaning="Prometheus could not read the metrics for two minutes, or knows no scrape job `gaia`.",
        impact="No other alert about this validator can fire. Most often it does not run at all.",
        branches=(*shared.RUNNING, ANSWERS_HERE),
    ),
    Runbook(
        alert="TaskOverdue",
        meaning="A recurring job has not succeeded by its deadline.",
        impact="It depends on the job. The others go on, because no job waits for another.",
        branches=(
            *shared.RUNNING,
            shared.DATABASE_AWAY,
            shared.BLOCKED,
            shared.UNREADABLE,
            shared.CHAIN_AWAY,
            shared.ENGINE_HANGS,
            shared.DISK_FULL,
            NO_BACKUP,
            OVERDUE,
        ),
    ),
    Runbook(
        alert="HighErrorRate",
        meaning="At least a quarter of the starts of the orchestrator's jobs fail.",
        impact="Runs, polls, scores or weights come later. Each job is tried again at its next beat.",
        branches=(
            *shared.RUNNING,
            shared.DATABASE_AWAY,
            shared.CHAIN_AWAY,
            shared.SIGNER_DOWN,
            shared.DISK_FULL,
            shared.BLOCKED,
            shared.ERRORS,
        ),
    ),
    Runbook(
        alert="LogErrors",
        meaning="The validator logged a line of level error: something for which an operator may have to act.",
        impact="The line says it.",
        branches=(
            shared.STOPPED,
            shared.DATABASE_AWAY,
            shared.UNREADABLE,
            shared.DISK_FULL,
            UNFORESEEN,
            INCIDENTS,
            ARCHIVE_ERRORS,
            DEATHS,
            shared.ERRORS,
        ),
    ),
    Runbook(
        alert="ClockOffset",
        meaning="The clock of the validator and that of Prometheus differ by more than 15 seconds.",
        impact="Due moments come early or late: miners are judged by the wrong time.",
        branches=(SIMULATED, NOT_SYNCHRONISED),
    ),
    Runbook(
        alert="UpdateAvailable",
        meaning="The check for updates, which is off by default, found a newer release.",
        impact="None. Validators with different rules disagree about weights once a release changes them.",
        branches=(shared.STOPPED, NEWER),
    ),
    Runbook(
        alert="NotificationsFailing",
        meaning="An address in `GAIA_NOTIFY_URLS` did not take a message in the last 30 minutes.",
        impact="The operator may not hear of a trouble. Scores and weights go on.",
        branches=(*shared.RUNNING, NONE_TAKEN, SOME_TAKEN),
    ),
    Runbook(
        alert="DeadManSwitch",
        meaning="This alert always fires. Its silence is the alarm: then Prometheus or Alertmanager does not work.",
        impact="While it is silent no alert reaches anybody.",
        branches=(
            *shared.RUNNING,
            Branch(
                sentence="The validator answers, so look at Prometheus and Alertmanager.",
                remedy="`promtool check config`, `amtool check-config`, and their logs. Restart the one that does not run.",
                look=_answers_here,
            ),
        ),
    ),
)
