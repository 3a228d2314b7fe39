"""What is wrong with a validator, case by case."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from gaia.validator.core.status.facts import Chain, Death, Disk, Facts, Job, OpenFiles, Processes, Seats, Work
from gaia.validator.core.status.troubles import STALE_BLOCKS, Health, health_of, troubles_of
from gaia.validator.db.rows import AwaitedRow, IncidentRow, VectorInDoubt, VectorSummary
from gaia.validator.db.states import RunState, VectorState
from tests.support.status_facts import (
    NOW,
    ROLES,
    a_chain,
    a_run,
    some_facts,
    some_processes,
    some_work,
)

WELL, DEGRADED, STUCK = Health
HEARTS = {"io_engine", "chain_signer"}
DUE_AT = 4900 + 250
"""Block at which the weights of `a_chain` are due."""


def of(processes: Processes) -> Facts:
    return some_facts(processes=processes)


def seen(chain: Chain | None) -> Facts:
    return some_facts(chain=chain)


def doing(work: Work | None, **changes: object) -> Facts:
    return some_facts(work=work, **changes)


def died(minutes: float, count: int = 1) -> list[Death]:
    return [Death(at=NOW - timedelta(minutes=minutes), cause="memory in 3.1")] * count


def awaited(failures: int = 0, hours: float = 1) -> AwaitedRow:
    return AwaitedRow(
        source="era5",
        sets=2,
        retry_at=NOW,
        last_error="status 503",
        failures=failures,
        missed_since=NOW - timedelta(hours=hours),
    )


def doubt(minutes: float, error: str | None = None) -> VectorInDoubt:
    return VectorInDoubt(
        epoch=9, state=VectorState.INTENDED, intended_at=NOW - timedelta(minutes=minutes), error=error
    )


def incident(party: str) -> IncidentRow:
    return IncidentRow(party=party, began_at=NOW - timedelta(hours=1), last_at=NOW, evidence="no answer")


VECTOR = VectorSummary(
    epoch=9,
    state=VectorState.FAILED,
    rule_set="gaia-2.9",
    block=None,
    block_hash=None,
    extrinsic=None,
    intended_at=NOW,
    error="refused",
    run_ids=[],
)


@pytest.mark.parametrize(
    "facts",
    [
        pytest.param(some_facts(), id="as it should be"),
        pytest.param(of(some_processes(living=ROLES | {"compute_worker": 4})), id="a successor is warm"),
        pytest.param(
            of(some_processes(living=ROLES | {"compute_worker": 0}, starting=["compute_worker"])),
            id="the pool comes up for the first time",
        ),
        pytest.param(some_facts(seats=Seats(healthy=2, wanted=0)), id="a cluster has any number of workers"),
        pytest.param(of(some_processes(deaths=died(10))), id="a process died ten minutes ago"),
        pytest.param(seen(a_chain(block=DUE_AT)), id="weights are due now"),
        pytest.param(seen(a_chain(block=DUE_AT + 50)), id="weights are due for some blocks"),
        pytest.param(seen(a_chain(last_update=0)), id="no weights were ever due"),
        pytest.param(
            doing(some_work(has_scores=False), chain=a_chain(block=9999)), id="nothing to make weights of"
        ),
        pytest.param(
            some_facts(chain=a_chain(block=9999), limits=replace(some_facts().limits, is_dry_run=True)),
            id="a dry run sets none",
        ),
        pytest.param(doing(some_work(weights_in_doubt=[doubt(1)])), id="weights are being set"),
        pytest.param(doing(some_work(archives=[awaited()])), id="truth is not published yet"),
        pytest.param(
            doing(some_work(newest_run=None, newest_frozen=None, open_runs=[], oldest_open_at=None, runs=0)),
            id="first minute",
        ),
        pytest.param(
            some_facts(now=NOW + timedelta(days=9), limits=replace(some_facts().limits, opens_runs=False)),
            id="a rehearsal opens no more runs",
        ),
        pytest.param(some_facts(jobs=None), id="metrics are switched off"),
        pytest.param(some_facts(disk=None), id="the disk is unknown"),
    ],
)
def test_nothing_is_wrong(facts: Facts) -> None:
    assert troubles_of(facts) == []
    assert health_of([]) is WELL


@pytest.mark.parametrize(
    ("facts", "health", "name", "words"),
    [
        pytest.param(
            of(some_processes(is_running=False, is_published=False, living={})),
            *(STUCK, "ProcessDown", "does not run"),
            id="stopped",
        ),
        pytest.param(
            of(some_processes(is_published=False, living={})),
            *(STUCK, "ProcessDown", "no process is published"),
            id="starting",
        ),
        pytest.param(
            of(some_processes(living=ROLES | {"io_engine": 0})),
            *(STUCK, "ProcessDown", "0 of 1 processes of io_engine"),
            id="no engine",
        ),
        pytest.param(
            of(some_processes(living=ROLES | {"compute_worker": 2})),
            *(DEGRADED, "PoolSeatsMissing", "2 of 3 processes of compute_worker"),
            id="a worker is missing",
        ),
        pytest.param(
            of(some_processes(living=ROLES | {"compute_worker": 0})),
            *(STUCK, "PoolSeatsMissing", "0 of 3"),
            id="no worker",
        ),
        pytest.param(
            some_facts(seats=Seats(healthy=1, wanted=3)),
            *(DEGRADED, "PoolSeatsMissing", "1 of 3 compute seats are healthy"),
            id="workers live and do not answer",
        ),
        pytest.param(
            some_facts(
                seats=Seats(healthy=2, wanted=3),
                processes=some_processes(living=ROLES | {"compute_worker": 2}),
            ),
            *(DEGRADED, "PoolSeatsMissing", "2 of 3 processes of compute_worker"),
            id="a missing worker is told once",
        ),
        pytest.param(
            of(some_processes(halt="io_engine died 12 times in a row; report it.")),
            *(STUCK, "ProcessDown", "the validator ends: io_engine died 12 times in a row; report it"),
            id="it halts",
        ),
        pytest.param(
            of(some_processes(silent_s={"io_engine": 31.0})),
            *(STUCK, "CriticalEventLoopLag", "io_engine has been silent for 31 s"),
            id="the engine hangs",
        ),
        pytest.param(
            of(some_processes(silent_s={"io_engine": 11.0})),
            *(DEGRADED, "CriticalEventLoopLag", "io_engine has been silent for 11 s"),
            id="the engine may hang",
        ),
        pytest.param(
            of(some_processes(silent_s={"chain_signer": 91.0})),
            *(STUCK, "CriticalEventLoopLag", "chain_signer"),
            id="the signer hangs",
        ),
        pytest.param(
            of(some_processes(deaths=died(2))),
            *(DEGRADED, "ProcessRestarting", "a process died 2 min ago: memory in 3.1"),
            id="a death",
        ),
        pytest.param(
            of(some_processes(deaths=died(30, 6))),
            *(DEGRADED, "ProcessHighRestarts", "6 processes died in the last hour"),
            id="many deaths",
        ),
        pytest.param(
            doing(None, database_error="refused"),
            *(STUCK, "DatabaseFailures", "cannot be read: refused"),
            id="no database",
        ),
        pytest.param(seen(None), *(STUCK, "SubstrateConnectionLost", "not been read"), id="no chain yet"),
        pytest.param(
            seen(a_chain(read_at=NOW - timedelta(minutes=20))),
            *(DEGRADED, "SubstrateConnectionLost", "last read 20 min ago"),
            id="the chain is away",
        ),
        pytest.param(
            seen(a_chain(uid=None)), *(STUCK, "NotRegistered", "is not registered on subnet 57"), id="no uid"
        ),
        pytest.param(
            seen(a_chain(has_permit=False)), *(STUCK, "NoPermit", "no validator permit"), id="permit"
        ),
        pytest.param(
            some_facts(chain=a_chain(has_permit=False), limits=replace(some_facts().limits, is_dry_run=True)),
            *(DEGRADED, "NoPermit", "no validator permit"),
            id="dry run without a permit",
        ),
        pytest.param(
            seen(a_chain(block=DUE_AT + 51)),
            *(DEGRADED, "WeightsStale", "51 blocks (10 min) late"),
            id="weights are late",
        ),
        pytest.param(
            seen(a_chain(block=DUE_AT + STALE_BLOCKS + 1)),
            *(STUCK, "WeightsStale", "1081 blocks (3.6 h) late"),
            id="weights are stale",
        ),
        pytest.param(
            doing(some_work(weights=VECTOR), chain=a_chain(last_update=0)),
            *(DEGRADED, "WeightsStale", "none of ours was ever on chain"),
            id="weights never landed",
        ),
        pytest.param(
            doing(some_work(weights_in_doubt=[doubt(11)])),
            *(DEGRADED, "VectorInDoubt", "outcome of 1 weight vectors is unknown: epoch 9"),
            id="an old doubt",
        ),
        pytest.param(
            doing(some_work(weights_in_doubt=[doubt(1, "refused")])),
            *(DEGRADED, "VectorInDoubt", "epoch 9"),
            id="a refused vector",
        ),
        pytest.param(
            doing(some_work(incidents=[incident("chain")])),
            *(DEGRADED, "SubstrateConnectionLost", "chain fails since 2026-03-26 11:00Z: no answer"),
            id="an incident of the chain",
        ),
        pytest.param(
            doing(some_work(incidents=[incident("weights")])),
            *(DEGRADED, "WeightsStale", "weights fails since"),
            id="an incident of the weights",
        ),
        pytest.param(
            doing(some_work(incidents=[incident("consensus")])),
            *(DEGRADED, "TrustFalls", "consensus differs from our weights since"),
            id="weights that cost trust",
        ),
        pytest.param(
            doing(some_work(oldest_open_at=NOW - timedelta(days=19))),
            *(DEGRADED, "StuckWeatherRuns", "run 2026-03-25T00Z has been open for 19.0 days"),
            id="a stuck run",
        ),
        pytest.param(
            doing(
                some_work(
                    newest_run=a_run(opened_at=NOW - timedelta(hours=27), state=RunState.COMPLETED),
                    open_runs=[],
                    oldest_open_at=None,
                )
            ),
            *(DEGRADED, "NoRunOpened", "no run has opened for 27.0 h"),
            id="no run opens",
        ),
        pytest.param(
            doing(some_work(archives=[awaited(failures=1)])),
            *(DEGRADED, "TruthLate", "era5 lacks 2 sets since 2026-03-26 11:00Z: status 503"),
            id="an archive fails",
        ),
        pytest.param(
            doing(some_work(archives=[awaited(hours=25)])),
            *(DEGRADED, "TruthLate", "era5"),
            id="truth is late",
        ),
        pytest.param(
            some_facts(jobs=None, metrics_error="connection refused"),
            *(DEGRADED, "MetricsAbsent", "cannot be read: connection refused"),
            id="no metrics",
        ),
        pytest.param(
            some_facts(jobs=[Job(name="tick", last_success_at=NOW, is_overdue=True)]),
            *(DEGRADED, "TaskOverdue", "job tick is overdue, last done 2026-03-26 12:00Z"),
            id="an overdue job",
        ),
        *(
            pytest.param(
                of(some_processes(stopped={7: role}, silent_s={role: 999.0} if role in HEARTS else {})),
                *(health, name, f"{role} (pid 7) is stopped"),
                id=f"stopped {role}",
            )
            for role, health, name in (
                ("io_engine", STUCK, "CriticalEventLoopLag"),
                ("chain_signer", STUCK, "SubstrateConnectionLost"),
                ("postgres", STUCK, "DatabaseFailures"),
                ("compute_worker", DEGRADED, "PoolSeatsMissing"),
            )
        ),
        pytest.param(
            of(some_processes(files=[OpenFiles(role="io_engine", used=81, limit=100)])),
            *(DEGRADED, "OpenFilesHigh", "io_engine has 81 files open"),
            id="81 of 100 files",
        ),
        pytest.param(
            doing(some_work(newest_frozen=a_run(forecasts=12, rejected=12))),
            *(DEGRADED, "VerificationFailures", "all 12 forecasts"),
            id="all forecasts rejected",
        ),
        pytest.param(
            some_facts(disk=Disk(free=19, size=100, required=1)),
            *(DEGRADED, "DiskSpaceLow", "19%"),
            id="19 %",
        ),
        pytest.param(
            some_facts(disk=Disk(free=9, size=100, required=1)),
            *(DEGRADED, "DiskSpaceCritical", "9%"),
            id="9 %",
        ),
        pytest.param(
            some_facts(disk=Disk(free=50, size=100, required=51)),
            *(STUCK, "DiskSpaceCritical", "50%"),
            id="full",
        ),
    ],
)
def test_one_thing_is_wrong(facts: Facts, health: Health, name: str, words: str) -> None:
    (trouble,) = troubles_of(facts)

    assert (trouble.health, trouble.name) == (health, f"Validator{name}")
    assert words in trouble.problem
    assert trouble.remedy


def test_worst_trouble_comes_first_and_decides() -> None:
    facts = some_facts(
        disk=Disk(free=19, size=100, required=1), processes=some_processes(living=ROLES | {"io_engine": 0})
    )

    found = troubles_of(facts)

    assert [trouble.health for trouble in found] == [STUCK, DEGRADED]
    assert health_of(found) is STUCK


def test_validator_that_does_not_run_is_not_blamed_for_what_follows_from_it() -> None:
    facts = some_facts(
        processes=some_processes(is_running=False, is_published=False, living={}),
        chain=a_chain(read_at=NOW - timedelta(days=9)),
        work=None,
        database_error="it is stopped",
        metrics_error="connection refused",
    )

    assert [trouble.name for trouble in troubles_of(facts)] == ["ValidatorProcessDown"]


def test_age_in_a_rehearsal_is_in_blocks_alone() -> None:
    (trouble,) = troubles_of(some_facts(is_simulated=True, chain=a_chain(block=DUE_AT + 60)))

    assert trouble.problem == "our weights are 60 blocks late"


@pytest.mark.parametrize("silent_s", [0.0, 15.0, 999.0])
def test_silence_of_a_stopped_engine_is_no_trouble_of_its_own(silent_s: float) -> None:
    stopped = some_processes(stopped={7: "io_engine"}, silent_s={"io_engine": silent_s})

    assert len(troubles_of(some_facts(processes=stopped))) == 1


def test_stopped_workers_and_missing_ones_are_told_apart() -> None:
    there = some_processes()
    living = {**there.living, "compute_worker": there.living["compute_worker"] - 1}
    stopped = dict.fromkeys([7, 8], "compute_worker")

    found = troubles_of(some_facts(processes=some_processes(living=living, stopped=stopped)))

    assert len({trouble.key for trouble in found}) == len(found) == 3


def test_some_rejected_forecasts_and_some_open_files_are_no_trouble() -> None:
    facts = some_facts(
        processes=some_processes(files=[OpenFiles(role="io_engine", used=80, limit=100)]),
        work=some_work(newest_frozen=a_run(forecasts=12, rejected=11)),
    )

    assert troubles_of(facts) == []


def test_exit_code_is_the_number_of_the_health() -> None:
    assert [int(health) for health in Health] == [0, 1, 2]
