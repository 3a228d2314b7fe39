"""The status on a screen of 80 columns and 24 rows answers the operator's questions."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from rich.cells import cell_len

from gaia.cli.status.screen import lines_of
from gaia.validator.core.status.facts import Death, Due, Facts
from gaia.validator.core.status.troubles import troubles_of
from gaia.validator.db.rows import AwaitedRow, IncidentRow, VectorInDoubt, VectorOnChain, VectorSummary
from gaia.validator.db.states import VectorState
from gaia.validator.utils.identities import RunId
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

VECTOR = VectorSummary(
    epoch=13, state=VectorState.FAILED, rule_set="gaia-2.9", block=None, block_hash=None, extrinsic=None,
    intended_at=NOW, error="the chain refused the weights: SettingWeightsTooFast", run_ids=[RunId("r")] * 15,
)  # fmt: skip
EVERYTHING_AT_ONCE = some_facts(
    processes=some_processes(
        living=ROLES | {"io_engine": 0, "compute_worker": 1},
        deaths=[Death(at=NOW, cause="memory in 3.1 with 2100 MiB at numerics.py:12 in f < g.py:7 in h")] * 9,
    ),
    chain=a_chain(block=9000, read_at=NOW - timedelta(hours=2)),
    work=some_work(
        weights=VECTOR,
        weights_set=VectorOnChain(epoch=11, block=4900, block_hash=None, extrinsic=None, settled_at=None),
        weights_in_doubt=[
            VectorInDoubt(epoch=13, state=VectorState.FAILED, intended_at=NOW, error="refused")
        ],
        incidents=[IncidentRow(party="chain", began_at=NOW, last_at=NOW, evidence="x\x1b[31m " * 60)],
        archives=[
            AwaitedRow(
                source="era5", sets=3, retry_at=NOW, last_error="status 503", failures=4, missed_since=NOW
            )
        ],
        forecasts={
            "planned": 1,
            "requested": 22,
            "frozen": 3,
            "scored_day1": 101,
            "scored": 99,
            "rejected": 30,
        },
        due=[Due(at=NOW, what="the next run opens"), Due(at=NOW, what="era5 is asked again")],
    ),
    metrics_error="[Errno 111] Connection refused",
)


def said(facts: Facts, width: int | None = None) -> str:
    return "\n".join(lines_of(facts, troubles_of(facts), width))


def test_everything_at_once_fits_the_screen() -> None:
    lines = lines_of(EVERYTHING_AT_ONCE, troubles_of(EVERYTHING_AT_ONCE), 80)

    assert max(map(cell_len, lines)) <= 80
    assert len(lines) <= 32
    # What a screen of 24 rows cuts is not what is wrong.
    assert max(number for number, line in enumerate(lines) if line.startswith(("wrong", "  do"))) < 16
    assert "\x1b" not in "".join(lines)


def test_validator_that_is_well_fits_with_room_to_spare() -> None:
    lines = lines_of(some_facts(), [], 80)

    assert max(map(cell_len, lines)) <= 80
    assert len(lines) <= 18


def test_first_line_says_whether_all_is_well() -> None:
    assert said(some_facts()).splitlines()[0].endswith(": well")
    assert said(EVERYTHING_AT_ONCE).splitlines()[0].endswith(": stuck")
    dry = some_facts(limits=replace(some_facts().limits, is_dry_run=True))
    assert said(dry).splitlines()[0].endswith("dry run: nothing is signed")


def test_it_says_what_the_validator_earns_and_how_old_its_weights_are() -> None:
    text = said(some_facts())

    assert (
        "uid 3 of subnet 57, stake 2000.5, validator permit, dividends 0.0123, emission a tempo 4.5000"
        in text
    )
    assert "hotkey      5GrwvaEF5zXb26Fz9rcQpDWS57CtERHpNehXCPcNoHGKutQY" in text
    assert "ours of block 4900, 100 blocks (20 min) old; next in 150 blocks (30 min); block 5000" in text


def test_active_validator_is_said_to_hold_the_lease_and_since_when() -> None:
    assert "lease       this validator holds it since 2026-03-25 12:00Z" in said(some_facts())


def test_standby_is_well_and_says_who_is_active_and_since_when() -> None:
    text = said(a_standby())

    assert text.splitlines()[0].endswith(": well, stands by")
    assert "lease       first-machine:/srv/gaia holds it since 2026-03-25 12:00Z" in text
    assert "does        stands by" in text
    assert "on chain" not in text


def test_lease_that_nobody_holds_names_its_last_holder() -> None:
    text = said(some_facts(work=some_work(lease=a_lease(seconds_left=-600.0))))

    assert text.splitlines()[0].endswith(": stuck")
    assert "lease       nobody holds it; first-machine:/srv/gaia took it last, 2026-03-25 12:00Z" in text


def test_database_without_a_lease_has_no_line_about_it() -> None:
    assert "lease" not in said(some_facts(work=some_work(lease=None)))


def test_weights_that_are_late_are_due_since_then() -> None:
    text = said(some_facts(chain=a_chain(block=5200)))

    assert "next since 50 blocks (10 min) due" in text


def test_trust_is_shown_for_the_last_epoch_and_the_next() -> None:
    text = said(some_facts(chain=a_chain(validator_trust=0.95, next_trust=0.75)))

    assert "vtrust 0.9500, in the next epoch 0.7500" in text


def test_unknown_dividends_are_not_shown_as_nothing() -> None:
    text = said(some_facts(chain=a_chain(dividends=None, emission=None)))

    assert "dividends" not in text
    assert "vtrust" not in text
    assert "emission" not in text


@pytest.mark.parametrize(
    ("states", "words"),
    [
        ({"planned": 1, "frozen": 3}, "does        asks miners for forecasts"),
        ({"requested": 1, "scored_day1": 3}, "does        waits for manifests"),
        ({"frozen": 2}, "does        scores day 1"),
        ({"scored_day1": 2, "rejected": 4}, "does        scores leads as ERA5 is published"),
        ({"rejected": 4}, "does        completes its open runs"),
    ],
)
def test_it_says_what_the_validator_does(states: dict[str, int], words: str) -> None:
    assert words in said(some_facts(work=some_work(forecasts=states)))


def test_stopped_validator_does_nothing_and_its_runs_wait() -> None:
    text = said(some_facts(processes=some_processes(is_running=False, is_published=False, living={})))

    assert "does        nothing, because it does not run; 1 run open" in text
    assert "processes   none: the validator does not run" in text


def test_idle_validator_says_so_and_what_comes_next() -> None:
    due = Due(at=NOW + timedelta(hours=6), what="the next run opens")
    text = said(some_facts(work=some_work(open_runs=[], oldest_open_at=None, forecasts={}, due=[due])))

    assert "nothing: no run is open" in text
    assert "next        2026-03-26 18:00Z the next run opens" in text


def test_every_trouble_has_its_remedy_below_it() -> None:
    text = said(some_facts(processes=some_processes(living=ROLES | {"io_engine": 0})))

    assert (
        "wrong       stuck: 0 of 1 processes of io_engine live\n  do        gaia runbook ValidatorProcessDown\n"
        in text
    )


def test_troubles_that_do_not_fit_are_counted() -> None:
    troubles = troubles_of(EVERYTHING_AT_ONCE)

    assert f"{len(troubles) - 3} more: gaia status --json" in said(EVERYTHING_AT_ONCE)


def test_simulated_time_is_called_so_and_ages_are_in_blocks() -> None:
    text = said(some_facts(is_simulated=True))

    assert "time        2026-03-26 12:00Z on the simulated clock of a rehearsal" in text
    assert "100 blocks old; next in 150 blocks; block 5000" in text


def test_database_that_is_away_is_said_and_the_rest_is_shown() -> None:
    text = said(some_facts(work=None, database_error="the database cannot be reached (refused)"))

    assert "database    not read: the database cannot be reached (refused)" in text
    assert "io_engine 1" in text
    assert "ours of block 4900" in text


def test_narrow_terminal_folds_lines_and_cuts_nothing() -> None:
    lines = lines_of(EVERYTHING_AT_ONCE, troubles_of(EVERYTHING_AT_ONCE), 40)

    assert "…" not in "".join(lines)
    assert "ValidatorProcessDown" in " ".join(lines)
    assert a_chain().hotkey in " ".join(lines)


def test_pool_that_comes_up_for_the_first_time_is_said_to_start() -> None:
    text = said(
        some_facts(
            processes=some_processes(living=ROLES | {"compute_worker": 0}, starting=["compute_worker"])
        )
    )

    assert "compute_worker 0 of 3 (starting)" in text
    assert text.splitlines()[0].endswith(": well")
