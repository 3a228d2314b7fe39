"""Each alert is fired by a fault in the local subnet, or its absence has a reason."""

from __future__ import annotations

import re

import pytest
from alerting.table import ALERTS, RECORDINGS
from monitored.alertmanager import routes_to
from monitored.faults.table import ALWAYS, FASTER, NOT_INJECTED, SPEED, STAGES
from monitored.prometheus import paced_recordings, paced_rules

FAULTS = [fault for stage in STAGES for fault in stage.faults]


def test_each_alert_has_a_fault_or_a_reason() -> None:
    fired = [name for fault in FAULTS for name in fault.alerts]

    assert sorted([*fired, *NOT_INJECTED, *ALWAYS]) == sorted(alert.name for alert in ALERTS)
    assert len(NOT_INJECTED) <= 3
    assert all(reason for reason in NOT_INJECTED.values())


def test_faults_have_names_of_their_own() -> None:
    names = [fault.name for fault in FAULTS]

    assert len(set(names)) == len(names)


def test_rules_of_a_rehearsal_are_the_rules_with_shorter_durations() -> None:
    text = paced_rules(SPEED, FASTER)

    assert sorted(re.findall(r"alert: Validator(\w+)", text)) == sorted(alert.name for alert in ALERTS)
    for alert in ALERTS:
        assert FASTER.get(alert.name, SPEED) >= 1
    assert FASTER.keys() <= {alert.name for alert in ALERTS} | {rule.name for rule in RECORDINGS}


def test_range_over_a_counter_that_is_renewed_every_five_seconds_holds_many_of_its_steps() -> None:
    text = paced_recordings(SPEED, FASTER)

    assert sorted(re.findall(r"record: (\S+)", text)) == sorted(rule.name for rule in RECORDINGS)
    (range_s,) = re.findall(r"gaia_process_cpu_seconds_total\{[^}]*\}\[(\d+)s\]", text)
    # One step more or less must not take a busy process below 95 % of a core.
    assert 5 / int(range_s) < 0.03


@pytest.mark.parametrize("word", ["credentials_file", "127.0.0.1:9096", "inhibit_rules", "24h"])
def test_webhook_of_a_rehearsal_gets_everything_at_once_and_needs_no_token(word: str) -> None:
    assert word not in routes_to("127.0.0.1:1")
    assert routes_to("127.0.0.1:1").count("http://127.0.0.1:1/") == 3
