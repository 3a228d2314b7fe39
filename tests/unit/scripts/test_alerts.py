"""The rules in monitoring/ are current, complete and few enough to wake people."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from alerting.render import alert_rules, expected_labels
from alerting.rule import Alert, Pace, Severity, seconds_of
from alerting.table import ALERTS, GROUPS, MOST_PAGES, RECORDINGS
from generate import alerts

NAMED_BY_THE_PLAN = (
    "IPCQueueFull IPCQueueHigh IPCResultQueueFull ProcessDown ProcessRestarting ProcessHighRestarts HighMemoryUsage"
    " CriticalMemoryUsage HighCPUUsage CriticalCPUUsage EventLoopLag CriticalEventLoopLag DatabaseConnectionsHigh"
    " DatabaseConnectionsExhausted SlowComputeJobs ComputeJobFailures HighComputeJobFailureRate NoWeatherRuns"
    " StuckWeatherRuns LowScoringPerformance DiskSpaceLow DiskSpaceCritical NoRecentActivity HighErrorRate"
    " SubstrateConnectionLost MinersUnresponsive DeadManSwitch"
)


def test_files_are_what_the_table_says() -> None:
    found = set((alerts.MONITORING / "tests").glob("*.yml"))
    wanted = alerts.rendered()

    assert {path: path.read_text() for path in wanted} == wanted, "run scripts/generate/alerts.py"
    assert found <= wanted.keys()


def test_generator_puts_the_place_of_the_runbooks_into_each_rule(tmp_path: Path) -> None:
    text = alert_rules(GROUPS, Pace(), "https://example.org/runbooks")

    for alert in ALERTS:
        assert f'runbook_url: "https://example.org/runbooks/{alert.full_name}.md"' in text


@pytest.mark.parametrize("name", NAMED_BY_THE_PLAN.split())
def test_alert_that_the_plan_names_is_there(name: str) -> None:
    assert name in [alert.name for alert in ALERTS]


def test_no_name_comes_twice() -> None:
    for names in ([alert.name for alert in ALERTS], [recording.name for recording in RECORDINGS]):
        assert len(set(names)) == len(names)


def test_few_alerts_wake_a_person() -> None:
    pages = [alert for alert in ALERTS if alert.page]

    assert 0 < len(pages) <= MOST_PAGES
    assert all(alert.severity in (Severity.CRITICAL, Severity.WARNING) for alert in pages)


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert.name)
def test_alert_names_the_validator_and_says_a_value(alert: Alert) -> None:
    if alert.name == "DeadManSwitch":
        assert alert.silent is None
        return
    assert "instance" in expected_labels(alert)
    assert "$labels.instance" in alert.summary
    assert alert.name == "MetricsAbsent" or "$value" in alert.description
    assert alert.silent is not None
    assert "$" not in alert.fires.says


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert.name)
def test_recordings_that_an_alert_reads_exist(alert: Alert) -> None:
    used = set(re.findall(r"gaia:[a-z0-9_:]+", alert.expr))

    assert used <= {recording.name for recording in RECORDINGS}


def test_recorded_expression_is_used_more_than_once() -> None:
    for recording in RECORDINGS:
        assert sum(alert.expr.count(recording.name) for alert in ALERTS) > 1


def test_rehearsal_divides_every_duration() -> None:
    pace = Pace(speed=60)
    whole, divided = alert_rules(GROUPS, Pace()), alert_rules(GROUPS, pace)

    waits = re.findall(r"for: (\w+)", whole)
    assert re.findall(r"for: (\w+)", divided) == [pace.wait(wait) for wait in waits]
    for before, after in zip(re.findall(r"\[(\w+)\]", whole), re.findall(r"\[(\w+)\]", divided), strict=True):
        assert seconds_of(after) == max(5, round(seconds_of(before) / 60))
    assert "> 10800" in whole
    assert "> 180" in divided
    assert "offset 25m" not in whole
    assert "offset 1500s" in divided
