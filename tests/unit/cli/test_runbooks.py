"""Each cause of a runbook is found where it is there, and none in a validator that is well."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import psutil
import pytest
from alerting.table import ALERTS

from gaia.cli.runbooks import chain, database, health, pool, processes, shared, weather, weights
from gaia.cli.runbooks.branch import Branch
from gaia.cli.runbooks.disk_use import DiskUse
from gaia.cli.runbooks.facts import Facts
from gaia.cli.runbooks.table import RUNBOOKS
from gaia.cli.status.samples import Samples
from gaia.validator.app.meeting.rendezvous import Board
from gaia.validator.core.status.troubles import MANY_FILES
from gaia.validator.core.weights.preflight import impossible as refusal
from gaia.validator.db.rows import BlockedRow
from gaia.validator.db.states import VectorState
from gaia.validator.utils.config import Settings
from gaia.validator.utils.identities import WorkerId
from tests.support.builders import a_metagraph, a_neuron
from tests.support.runbook_facts import (
    AWAITED,
    DOUBT,
    ME,
    NOW,
    ROWS,
    SAMPLES,
    a_lease,
    a_run,
    changed,
    died,
    incident,
    on_chain,
    stored,
    told,
    without,
)
from tests.support.stored_rows import a_vector_row

ABOUT_THE_MACHINE = {
    shared.HOST_BUSY.sentence,
    shared.HOST_FULL.sentence,
    shared.DISK_FULL.sentence,
    "The kernel or the container offers no full sandbox.",
    "No time service keeps the clock of this host.",
    *(branch.sentence for branch in RUNBOOKS["DiskSpaceLow"].branches),
}
"""Causes that depend on the machine under the tests."""
ALWAYS = {
    "The endpoint answers on this machine, so Prometheus does not reach it.",
    "The validator answers, so look at Prometheus and Alertmanager.",
}
"""Causes that hold exactly where the validator is well."""


@pytest.fixture(scope="module")
def node() -> Iterator[str]:
    """Address of something that accepts connections, as a node of the chain does."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"ws://127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture
