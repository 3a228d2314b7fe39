"""Metrics: each is served under its one name and from the start; a taken port is told in one sentence."""

from __future__ import annotations

import logging
import subprocess
import sys

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from gaia.validator.app.logging_config import configure_logging
from gaia.validator.app.observation import metrics
from gaia.validator.app.observation.metrics import REGISTRY
from gaia.validator.utils.borders import UNFORESEEN, Party, border
from gaia.validator.utils.errors import TransientError
from gaia.validator.utils.identities import JobId
from gaia.validator.utils.ipc_types import Failure, ResultUnit
from tests.support.builders import a_unit
from tests.support.repository import ROOT

NAMES = {
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
    "gaia_io_start_timestamp_seconds",
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
    "gaia_chain_node_state",
    "gaia_weights_last_set_block",
    "gaia_weights_last_set_timestamp_seconds",
    "gaia_weights_commits_total",
    "gaia_weights_refusals_total",
    "gaia_weights_submissions_total",
    "gaia_weights_trust",
    "gaia_weights_trust_loss_limit",
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
    "gaia_lease_held",
    "gaia_log_lines_total",
    "gaia_notifications_total",
    "gaia_update_available",
}


def _sample(name: str, **labels: str) -> float:
    value = REGISTRY.get_sample_value(name, labels)
    assert value is not None, f"{name} {labels} does not exist"
    return value


def test_every_metric_has_its_name_and_the_type_that_the_name_tells() -> None:
    lines = generate_latest(REGISTRY).decode().splitlines()

    shown = {line.split()[2]: line.split()[3] for line in lines if line.startswith("# TYPE")}
    assert set(shown) == NAMES
    assert {name for name in shown if name.endswith("_total")} == {
        name for name, kind in shown.items() if kind == "counter"
    }


def test_no_series_tells_when_it_was_made() -> None:
    assert "_created" not in generate_latest(REGISTRY).decode()


def test_every_counter_with_labels_is_at_0_before_its_first_event() -> None:
    # In a process of its own, because other tests count here.
    show = (
        "from prometheus_client import generate_latest;"
        "from gaia.validator.app.observation.metrics import REGISTRY;"
        "print(generate_latest(REGISTRY).decode())"
    )
    page = subprocess.check_output([sys.executable, "-c", show], cwd=ROOT, text=True)
    counters = [family for family in text_string_to_metric_families(page) if family.type == "counter"]
    with_labels = {family.name + "_total" for family in counters if family.samples}
    counted = [sample for family in counters for sample in family.samples if sample.value != 0]

    # Those of jobs exist once a register is watched.
    later = {"gaia_task_failures_total", "gaia_task_skipped_total"}
    assert with_labels | later == {name for name in NAMES if name.endswith("_total")}
    assert counted == []


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
        a_unit(handler="weather.score.day1"), ResultUnit(job_id=JobId("job"), attempt=1, failure=failure)
    )

    assert _sample("gaia_compute_job_failures_total", **labels) == before + 1


def test_unit_of_a_handler_outside_weather_is_counted_as_other() -> None:
    before = _sample("gaia_compute_job_duration_seconds_count", handler="other")

    metrics.record_result(
        a_unit(handler="draw.history"), ResultUnit(job_id=JobId("job"), attempt=1, value={}, wall_s=2.0)
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
    configure_logging("INFO", "json", role="io_engine")
    levels = ("warning", "error")
    before = {level: _sample("gaia_log_lines_total", level=level) for level in levels}
    logger = logging.getLogger("application")

    logger.info("run_opened")
    logger.warning("step_postponed")
    logger.error("job_crashed")
    logger.critical("job_ended")

    counted = {level: _sample("gaia_log_lines_total", level=level) - before[level] for level in levels}
    assert counted == {"warning": 1, "error": 2}
