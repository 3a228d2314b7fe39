"""What `gaia status --json` says of the lease."""

from __future__ import annotations

from datetime import timedelta

from gaia.cli.status.report import LeaseShown, StatusReport
from gaia.validator.core.status.troubles import troubles_of
from tests.support.status_facts import NOW, a_lease, a_standby, some_facts, some_work

HOLDER, SINCE = "first-machine:/srv/gaia", NOW - timedelta(days=1)


def test_standby_is_well_and_names_the_holder_of_the_lease() -> None:
    facts = a_standby()

    report = StatusReport.of(facts, troubles_of(facts))

    assert (report.health, report.exit_code, report.stands_by) == ("well", 0, True)
    assert report.lease == LeaseShown(holder=HOLDER, since=SINCE, is_held=True, is_ours=False)


def test_active_validator_holds_the_lease_itself() -> None:
    report = StatusReport.of(some_facts(), [])

    assert not report.stands_by
    assert report.lease == LeaseShown(holder=HOLDER, since=SINCE, is_held=True, is_ours=True)


def test_lease_that_ended_is_nobodys() -> None:
    facts = some_facts(work=some_work(lease=a_lease(seconds_left=-1.0)))

    report = StatusReport.of(facts, [])

    assert report.lease == LeaseShown(holder=HOLDER, since=SINCE, is_held=False, is_ours=False)


def test_lease_of_a_database_that_was_not_read_is_unknown() -> None:
    assert StatusReport.of(some_facts(work=None), []).lease is None
