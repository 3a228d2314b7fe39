"""Metrics: each is served under its one name and from the start; a taken port is told in one sentence."""

from __future__ import annotations

import logging
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from functools import partialmethod
from socketserver import BaseServer

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families
from pydantic import SecretStr

from gaia.validator.app.observation import metrics, resources
from gaia.validator.app.observation.metrics import REGISTRY
from gaia.validator.app.observation.processes import ROLES, Look, Usage
from gaia.validator.utils.borders import UNFORESEEN, Party, border
from gaia.validator.utils.config import Settings
from gaia.validator.utils.errors import ConfigurationError, ExitCode, TransientError
from gaia.validator.utils.ipc_types import Failure, ResultUnit
from tests.support.builders import a_unit
from tests.support.repository import ROOT

NAMES = {
    "gaia_build_info",
    "gaia_child_up",
    "gaia_child_process_restarts_total",
    "gaia_process_memory_rss_bytes",
    "gaia_process_cpu_seconds_total",
    "gaia_process_open_fds",
    "gaia_process_max_fds",
    "gaia_worker_memory_rss_bytes",
    "gaia_io_event_loop_lag_seconds",
    "gaia_io_event_loop_lag_distribution_seconds",
    "gaia_ipc_queue_depth",
    "gaia_pool_seats",
    "gaia_pool_healthy_seats",
    "gaia_sandbox_level",
    "gaia_compute_job_duration_seconds",
    "gaia_compute_job_failures_total",
    "gaia_db_connections_active",
    "gaia_db_connections_idle",
    "gaia_db_connections_max",
    "gaia_db_transaction_seconds",
    "gaia_db_failures_total",
    "gaia_db_size_bytes",
    "gaia_clock_timestamp_seconds",
    "gaia_weather_runs_active",
    "gaia_weather_oldest_open_run_age_seconds",
    "gaia_weather_last_run_opened_timestamp_seconds",
    "gaia_weather_forecasts",
    "gaia_weather_score_day1",
    "gaia_weather_score_era5_final",
    "gaia_weather_truth_sets",
    "gaia_weather_truth_age_seconds",
    "gaia_weather_truth_next_due_timestamp_seconds",
    "gaia_verification_failures_total",
    "gaia_miner_requests_total",
    "gaia_miner_request_seconds",
    "gaia_miner_received_bytes_total",
    "gaia_miner_communication_timeouts_total",
    "gaia_source_requests_total",
    "gaia_source_received_bytes_total",
    "gaia_source_request_seconds_total",
    "gaia_chain_block",
    "gaia_weights_last_set_block",
    "gaia_weights_last_set_timestamp_seconds",
    "gaia_weights_submissions_total",
    "gaia_weights_vectors_in_doubt",
    "gaia_substrate_connection_status",
    "gaia_substrate_failures_total",
    "gaia_incident_open",
    "gaia_last_success_timestamp_seconds",
    "gaia_task_overdue",
    "gaia_task_failures_total",
    "gaia_task_skipped_total",
    "gaia_disk_used_bytes",
    "gaia_disk_free_bytes",
    "gaia_disk_size_bytes",
    "gaia_errors_total",
    "gaia_unforeseen_errors_total",
    "gaia_log_lines_total",
}


