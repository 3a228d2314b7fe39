"""Alerts about errors, overdue jobs, releases and the monitoring itself."""

from __future__ import annotations

from alerting.rule import JOB, Alert, Case, Group, Severity, series
from alerting.weather import TASK_LABEL

_ERRORS = "gaia_errors_total"
_LINES = "gaia_log_lines_total"
_OVERDUE = "gaia_task_overdue"
_CLOCK = "gaia_clock_timestamp_seconds"
_UPDATE = "gaia_update_available"
_MESSAGES = "gaia_notifications_total"

GROUP = Group(
    name="health",
    alerts=(
        Alert(
            name="MetricsAbsent",
            expr=f'up{{job="{JOB}"}} == 0 or absent(up{{job="{JOB}"}})',
            wait="2m",
            severity=Severity.CRITICAL,
            page=True,
            why="The Supervisor answers while no IO-Engine is up, so this means that the whole validator is away.",
            summary="{{ with $labels.instance }}{{ . }}{{ else }}Every validator{{ end }} is out of sight.",
            description="No scrape has succeeded for 2 minutes.",
            fires=Case(
                given=[series("up", "1x3 0x10")], at="8m", says="No scrape has succeeded for 2 minutes."
            ),
            silent=Case(given=[series("up", "1x3 0 1x10")], at="8m"),
        ),
        Alert(
            name="TaskOverdue",
            expr=f"{_OVERDUE} == 1",
            wait="5m",
            severity=Severity.WARNING,
            summary="A recurring job of {{ $labels.instance }} is overdue.",
            description=f"{{{{ $value }}}} job is overdue: {{{{ $labels.{TASK_LABEL} }}}}.",
            fires=Case(
                given=[
                    series(_OVERDUE, "1x20", **{TASK_LABEL: "database_monitor"}),
                    series(_OVERDUE, "0x20", **{TASK_LABEL: "main_scoring"}),
                ],
                at="10m",
                labels={TASK_LABEL: "database_monitor"},
                says="1 job is overdue: database_monitor.",
            ),
            silent=Case(
                given=[series(_OVERDUE, "1x4 0x20", **{TASK_LABEL: "database_monitor"})],
                at="10m",
            ),
        ),
        Alert(
            name="HighErrorRate",
            expr=f"sum without (kind) (rate({_ERRORS}[5m])) > 0.05",
            wait="5m",
            severity=Severity.WARNING,
            why=(
                "1 per second is never reached: the orchestrator starts two jobs, one every"
                " GAIA_TICK_INTERVAL_S (5). 0.05 per second is a quarter of all ticks."
            ),
            summary="Jobs of {{ $labels.instance }} fail.",
            description='{{ $value | printf "%.2f" }} errors per second, above 0.05.',
            fires=Case(
                given=[
                    series(_ERRORS, "0+6x30", kind="OwnFailure"),
                    series(_ERRORS, "0+6x30", kind="TransientError"),
                ],
                at="15m",
                says="0.20 errors per second, above 0.05.",
            ),
            silent=Case(given=[series(_ERRORS, "0+2.9x30", kind="OwnFailure")], at="15m"),
        ),
        Alert(
            name="LogErrors",
            expr=f'increase({_LINES}{{level="error"}}[15m]) > 0',
            severity=Severity.WARNING,
            why="A line of level error is one for which an operator may have to act.",
            summary="{{ $labels.instance }} logs errors.",
            description='{{ $value | printf "%.0f" }} lines of level {{ $labels.level }} in 15 minutes.',
            fires=Case(
                given=[series(_LINES, "0x10 3x20", level="error"), series(_LINES, "0+9x30", level="warning")],
                at="15m",
                labels={"level": "error"},
                says="3 lines of level error in 15 minutes.",
            ),
            silent=Case(
                given=[series(_LINES, "3x30", level="error"), series(_LINES, "0+9x30", level="warning")],
                at="15m",
            ),
        ),
        Alert(
            name="ClockOffset",
            expr=f"abs({_CLOCK} - timestamp({_CLOCK})) > 15",
            wait="10m",
            severity=Severity.WARNING,
            why=(
                "The clock is read every 5 seconds. A rehearsal has a simulated calendar, so there it always fires."
            ),
            summary="The clock of {{ $labels.instance }} is not Prometheus's.",
            description="The two clocks differ by {{ $value | humanizeDuration }}, above 15 seconds.",
            fires=Case(
                given=[series(_CLOCK, "20+60x30")],
                at="15m",
                says="The two clocks differ by 20s, above 15 seconds.",
            ),
            silent=Case(given=[series(_CLOCK, "-15+60x30")], at="15m"),
        ),
        Alert(
            name="UpdateAvailable",
            expr=f"{_UPDATE} == 1",
            wait="1h",
            severity=Severity.INFO,
            summary="A newer release than that of {{ $labels.instance }} is out.",
            description="The check for updates says {{ $value }}: there is a newer release.",
            fires=Case(
                given=[series(_UPDATE, "1x90")],
                at="80m",
                says="The check for updates says 1: there is a newer release.",
            ),
            silent=Case(given=[series(_UPDATE, "0x90")], at="80m"),
        ),
        Alert(
            name="NotificationsFailing",
            expr=f'increase({_MESSAGES}{{outcome="failed"}}[30m]) > 0',
            severity=Severity.WARNING,
            why="A message that one address does not take is lost to it as soon as another address takes it.",
            summary="Messages of {{ $labels.instance }} do not arrive.",
            description='{{ $value | printf "%.0f" }} messages were not taken in 30 minutes.',
            fires=Case(
                given=[
                    series(_MESSAGES, "0x20 2x40", outcome="failed"),
                    series(_MESSAGES, "0+1x60", outcome="sent"),
                ],
                at="40m",
                labels={"outcome": "failed"},
                says="2 messages were not taken in 30 minutes.",
            ),
            silent=Case(
                given=[
                    series(_MESSAGES, "2x60", outcome="failed"),
                    series(_MESSAGES, "0+1x60", outcome="sent"),
                ],
                at="40m",
            ),
        ),
        Alert(
            name="DeadManSwitch",
            expr="vector(1)",
            severity=Severity.NONE,
            why="It always fires. Whoever receives it raises the alarm when it stops, because then no alert arrives.",
            summary="Prometheus and Alertmanager work.",
            description="This alert always fires.",
            fires=Case(given=[], at="5m", says="This alert always fires.", of_instance=False),
            silent=None,
        ),
    ),
)
