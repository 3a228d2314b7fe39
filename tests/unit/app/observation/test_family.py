"""The family of processes: who is missing, and CPU time that never falls."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from gaia.validator.app.observation.exposition import exposition
from gaia.validator.app.observation.family import (
    FORK_SERVER,
    ROLES,
    STANDBY,
    SUPERVISOR,
    Accounts,
    Family,
    probes_without_engine,
)
from gaia.validator.app.observation.probes import LIVE, READY, STARTED
from gaia.validator.app.supervision import Child, Role
from tests.support.scarcity import no_descriptors_left

WANTED = {Role.SIGNER: 1, Role.ENGINE: 1, Role.WORKER: 2}
BUILD = {"version": "4.0.0", "commit": "", "rule_set": 'a "rule"\\\n', "config": "0"}


def a_child(role: Role, pid: int = 0, **facts: Any) -> Child:
    return Child(role=role, seat=0, pid=pid, started_at=0.0, **{"is_ready": True, **facts})


def values(family: Family, accounts: Accounts) -> dict[tuple[str, str], float]:
    page = exposition(BUILD, family, accounts).decode()
    return {
        (sample.name, sample.labels.get("role", "")): sample.value
        for metric in text_string_to_metric_families(page)
        for sample in metric.samples
    }


def test_what_is_missing_is_told_apart_from_what_starts() -> None:
    children = [a_child(Role.SIGNER), a_child(Role.ENGINE, is_ready=False), a_child(Role.WORKER)]

    assert Family(children=children, wanted=WANTED).missing() == [
        "io_engine starts",
        "compute_worker is missing",
    ]


@pytest.mark.parametrize(
    ("engine", "serves"),
    [
        (a_child(Role.ENGINE), True),
        (a_child(Role.ENGINE, is_ready=False), False),
        (a_child(Role.ENGINE, is_killed=True), False),
        (a_child(Role.ENGINE, kill_at=1.0), True),
        (a_child(Role.SIGNER), False),
    ],
)
def test_engine_serves_from_the_moment_it_is_ready_until_it_is_killed(engine: Child, *, serves: bool) -> None:
    assert (Family(children=[engine]).engine is engine) is serves


def test_supervisor_without_an_engine_lives_but_is_not_ready() -> None:
    probes = probes_without_engine(Family(wanted=WANTED))

    assert all(check.is_well for check in probes[LIVE])
    for path in (READY, STARTED):
        (check,) = (check for check in probes[path] if not check.is_well)
        assert check.name == "io_engine"
        assert check.reason == (
            "no IO-Engine serves, chain_signer is missing, io_engine is missing, compute_worker is missing"
        )


def test_engine_that_is_frozen_does_not_live() -> None:
    family = Family(children=[a_child(Role.ENGINE, silent_s=12.0)], wanted=WANTED)

    for checks in probes_without_engine(family).values():
        (check,) = (check for check in checks if not check.is_well)
        assert check.reason == "the IO-Engine has been silent for 12 s"


def test_stop_is_given_as_the_reason() -> None:
    (_, check) = probes_without_engine(Family())[READY]

    assert check.reason == "no IO-Engine serves, because the validator stops"
    assert "wait for its start" not in check.fix


def test_exposition_has_each_family_with_every_role_from_the_first_moment() -> None:
    shown = values(Family(), Accounts())

    assert {name for name, _ in shown} == {
        "gaia_build_info",
        "gaia_child_up",
        "gaia_child_process_restarts_total",
        "gaia_process_memory_rss_bytes",
        "gaia_process_cpu_seconds_total",
    }
    for name in ("gaia_child_up", "gaia_process_memory_rss_bytes", "gaia_process_cpu_seconds_total"):
        assert {role for shown_name, role in shown if shown_name == name} == set(ROLES)
    restarts = {role for name, role in shown if name == "gaia_child_process_restarts_total"}
    assert restarts == {str(role) for role in Role}
    assert set(shown.values()) == {0.0, 1.0}  # gaia_build_info


def test_labels_are_escaped() -> None:
    page = exposition(BUILD, Family(), Accounts()).decode()
    (build,) = (metric for metric in text_string_to_metric_families(page) if metric.name == "gaia_build_info")

    assert build.samples[0].labels == BUILD


def test_living_processes_are_counted_and_measured_by_role() -> None:
    us = os.getpid()
    family = Family(
        children=[a_child(Role.WORKER, us), a_child(Role.WORKER, us)],
        helpers={SUPERVISOR: us, STANDBY: 0, FORK_SERVER: 0},
        restarts={"io_engine": 3},
    )
    accounts = Accounts()
    accounts.look(family)
    shown = values(family, accounts)

    assert shown["gaia_child_up", "compute_worker"] == 2
    assert shown["gaia_child_up", "supervisor"] == 1
    assert shown["gaia_child_up", "standby"] == 0
    assert shown["gaia_process_memory_rss_bytes", "supervisor"] > 1_000_000
    assert shown["gaia_process_cpu_seconds_total", "supervisor"] > 0
    assert shown["gaia_child_process_restarts_total", "io_engine"] == 3


def test_cpu_time_of_a_role_never_falls_although_its_processes_end() -> None:
    program = "import time\nwhile time.process_time() < 0.3: pass\nprint('x', flush=True)\ninput()"
    accounts, totals = Accounts(), []
    for _ in range(2):
        with subprocess.Popen(
            [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as process:
            assert process.stdout is not None
            process.stdout.readline()
            accounts.look(Family(children=[a_child(Role.WORKER, process.pid)]))
            totals.append(accounts.cpu_seconds()["compute_worker"])
        accounts.look(Family())
        totals.append(accounts.cpu_seconds()["compute_worker"])

    assert totals == sorted(totals)
    assert totals[-1] >= 0.55
    assert accounts.rss_bytes["compute_worker"] == 0


def test_zombie_still_tells_what_it_used() -> None:
    program = "import time\nwhile time.process_time() < 0.3: pass"
    process = subprocess.Popen([sys.executable, "-c", program])
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    accounts = Accounts()

    accounts.look(Family(children=[a_child(Role.ENGINE, process.pid)]))
    process.wait()
    accounts.look(Family())

    assert accounts.cpu_seconds()["io_engine"] >= 0.28


def test_look_without_descriptors_changes_nothing() -> None:
    family = Family(helpers={SUPERVISOR: os.getpid()})
    accounts = Accounts()
    accounts.look(family)
    before = accounts.cpu_seconds()

    with no_descriptors_left():
        accounts.look(family)

    assert accounts.cpu_seconds() == before
    assert accounts.processes == {SUPERVISOR: 1}
    accounts.look(family)
    assert accounts.cpu_seconds()[SUPERVISOR] < before[SUPERVISOR] + 60


def test_child_that_has_ended_and_is_not_reaped_yet_is_not_up_but_keeps_its_cpu_seconds() -> None:
    burn = "import time\nwhile time.process_time() < 0.2: pass"
    child = subprocess.Popen([sys.executable, "-c", burn])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    accounts = Accounts()

    accounts.look(Family(helpers={STANDBY: child.pid}))
    child.wait()

    assert accounts.processes[STANDBY] == 0
    assert accounts.cpu_seconds()[STANDBY] >= 0.15