def _sample(name: str, **labels: str) -> float:
    value = REGISTRY.get_sample_value(name, labels)
    assert value is not None, f"{name} {labels} does not exist"
    return value


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def quick_to_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server of the standard library looks twice a second whether it should stop; here, oftener."""
    often = partialmethod(BaseServer.serve_forever, poll_interval=0.01)
    monkeypatch.setattr(BaseServer, "serve_forever", often)


@pytest.mark.usefixtures("quick_to_stop")
def test_every_metric_is_served_under_its_name_and_as_its_type() -> None:
    port = _free_port()
    stop = metrics.serve("127.0.0.1", port)

    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        text = answer.read().decode()
    stop()

    served = {line.split()[2]: line.split()[3] for line in text.splitlines() if line.startswith("# TYPE")}
    assert set(served) == NAMES
    assert {name for name in served if name.endswith("_total")} == {
        name for name, kind in served.items() if kind == "counter"
    }


def test_no_series_tells_when_it_was_made() -> None:
    assert "_created" not in generate_latest(REGISTRY).decode()


def test_every_counter_with_labels_is_at_0_before_its_first_event() -> None:
    families = list(text_string_to_metric_families(generate_latest(REGISTRY).decode()))
    with_labels = {
        family.name + "_total" for family in families if family.type == "counter" and family.samples
    }

    # Those of jobs exist once a register is watched, and totals that outlive the process once they are known.
    later = {"gaia_task_failures_total", "gaia_task_skipped_total"}
    later |= {"gaia_process_cpu_seconds_total", "gaia_child_process_restarts_total"}
    assert with_labels | later == {name for name in NAMES if name.endswith("_total")}


@pytest.mark.parametrize("party", Party)
def test_unforeseen_error_of_every_party_is_shown(party: Party) -> None:
    before = _sample("gaia_unforeseen_errors_total", party=party)

    UNFORESEEN[party] += 1

    assert _sample("gaia_unforeseen_errors_total", party=party) == before + 1


def test_exception_that_no_border_foresaw_is_counted_for_its_party() -> None:
    before = _sample("gaia_unforeseen_errors_total", party="archive")

    with pytest.raises(TransientError), border(Party.ARCHIVE, "reading"):
        raise KeyError("step")

    assert _sample("gaia_unforeseen_errors_total", party="archive") == before + 1


@pytest.mark.parametrize(
    ("error_type", "shown"),
    [
        ("MinerFault", "MinerFault"),
        ("DigestMismatch", "MinerFault"),
        ("DeadlineExceeded", "DeadlineExceeded"),
        ("QuarantinedError", "QuarantinedError"),
        ("MemoryError", "other"),
        ("TransientError", "other"),
    ],
)
def test_failed_unit_is_counted_under_an_error_of_the_closed_set(error_type: str, shown: str) -> None:
    labels = {"handler": "weather.score.day1", "error": shown}
    before = _sample("gaia_compute_job_failures_total", **labels)
    failure = Failure(error_type=error_type, message="why")

    metrics.record_result(
        a_unit(handler="weather.score.day1"), ResultUnit(job_id="job", attempt=1, failure=failure)
    )

    assert _sample("gaia_compute_job_failures_total", **labels) == before + 1


def test_unit_of_a_handler_outside_weather_is_counted_as_other() -> None:
    before = _sample("gaia_compute_job_duration_seconds_count", handler="other")

    metrics.record_result(
        a_unit(handler="draw.history"), ResultUnit(job_id="job", attempt=1, value={}, wall_s=2.0)
    )

    assert _sample("gaia_compute_job_duration_seconds_count", handler="other") == before + 1
    assert (
        REGISTRY.get_sample_value("gaia_compute_job_duration_seconds_count", {"handler": "draw.history"})
        is None
    )


@pytest.mark.parametrize(
    ("kind", "shown"),
    [
        ("TransientError", "TransientError"),
        ("NoPlace", "DatabaseFailure"),
        ("ConnectionLost", "DatabaseFailure"),
        ("ZeroDivisionError", "other"),
        ("SubnetMissing", "other"),
    ],
)
def test_error_of_a_job_is_counted_under_a_type_of_the_closed_set(kind: str, shown: str) -> None:
    before = _sample("gaia_errors_total", kind=shown)

    metrics.count_error(kind)

    assert _sample("gaia_errors_total", kind=shown) == before + 1


def test_warnings_and_worse_are_counted_by_level_and_lesser_lines_are_not() -> None:
    levels = ("warning", "error", "critical")
    before = {level: _sample("gaia_log_lines_total", level=level) for level in levels}
    metrics.count_lines()
    logger = logging.getLogger("application")

    logger.info("run_opened")
    logger.warning("step_postponed")
    logger.error("job_crashed")
    logger.error("job_crashed")
    logging.getLogger("apscheduler").log(logging.ERROR + 5, "between error and critical")

    counted = {level: _sample("gaia_log_lines_total", level=level) - before[level] for level in levels}
    assert counted == {"warning": 1, "error": 3, "critical": 0}


def test_build_tells_version_commit_rules_and_a_digest_that_changes_with_a_setting() -> None:
    metrics.show_build("gaia-2.9", Settings().describe())
    (first,) = _build()
    metrics.show_build("gaia-2.9", Settings(keep_inputs_days=3).describe())
    (second,) = _build()

    assert first["version"] == "4.0.0"
    assert first["rule_set"] == "gaia-2.9"
    assert set(first) == {"version", "commit", "rule_set", "config"}
    assert first["config"] != second["config"]


def test_secret_does_not_change_the_digest_of_the_settings() -> None:
    metrics.show_build("gaia-2.9", Settings(cds_key=SecretStr("one")).describe())
    (first,) = _build()
    metrics.show_build("gaia-2.9", Settings(cds_key=SecretStr("two")).describe())
    (second,) = _build()

    assert first == second


def test_totals_that_outlive_the_process_are_shown_as_they_are_and_never_as_0_before() -> None:
    resources.show_processes(Look({role: Usage(cpu_s=125.0) for role in ROLES}, {}))
    resources.show_restarts({"io_engine": 3})

    assert _sample("gaia_process_cpu_seconds_total", role="chain_signer") == 125
    assert _sample("gaia_child_process_restarts_total", role="io_engine") == 3
    assert _sample("gaia_child_process_restarts_total", role="postgres") == 0


def test_before_the_first_look_no_total_is_there_that_would_look_like_a_fall() -> None:
    show = (
        "from gaia.validator.app.observation import metrics\n"
        "print([f.samples for f in metrics.REGISTRY.collect() if f.name.startswith('gaia_process_cpu')])"
    )

    done = subprocess.run([sys.executable, "-c", show], capture_output=True, text=True, cwd=ROOT, check=True)

    assert done.stdout.strip() == "[[]]"


def _build() -> list[dict[str, str]]:
    (family,) = [family for family in REGISTRY.collect() if family.name == "gaia_build_info"]
    return [sample.labels for sample in family.samples]


@pytest.mark.usefixtures("quick_to_stop")
def test_stopped_server_leaves_the_port_free() -> None:
    port = _free_port()
    metrics.serve("127.0.0.1", port)()

    metrics.serve("127.0.0.1", port)()


def test_taken_port_ends_with_its_own_exit_code(taken_port: int) -> None:
    with pytest.raises(ConfigurationError) as caught:
        metrics.serve("127.0.0.1", taken_port)

    assert caught.value.exit_code is ExitCode.PORT_BUSY
    assert str(caught.value) == (
        f"GAIA_METRICS_PORT: port {taken_port} is in use on 127.0.0.1; choose a free port, or 0 for none."
    )


def test_address_of_another_machine_names_the_host_setting() -> None:
    with pytest.raises(ConfigurationError) as caught:
        metrics.serve("192.0.2.1", _free_port())

    assert caught.value.setting == "GAIA_METRICS_HOST"


def test_port_that_needs_privileges_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(metrics, "start_http_server", refuse)

    with pytest.raises(ConfigurationError, match="port 80 needs privileges"):
        metrics.serve("127.0.0.1", 80)


def test_port_0_serves_nothing() -> None:
    metrics.serve("127.0.0.1", 0)()
