"""Checks of facts that no test can bring about on its own machine: each is a pure function of the facts."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from gaia.validator.app.sandbox.confine import Survey
from gaia.validator.db.schema.catalogue import Drift
from gaia.validator.doctor.entries import Entry
from gaia.validator.doctor.examination import CHECKS, Report
from gaia.validator.doctor.facts import Facts, Node, Port, Proxy
from gaia.validator.doctor.findings import Finding, Result, failure
from gaia.validator.doctor.given import read_given
from gaia.validator.doctor.looks.places import look_at_places
from gaia.validator.doctor.looks.ports import look_at_proxies
from gaia.validator.doctor.report import lines
from gaia.validator.doctor.sight import Trouble
from gaia.validator.doctor.steps import StepKind, do
from gaia.validator.utils.chain.runtimes import TESTED_SPECS
from gaia.validator.utils.config import Settings
from tests.support.builders import a_metagraph, a_neuron
from tests.support.doctor_facts import LIMITS, backups, finding, folder, host, judged, places, server, session

SHARED = Entry(path=Path("/var/tmp"), mode=0o1777, uid=0, size=4096, is_folder=True)
POOR = Survey(landlock=0, seccomp=False, broker=False)
CASES: list[tuple[str, dict[str, Any], Result]] = [
    ("python", host(python=(3, 10, 1)), Result.FAILURE),
    ("python", host(python=(3, 99, 0)), Result.WARNING),
    ("packages", host(missing_packages=["msgspec"]), Result.FAILURE),
    ("packages", host(other_versions=["msgspec 0.1 (lock: 0.2)"]), Result.WARNING),
    ("user", host(uid=0), Result.WARNING),
    ("memory", host(memory_mib=2000), Result.FAILURE),
    ("open-files", host(limits=LIMITS | {"NOFILE": (256.0, 256.0)}), Result.FAILURE),
    ("processes", host(most_processes=50.0), Result.FAILURE),
    ("swap", host(swap_used_mib=1500), Result.WARNING),
    ("shared-memory", host(shared_memory_mib=None), Result.FAILURE),
    (
        "shared-memory",
        {**host(shared_memory_mib=1), "settings": Settings(database_host="db")},
        Result.SKIPPED,
    ),
    ("user-namespaces", host(uid=0, user_namespaces=0), Result.FAILURE),
    ("user-namespaces", host(uid=1000, user_namespaces=0), Result.SKIPPED),
    ("sandbox", host(sandbox=POOR), Result.FAILURE),
    ("sandbox", {**host(sandbox=POOR), "settings": Settings(sandbox="best-effort")}, Result.OK),
    ("tracing", host(ptrace_scope=0), Result.WARNING),
    ("tracing", host(ptrace_scope=None), Result.SKIPPED),
    ("time-server", host(is_clock_synchronised=False), Result.WARNING),
    ("watchdog", {"environment": {}}, Result.SKIPPED),
    ("watchdog", {"environment": {"NOTIFY_SOCKET": "/run/notify"}}, Result.WARNING),
    ("watchdog", {"environment": {"NOTIFY_SOCKET": "/n", "WATCHDOG_USEC": "soon"}}, Result.WARNING),
    ("watchdog", {"environment": {"NOTIFY_SOCKET": "/n", "WATCHDOG_USEC": "9000000"}}, Result.FAILURE),
    ("watchdog", {"environment": {"NOTIFY_SOCKET": "/n", "WATCHDOG_USEC": "60000000"}}, Result.OK),
    ("data-file-system", folder(file_system="nfs4"), Result.WARNING),
    ("data-file-system", folder(file_system="tmpfs"), Result.FAILURE),
    ("data-mode", folder(path=Path("/var"), entry=SHARED), Result.FAILURE),
    ("data-files", folder(free_files=100), Result.FAILURE),
    ("data-files", folder(free_files=None), Result.SKIPPED),
    ("data-space", folder(free_mib=100), Result.FAILURE),
    ("data-growth", folder(free_mib=1000), Result.WARNING),
    ("data-lock", folder(holder_pid=-1), Result.FAILURE),
    ("backup-folder", backups(problem="Read-only file system"), Result.FAILURE),
    ("backup-programs", backups(programs_major=15), Result.FAILURE),
    ("backup-programs", backups(programs_major=None), Result.FAILURE),
    ("backup-age", backups(newest=datetime(2026, 3, 25, tzinfo=UTC), number=7), Result.WARNING),
    ("backup-age", backups(newest=datetime.now(UTC), number=7), Result.OK),
    ("backup-age", {"settings": Settings(backup_every_hours=0)}, Result.SKIPPED),
    ("data-lock", folder(holder_pid=5, holder="python -m gaia.validator.app 3"), Result.OK),
    ("cluster-version", folder(cluster_version="13"), Result.FAILURE),
    ("database-version", server(version=130_002), Result.WARNING),
    ("database-version", server(version=190_000), Result.WARNING),
    ("database-writable", server(is_standby=True), Result.FAILURE),
    ("other-validator", server(others=[session()]), Result.FAILURE),
    ("other-validator", server(others=[session()], lease_holder="one:/data"), Result.OK),
    ("other-validator", server(others=[session()], lease_holder="one:/data", stands_by=True), Result.OK),
    ("migrations", server(drift=Drift(missing=("runs: column rule_set",))), Result.FAILURE),
    ("migrations", server(drift=Drift(slow=("runs: index mine",))), Result.WARNING),
    ("temporary-folder", places(temporary_problem="Read-only file system"), Result.FAILURE),
    ("postgres-programs", places(programs=None, programs_problem="not installed"), Result.FAILURE),
    ("cluster-version", places(programs=Path("/usr/lib/postgresql/16/bin")), Result.FAILURE),
    ("certificates", places(missing_certificates={"SSL_CERT_FILE": "/nowhere"}), Result.FAILURE),
    (
        "proxy",
        {"proxies": [Proxy(variable="ALL_PROXY", place="proxy:80", problem="refused")]},
        Result.FAILURE,
    ),
    ("in-time", {"late": ["folder"]}, Result.FAILURE),
    ("in-time", {"failed": {"folder": "Permission denied"}}, Result.FAILURE),
]


@pytest.mark.parametrize(("check", "changes", "result"), CASES)
def test_check_judges_the_facts(check: str, changes: dict[str, Any], result: Result) -> None:
    found = finding(check, **changes)

    assert found.result is result, found
    assert bool(found.steps) == (result in (Result.FAILURE, Result.WARNING))


@pytest.mark.parametrize(
    "check", sorted({check for check, _, _ in CASES} - {"watchdog", "user-namespaces", "proxy"})
)
def test_check_is_content_with_a_healthy_machine(check: str) -> None:
    assert finding(check).result is Result.OK


def test_embedded_database_must_answer_only_while_a_validator_runs() -> None:
    absent = {"server": Trouble("the server did not answer in 5 s")}
    running = folder(holder_pid=5, holder="python -m gaia.validator.app 3")

    assert finding("database", **absent).result is Result.SKIPPED
    assert finding("database", **absent, **running).result is Result.FAILURE
    assert finding("database", **running).result is Result.SKIPPED


def _node(**changes: Any) -> Node:
    usual = Node(
        chain="Bittensor",
        genesis="0xaa",
        peers=9,
        should_have_peers=True,
        is_syncing=False,
        block=1000,
        time=None,
        activity_cutoff=None,
        commit_version=None,
        spec_version=TESTED_SPECS[1],
        seconds=0.1,
        asked_at=datetime.now(UTC),
    )
    return replace(usual, **changes)


def test_node_that_is_slow_is_a_warning() -> None:
    assert finding("latency", node=_node(seconds=2.5)).result is Result.WARNING


@pytest.mark.parametrize(
    ("further", "result", "words"),
    [
        ({}, Result.OK, "one node is read"),
        ({"two": _node(), "three": _node(block=1009)}, Result.OK, "3 nodes of the same network"),
        ({"two": _node()}, Result.WARNING, "nobody can tell"),
        ({"two": _node(genesis="0xbb"), "three": _node()}, Result.FAILURE, "two is on another network"),
        ({"two": _node(), "three": _node(block=1011)}, Result.WARNING, "three is more than 10 blocks"),
        ({"two": Trouble("two does not answer"), "three": _node()}, Result.WARNING, "two does not answer"),
    ],
)
def test_further_nodes_must_answer_and_be_of_one_network(
    further: dict[str, Any], result: Result, words: str
) -> None:
    found = finding("further-nodes", node=_node(), further_nodes=further)

    assert found.result is result
    assert words in found.words
    assert bool(found.steps) == (result is not Result.OK)


def test_fact_that_could_not_be_had_skips_the_check_with_the_reason() -> None:
    found = finding("swap", host=Trouble("the disk hangs"))

    assert found == Finding(Result.SKIPPED, "the disk hangs")


def test_fix_of_a_setting_is_made_where_the_setting_is_read_from() -> None:
    in_file = finding("memory", **host(memory_mib=2500))
    settings = Settings(compute_workers=7)
    in_environment = finding(
        "memory", **host(memory_mib=2900), settings=settings, environment={"NUM_COMPUTE_WORKERS": "7"}
    )

    assert str(in_file.steps[0]).startswith("set GAIA_WORKER_SOFT_LIMIT_MIB=")
    assert str(in_file.steps[0]).endswith("in /srv/.env")
    assert str(in_environment.steps[0]) == "set NUM_COMPUTE_WORKERS=1 in the environment"


def test_value_of_a_misspelled_secret_is_not_repeated(tmp_path: Path) -> None:
    env_file = tmp_path / ".env"
    env_file.write_text("GAIA_CDS_KYE=no-one-may-see-it\n")

    given, _ = read_given(env_file)

    assert given.error is not None
    assert [str(step) for step in given.cure(given.error, None, None)] == [
        f"remove GAIA_CDS_KYE from {env_file}",
        f"set GAIA_CDS_KEY= in {env_file} (the value of GAIA_CDS_KYE)",
    ]


def test_setting_with_two_names_counts_as_the_environment_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    env_file = tmp_path / ".env"
    env_file.write_text("GAIA_NETUID=57\n")
    monkeypatch.setenv("NETUID", "58")

    given, settings = read_given(env_file)

    assert isinstance(settings, Settings)
    assert settings.netuid == 58
    found = judged("one-spelling", Facts(given=given, settings=settings))
    assert found.words == "GAIA_NETUID and NETUID are one setting and differ; NETUID counts"


def test_numbers_of_lines_are_told_once_all_lines_can_be_read(tmp_path: Path) -> None:
    env_file = tmp_path / ".env"
    env_file.write_text("GAIA NETUID 57\nGAIA_NETUID=57\nGAIA_NETUID=58\n")

    given, settings = read_given(env_file)

    facts = Facts(given=given, settings=settings)
    assert [str(step) for step in judged("settings", facts).steps] == [f"sed -i 1d {env_file}"]
    assert judged("env-file-lines", facts).result is Result.SKIPPED


def test_proxy_with_an_impossible_port_is_a_failure() -> None:
    environment = {"HTTPS_PROXY": "http://proxy:99999"}

    found = finding("proxy", environment=environment, proxies=look_at_proxies(environment))

    assert found.result is Result.FAILURE
    assert found.words.startswith("HTTPS_PROXY names proxy, which cannot be reached")


def test_words_of_strangers_control_no_terminal() -> None:
    report = Report([(CHECKS[0], failure("the node says \x1b[2J\nok", do("rm 'a\x1b]0;b'")))], 0.1)

    printed = list(lines(report))

    assert all(line.isprintable() for line in printed)
    assert printed[0].endswith("the node says  [2J ok")


def test_our_neuron_is_found_by_its_uid_where_uids_have_gaps() -> None:
    ours = a_neuron(200, hotkey="5Validator", stake=5000.0, validator_permit=True)
    subnet = a_metagraph([a_neuron(1), ours], own_uid=200)

    assert finding("permit", subnet=subnet) == Finding(Result.OK, "uid 200 has a validator permit")
    assert finding("stake", subnet=subnet) == Finding(
        Result.OK, "the stake is 5000, and the chain asks for 0"
    )


def test_stake_below_what_the_chain_asks_for_is_a_failure_but_for_the_owner() -> None:
    ours = a_neuron(0, hotkey="5Validator", stake=5000.0, validator_permit=True)
    poor = a_metagraph([ours], stake_threshold=6000.0)
    owner = a_metagraph([ours], stake_threshold=6000.0, owner_hotkey="5Validator")

    assert finding("stake", subnet=poor).result is Result.FAILURE
    assert finding("stake", subnet=poor, settings=Settings(dry_run=True)).result is Result.WARNING
    assert finding("stake", subnet=owner).result is Result.OK


def test_owner_needs_no_permit() -> None:
    ours = a_neuron(0, hotkey="5Validator", stake=5000.0)

    assert finding("permit", subnet=a_metagraph([ours])).result is Result.FAILURE
    owned = finding("permit", subnet=a_metagraph([ours], owner_hotkey="5Validator"))
    assert owned == Finding(Result.OK, "uid 0 is the subnet owner's, which needs no validator permit")


@pytest.mark.parametrize(
    ("spec", "result"),
    [
        (TESTED_SPECS[0] - 1, Result.WARNING),
        (TESTED_SPECS[0], Result.OK),
        (TESTED_SPECS[1], Result.OK),
        (TESTED_SPECS[1] + 1, Result.WARNING),
        (None, Result.SKIPPED),
    ],
)
def test_runtime_that_no_test_knows_is_a_warning(spec: int | None, result: Result) -> None:
    assert finding("runtime", node=_node(spec_version=spec)).result is result


@pytest.mark.parametrize("check", ["data-mode", "data-owner"])
def test_rights_of_a_folder_of_the_system_are_left_alone(check: str) -> None:
    (step,) = finding(check, **folder(path=Path("/var/tmp"), entry=SHARED)).steps

    assert (step.kind, "folder that holds nothing else" in step.words) == (StepKind.DO, True)


def test_a_machine_without_a_folder_for_temporary_files_is_told_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As in a container whose files are read-only: none of the folders that Python tries can be written.
    monkeypatch.setattr("tempfile._candidate_tempdir_list", lambda: [str(tmp_path / "missing")])
    monkeypatch.setattr("tempfile.tempdir", None)

    found = finding("temporary-folder", places=look_at_places({}, tmp_path / ".env", None))

    assert (found.result, found.words) == (
        Result.FAILURE,
        "no folder for temporary files can be written",
    )


def test_port_whose_holder_cannot_be_seen_is_ours_if_the_running_validator_says_so() -> None:
    """A user namespace, such as systemd gives a service, hides who listens."""
    hidden = Port(
        problem="port 9090 on 127.0.0.1 is in use", holder_pid=0, holder="", ancestors=frozenset(), free=9091
    )
    results = [
        finding("metrics-port", port=hidden, **folder(holder_pid=pid, served_port=served)).result
        for pid, served in ((77, 9090), (77, 9099), (77, 0), (0, 9090))
    ]

    assert results == [Result.OK, Result.FAILURE, Result.FAILURE, Result.FAILURE]


@pytest.mark.parametrize(
    ("updated", "registered_at", "changes", "result"),
    [
        pytest.param(990, 0, {"own_dividends": 0.25}, Result.OK, id="they earn"),
        pytest.param(990, 0, {"own_dividends": 0.0, "block": 5000}, Result.WARNING, id="they earned nothing"),
        pytest.param(990, 900, {"own_dividends": 0.0}, Result.SKIPPED, id="registered lately"),
        pytest.param(900, 900, {"own_dividends": 0.0, "block": 5000}, Result.SKIPPED, id="none yet"),
        pytest.param(990, 0, {}, Result.SKIPPED, id="a runtime that does not tell"),
        pytest.param(990, 0, {"own_uid": None}, Result.SKIPPED, id="not registered"),
    ],
)
def test_weights_that_earn_nothing_are_a_warning(
    updated: int, registered_at: int, changes: dict[str, Any], result: Result
) -> None:
    own = a_neuron(
        0, hotkey="5Validator", validator_permit=True, last_update=updated, registered_at=registered_at
    )

    assert finding("dividends", subnet=a_metagraph([own], **changes)).result is result