def well(node: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Facts:
    """A validator that is well; this process plays all of its own."""
    monkeypatch.chdir(tmp_path)
    settings = Settings(chain_endpoint=node, cds_key="key", last_run=None)  # type: ignore[arg-type]
    roles = ("io_engine", "chain_signer", "postgres", "supervisor")
    return Facts(
        data_dir=tmp_path,
        settings=settings,
        knows_secrets=True,
        endpoint="http://127.0.0.1:9090/metrics",
        samples=Samples(SAMPLES),
        endpoint_error="",
        board=Board(workers={WorkerId("0.1"): ME}, processes=dict.fromkeys(roles, ME)),
        processes={ME: psutil.Process()},
        heartbeat_age_s=0.5,
        silence_s=30.0,
        cpu={ME: 0.1},
        blocked=[],
        rows=ROWS,
        database_error="",
        rows_error="",
        metagraph=a_metagraph([a_neuron(1, validator_permit=True)], own_uid=1),
        disk=DiskUse(tmp_path),
    )


FAILED = a_vector_row(state=VectorState.FAILED, error="no")
FOREIGN = "the weights of block 9 are not of this validator; another program signs with its hotkey"
SENT = ['gaia_notifications_total{outcome="failed"} 1', 'gaia_notifications_total{outcome="sent"} 8']
CASES: list[tuple[str, Branch, Callable[[Facts], Facts], str]] = [
    ("stopped", shared.STOPPED, lambda facts: replace(facts, processes={}), "no process"),
    (
        "silent endpoint",
        shared.ENDPOINT_SILENT,
        lambda facts: replace(facts, samples=None, endpoint_error="http://x: refused"),
        "refused",
    ),
    (
        "database away",
        shared.DATABASE_AWAY,
        lambda facts: replace(facts, rows=None, database_error="database: gone"),
        "database: gone",
    ),
    (
        "unreadable",
        shared.UNREADABLE,
        lambda facts: replace(facts, rows=None, rows_error="relation runs does not exist"),
        "relation runs",
    ),
    ("no engine", shared.ENGINE_DOWN, without("io_engine"), "no living one"),
    ("no signer", shared.SIGNER_DOWN, without("chain_signer"), "no living one"),
    ("no workers", shared.WORKERS_DOWN, without("compute_worker"), "no living one"),
    ("no database", shared.POSTGRES_DOWN, without("postgres"), "no living one"),
    ("signer died", shared.SIGNER_DOWN, died("exit 3", "chain_signer"), "the last one: exit 3"),
    ("hangs", shared.ENGINE_HANGS, lambda facts: replace(facts, heartbeat_age_s=99.0), "99 s ago"),
    (
        "hangs by its own setting",
        shared.ENGINE_HANGS,
        lambda facts: replace(facts, heartbeat_age_s=9.0, silence_s=5.0),
        "9 s ago",
    ),
    ("chain away", shared.CHAIN_AWAY, incident("chain"), "refused [2J by the node"),
    ("chain unread", shared.CHAIN_AWAY, told("gaia_substrate_connection_status 0"), "failed"),
    ("chain closed", shared.CHAIN_CLOSED, changed(chain_endpoint="ws://127.0.0.1:1"), "127.0.0.1:1"),
    ("node lies", chain.DISTRUSTED, told('gaia_chain_node_state{node="one.example"} 1'), "one.example"),
    ("node is silent", chain.SILENT, told('gaia_chain_node_state{node="two.example"} 0'), "two.example"),
    ("engine busy", shared.ENGINE_BUSY, lambda facts: replace(facts, cpu={ME: 0.97}), "97%"),
    ("supervisor busy", shared.SUPERVISOR_BUSY, lambda facts: replace(facts, cpu={ME: 0.97}), "97%"),
    ("signer busy", shared.SIGNER_BUSY, lambda facts: replace(facts, cpu={ME: 0.97}), "97%"),
    (
        "blocked",
        shared.BLOCKED,
        lambda facts: replace(facts, blocked=[BlockedRow(pid=3, blocked_by=4, waited_s=75.0)]),
        "pid 3 for 75 s on pid 4",
    ),
    ("all in use", database.ALL_IN_USE, told("gaia_db_connections_active 7"), "7 of 8"),
    *(
        (kind, branch, told(f'gaia_db_failures_total{{kind="{kind}"}} 5'), "5 since the start")
        for kind, branch in {
            "StatementRefused": database.REFUSED,
            "NoPlace": database.NO_PLACE,
            "ConnectionLost": database.LOST,
            "DatabaseFailure": database.OTHERWISE,
        }.items()
    ),
    ("killed by memory", processes.MEMORY_DEATHS, died("memory"), "memory in compute_worker 1.4"),
    ("killed at a deadline", processes.DEADLINE_DEATHS, died("deadline"), "deadline in compute_worker 1.4"),
    ("killed as silent", processes.SILENT_DEATHS, died("silent"), "silent in compute_worker 1.4"),
    ("never came up", processes.STARTUP_DEATHS, died("startup"), "startup in compute_worker 1.4"),
    (
        "killed",
        processes.SIGNAL_DEATHS,
        died("signal 9 (SIGKILL)"),
        "signal 9 (SIGKILL) in compute_worker 1.4",
    ),
    ("ended", processes.EXIT_DEATHS, died("exit 1"), "exit 1 in compute_worker 1.4"),
    ("seats", pool.SEATS_MISSING, told("gaia_pool_healthy_seats 1"), "1 of 2"),
    (
        "all work",
        pool.ALL_WORK,
        told('gaia_ipc_queue_depth{queue="work"} 140', 'gaia_ipc_queue_depth{queue="leased"} 2'),
        "140 units wait for 2",
    ),
    ("results", pool.RESULTS_WAIT, told('gaia_ipc_queue_depth{queue="result"} 600'), "600 results"),
    ("late", pool.LATE, told("gaia_io_event_loop_lag_seconds 0.4"), "0.400 s late"),
    (
        "deadlines",
        pool.DEADLINES,
        told('gaia_compute_job_failures_total{handler="weather.verify",error="DeadlineExceeded"} 4'),
        "weather.verify 4 times",
    ),
    (
        "quarantine",
        pool.QUARANTINED,
        told('gaia_compute_job_failures_total{handler="weather.verify",error="QuarantinedError"} 1'),
        "weather.verify 1 times",
    ),
    (
        "other failures",
        pool.OTHERWISE,
        told('gaia_compute_job_failures_total{handler="weather.verify",error="other"} 2'),
        "weather.verify 2 times",
    ),
    (
        "slow",
        pool.SLOW,
        told(
            'gaia_compute_job_duration_seconds_count{handler="a"} 10',
            'gaia_compute_job_duration_seconds_bucket{handler="a",le="60.0"} 10',
            'gaia_compute_job_duration_seconds_count{handler="b"} 9',
            'gaia_compute_job_duration_seconds_bucket{handler="b",le="60.0"} 7',
        ),
        "2 of 9 attempts at b",
    ),
    ("sandbox off", pool.SANDBOX_OFF, changed(sandbox="off"), "GAIA_SANDBOX is off"),
    ("cluster", pool.ON_A_CLUSTER, changed(compute_backend="dask"), "dask"),
    ("level", pool.LEVEL_LOW, told("gaia_sandbox_level 1"), "the level is 1"),
    ("last run", weather.LAST_RUN_SET, changed(last_run=NOW - timedelta(days=2)), "2026-03-24"),
    ("scoring", weather.SCORING_LATE, told('gaia_task_overdue{task="main_scoring"} 1'), "overdue"),
    ("no run", weather.NO_RUN_YET, stored(runs=[]), "no run"),
    ("awaited", weather.TRUTH_AWAITED, stored(awaited=[AWAITED]), "era5 lacks 3 sets"),
    ("no key", weather.NO_KEY, changed(cds_key=Settings().cds_key), "GAIA_CDS_KEY is empty"),
    ("rejected", weather.MOSTLY_REJECTED, stored(runs=[a_run(rejected=7)]), "7 of 12"),
    ("few", weather.FEW_SCORED, stored(runs=[a_run(forecasts=2, rejected=0)]), "2 are not rejected"),
    (
        "low",
        weather.LOW_SCORES,
        told('gaia_weather_score_day1{statistic="median"} 0.2'),
        "median 0.20",
    ),
    (
        "network",
        weather.NETWORK_AWAY,
        lambda facts: incident("chain")(
            told('gaia_source_requests_total{source="gfs",outcome="failed"} 3')(facts)
        ),
        "gfs",
    ),
    (
        "miners",
        weather.MINERS_SILENT,
        told(
            "gaia_miner_communication_timeouts_total 30",
            'gaia_miner_requests_total{call="forecast_ready",outcome="MinerUnreachable"} 40',
        ),
        "30 of 40",
    ),
    ("reasons", weather.REASONS, told('gaia_verification_failures_total{reason="digest"} 9'), "9 digest"),
    ("jobs", shared.ERRORS, told('gaia_errors_total{kind="OwnFailure"} 3'), "3 OwnFailure"),
    ("not registered", weights.NOT_REGISTERED, on_chain(), "has no hotkey"),
    ("no permit", weights.NO_PERMIT, on_chain(validator_permit=False), "uid 1 has"),
    (
        "server full",
        database.SERVER_FULL,
        lambda facts: replace(facts, database_error="sorry, too many clients already"),
        "too many clients",
    ),
    ("elsewhere", database.HELD_ELSEWHERE, stored(lease=a_lease(9.0)), "one:/data holds it since 2026-03-26"),
    ("nobody", database.HELD_BY_NOBODY, stored(lease=a_lease(-600.0)), "ended 10 min ago; one:/data had"),
    ("dry run", weights.DRY_RUN, changed(dry_run=True), "GAIA_DRY_RUN"),
    ("weights fail", weights.FAILING, incident("weights"), "refused"),
    ("ours", weights.FOR_OURS, incident("weights", str(refusal("NeuronNoValidatorPermit"))), "permit"),
    ("theirs", weights.FOR_THEIRS, incident("weights", str(refusal("WeightVecLengthIsLow"))), "too few"),
    ("network", weights.FOR_NETWORK, incident("weights", str(refusal("ImmediatelyDropped"))), "is full"),
    (
        "race",
        weights.FOR_RACE,
        incident("weights", str(refusal("UidVecContainInvalidOne"))),
        "no longer exists",
    ),
    ("second", weights.SECOND_INSTANCE, incident("weights", FOREIGN), "of block 9 are not"),
    ("failed", weights.REFUSED, stored(newest_vector=FAILED), "epoch 7 failed: no"),
    ("signer", weights.REFUSED_BY_SIGNER, told('gaia_weights_submissions_total{outcome="refused"} 3'), "3 s"),
    ("lost", weights.NOT_REVEALED, told('gaia_weights_commits_total{outcome="lost"} 2'), "2 since the start"),
    ("no scores", weights.NO_SCORES, stored(runs=[a_run(has_scores=False)]), "no forecast"),
    ("data", weights.HELD_BY_DATA, incident("gates", "freshness: the newest score is old"), "score is old"),
    ("change", weights.HELD_BY_CHANGE, incident("gates", "drift: 60 % would change"), "60 % would"),
    ("reading", weights.HELD_BY_READING, incident("gates", "registry: a may not earn"), "may not earn"),
    ("no receiver", weights.NO_RECEIVER, incident("gates", "burn: no hotkey can"), "no hotkey can"),
    ("held", weights.HELD, told('gaia_weights_submissions_total{outcome="held"} 8'), "8 times"),
    ("doubts", weights.DOUBTS, stored(doubts=[DOUBT]), "epoch 6"),
    ("unlike", weights.UNLIKE_THE_OTHERS, incident("consensus", "a vtrust of 0.5"), "a vtrust of 0.5"),
    ("low trust", weights.LOW_TRUST, told('gaia_weights_trust{epoch="next"} 0.25'), "0.250 in the next"),
    (
        "backup",
        health.NO_BACKUP,
        told('gaia_task_overdue{task="daily_backup"} 1'),
        "not succeeded for six hours",
    ),
    ("overdue", health.OVERDUE, told('gaia_task_overdue{task="database_monitor"} 1'), "database_monitor"),
    ("unforeseen", health.UNFORESEEN, told('gaia_unforeseen_errors_total{party="disk"} 1'), "1 with disk"),
    ("archive", health.ARCHIVE_ERRORS, stored(awaited=[AWAITED]), "licence"),
    ("incidents", health.INCIDENTS, incident("chain"), "chain: refused"),
    ("deaths", health.DEATHS, died("memory"), "1 in the last hour"),
    ("simulated", health.SIMULATED, changed(clock_file=Path("clock.json")), "clock.json"),
    ("no message", health.NONE_TAKEN, told('gaia_notifications_total{outcome="failed"} 3'), "3 refused"),
    ("some messages", health.SOME_TAKEN, told(*SENT), "8 taken"),
    ("newer", health.NEWER, told("gaia_update_available 1"), "4.0.0"),
]


@pytest.mark.parametrize(
    ("branch", "change", "evidence"), [case[1:] for case in CASES], ids=[c[0] for c in CASES]
)
def test_cause_is_found_where_it_is_there(
    branch: Branch, change: Callable[[Facts], Facts], evidence: str, well: Facts
) -> None:
    assert branch.look(well) == ""
    assert evidence in branch.look(change(well))


@pytest.mark.parametrize("alert", RUNBOOKS)
def test_no_cause_is_found_in_a_validator_that_is_well(alert: str, well: Facts) -> None:
    found = {branch.sentence for branch in RUNBOOKS[alert].branches if branch.look(well)}

    assert found <= ABOUT_THE_MACHINE | ALWAYS


@pytest.mark.parametrize("alert", RUNBOOKS)
def test_validator_that_does_not_run_is_never_called_well(alert: str, well: Facts) -> None:
    """But by alerts about the disk, the clock and the sandbox of a host, which need no process."""
    stopped = replace(
        well, processes={}, samples=None, endpoint_error="refused", cpu={}, heartbeat_age_s=None
    )

    found = [branch for branch in RUNBOOKS[alert].branches if branch.look(stopped)]

    assert shared.STOPPED in found or alert in {"DiskSpaceLow", "DiskFillsIn4Days", "ClockOffset"}


def test_every_cause_has_a_case_here() -> None:
    tried = {case[1].sentence for case in CASES} | ABOUT_THE_MACHINE | ALWAYS
    elsewhere = {
        shared.FROZEN.sentence,  # tests/integration/cli/test_runbook.py stops a process
        "The limit of open files is low.",  # likewise, opens files
        "A process has very many files open.",
        "A compute worker holds the most memory.",
        "The embedded database holds the most memory.",
        "The IO-Engine or the chain signer holds the most memory.",
    }

    assert {branch.sentence for each in RUNBOOKS.values() for branch in each.branches} <= tried | elsewhere


def test_weights_withheld_before_newer_ones_were_set_are_no_cause(well: Facts) -> None:
    set_since = stored(
        newest_vector=a_vector_row(state=VectorState.SET, intended_at=NOW - timedelta(hours=1))
    )
    facts = set_since(told('gaia_weights_submissions_total{outcome="held"} 8')(well))

    assert weights.HELD.look(facts) == ""


@pytest.mark.parametrize(
    ("branch", "change"),
    [
        (
            pool.SLOW,
            told(
                'gaia_compute_job_duration_seconds_count{handler="a"} 10',
                'gaia_compute_job_duration_seconds_bucket{handler="a",le="60.0"} 10',
            ),
        ),
        (
            weather.MINERS_SILENT,
            told(
                "gaia_miner_communication_timeouts_total 20",
                'gaia_miner_requests_total{call="forecast_ready",outcome="ok"} 1218',
            ),
        ),
    ],
    ids=["all attempts were quick", "few requests timed out"],
)
def test_what_every_validator_shows_is_no_cause(
    branch: Branch, change: Callable[[Facts], Facts], well: Facts
) -> None:
    assert branch.look(change(well)) == ""


def test_limits_of_looks_are_those_of_the_alerts() -> None:
    expressions = {alert.name: alert.expr for alert in ALERTS}

    assert expressions["HighMemoryUsage"].endswith(f"> {processes.MUCH_MEMORY}")
    assert expressions["OpenFilesHigh"].endswith(f"> {MANY_FILES}")
    assert expressions["EventLoopLag"].endswith(f"> {pool.LATE_S}")
    assert expressions["LowScoringPerformance"].endswith(f"< {weather.LOW_SCORE}")


def test_busy_engine_does_not_hang_where_a_longer_silence_is_allowed(well: Facts) -> None:
    assert shared.ENGINE_HANGS.look(replace(well, heartbeat_age_s=99.0, silence_s=120.0)) == ""


def test_metric_that_nobody_told_proves_nothing(well: Facts) -> None:
    unknown = replace(well, samples=Samples("gaia_pool_seats 2\ngaia_db_connections_max 8\n"))

    assert unknown.total("gaia_pool_healthy_seats") is None
    assert pool.SEATS_MISSING.look(unknown) == ""
    assert database.ALL_IN_USE.look(unknown) == ""
