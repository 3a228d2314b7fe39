"""A standby is well, and judges only itself; a lease that nobody holds is a trouble."""

from __future__ import annotations

from datetime import timedelta

import pytest

from gaia.validator.core.status.facts import Disk, Facts
from gaia.validator.core.status.troubles import Health, Part, troubles_of, unknown_parts
from gaia.validator.db.rows import IncidentRow, LeaseRow
from tests.support.status_facts import (
    NOW,
    ROLES,
    a_chain,
    a_lease,
    a_standby,
    some_facts,
    some_processes,
    some_work,
)

_, DEGRADED, STUCK = Health
CHAIN_FAILS = IncidentRow(party="chain", began_at=NOW, last_at=NOW, evidence="no answer")


@pytest.mark.parametrize(
    "facts",
    [
        pytest.param(a_standby(), id="it has never read the chain"),
        pytest.param(
            a_standby(chain=a_chain(block=99_999, read_at=NOW - timedelta(days=9))),
            id="it was active nine days ago",
        ),
        pytest.param(
            a_standby(work=some_work(lease=a_lease(holder="another"), incidents=[CHAIN_FAILS])),
            id="the active one cannot reach the chain",
        ),
    ],
)
def test_standby_is_well(facts: Facts) -> None:
    assert facts.stands_by
    assert troubles_of(facts) == []


@pytest.mark.parametrize(
    ("facts", "health", "name"),
    [
        pytest.param(
            a_standby(processes=some_processes(stopped={7: "chain_signer"})),
            *(STUCK, "ValidatorSubstrateConnectionLost"),
            id="its signer is stopped",
        ),
        pytest.param(
            a_standby(processes=some_processes(living=ROLES | {"compute_worker": 2})),
            *(DEGRADED, "ValidatorPoolSeatsMissing"),
            id="a worker is missing",
        ),
        pytest.param(
            a_standby(disk=Disk(free=9, size=100, required=1)),
            *(DEGRADED, "ValidatorDiskSpaceCritical"),
            id="its disk fills up",
        ),
        pytest.param(
            a_standby(metrics_error="connection refused"),
            *(DEGRADED, "ValidatorMetricsAbsent"),
            id="its metrics cannot be read",
        ),
    ],
)
def test_standby_with_a_trouble_of_its_own_says_so(facts: Facts, health: Health, name: str) -> None:
    (trouble,) = troubles_of(facts)

    assert (trouble.health, trouble.name) == (health, name)


def test_standby_that_does_not_run_is_called_what_it_is() -> None:
    stopped = a_standby(processes=some_processes(is_running=False, is_published=False, living={}))

    assert not stopped.stands_by
    assert [trouble.name for trouble in troubles_of(stopped)] == ["ValidatorProcessDown"]


def test_of_chain_weights_and_runs_a_standby_knows_too_little_to_call_them_well() -> None:
    known = frozenset(Part) - unknown_parts(a_standby())

    assert known == {Part.PROCESSES, Part.DATABASE, Part.JOBS, Part.DISK}
    assert unknown_parts(some_facts()) == frozenset()


@pytest.mark.parametrize(
    ("lease", "holds", "stands_by"),
    [
        (a_lease(), True, False),
        (a_lease(holder="another"), False, True),
        (a_lease(seconds_left=0.0), False, False),
        (a_lease(holder="another", seconds_left=0.0), False, False),
        (a_lease(holder="", seconds_left=-1e9), False, False),
        (None, False, False),
    ],
    ids=["ours", "another's", "ours that ended", "another's that ended", "nobody's yet", "none"],
)
def test_lease_decides_who_is_active(lease: LeaseRow | None, *, holds: bool, stands_by: bool) -> None:
    facts = some_facts(work=some_work(lease=lease))

    assert (facts.holds_lease, facts.stands_by) == (holds, stands_by)


@pytest.mark.parametrize(
    "lease",
    [None, a_lease(seconds_left=-59.0), a_lease(holder="", seconds_left=-1e9)],
    ids=["no lease", "a takeover", "a new database"],
)
def test_lease_that_ended_for_a_moment_is_no_trouble(lease: LeaseRow | None) -> None:
    assert troubles_of(some_facts(work=some_work(lease=lease))) == []


def test_lease_that_nobody_takes_is_a_trouble_of_every_validator_that_runs() -> None:
    for holder in ("this", "another"):
        (trouble,) = troubles_of(
            some_facts(work=some_work(lease=a_lease(holder=holder, seconds_left=-600.0)))
        )

        assert (trouble.health, trouble.name) == (STUCK, "ValidatorNoLeaseHolder")
        assert trouble.problem == "nobody has held the lease of the database for 10 min"
