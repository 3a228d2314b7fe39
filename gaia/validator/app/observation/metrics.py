"""All metrics that the IO-Engine measures: those of itself, and where to find the others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from prometheus_client import generate_latest

from gaia.tasks.defined_tasks.weather.units import UNITS
from gaia.validator.app.observation import counted, jobs, resources, stored, tallied
from gaia.validator.app.observation.registry import REGISTRY, counter, gauge, histogram
from gaia.validator.db.failures import FAILURES, DatabaseFailure
from gaia.validator.utils.errors import (
    MINER_FAULTS,
    ConfigurationError,
    DeadlineExceeded,
    MinerFault,
    OwnFailure,
    QuarantinedError,
    TransientError,
)
from gaia.validator.utils.tallies import OTHER

if TYPE_CHECKING:
    from pathlib import Path

    from gaia.validator.utils.ipc_types import ResultUnit, WorkUnit

__all__ = ["FAMILIES", "REGISTRY", "all_metrics", "count_error", "record_result"]

FAMILIES: Final = (counted, jobs, resources, stored, tallied)
"""Modules with further families; all are in `REGISTRY` once this module is imported."""

_HANDLERS = (*UNITS, OTHER)
_UNIT_ERRORS = tuple(kind.__name__ for kind in (MinerFault, DeadlineExceeded, QuarantinedError))
_FAULTS = frozenset(kind.__name__ for kind in MINER_FAULTS)
_JOB_ERRORS = tuple(
    kind.__name__
    for kind in (TransientError, OwnFailure, DeadlineExceeded, DatabaseFailure, ConfigurationError)
)

STARTED_AT = gauge(
    "gaia_io_start_timestamp_seconds", "Time at which the IO-Engine began, since which it counts."
)
LOOP_LAG = gauge(
    "gaia_io_event_loop_lag_seconds", "Seconds by which the IO-Engine's event loop last woke too late."
)
LOOP_LAGS = histogram(
    "gaia_io_event_loop_lag_distribution_seconds",
    "Seconds by which the IO-Engine's event loop woke too late, twice a second.",
    (0.005, 0.01, 0.05, 0.1, 0.25, 1.0),
)

QUEUE_DEPTH = gauge(
    "gaia_ipc_queue_depth",
    "Units that wait for a worker (work) or that a worker holds (leased); results that wait for their caller (result).",
    queue=("work", "leased", "result"),
)
SEATS = gauge("gaia_pool_seats", "Compute workers that the settings ask for; of a cluster, those it has.")
HEALTHY_SEATS = gauge(
    "gaia_pool_healthy_seats", "Seats of the compute pool whose worker recently answered a unit or a canary."
)
SANDBOX_LEVEL = gauge(
    "gaia_sandbox_level",
    "Sandbox of the least protected compute worker: 0 none, 1 part, 2 seccomp and a broker, 3 seccomp and Landlock.",
)
_JOB_DURATION = histogram(
    "gaia_compute_job_duration_seconds",
    "Wall-clock seconds of one attempt at a unit, by handler.",
    (10.0, 60.0, 300.0),
    handler=_HANDLERS,
)
_JOB_FAILURES = counter(
    "gaia_compute_job_failures_total",
    "Failed attempts at units, by handler and error.",
    handler=_HANDLERS,
    error=(*_UNIT_ERRORS, OTHER),
)

_LEASE_HELD = gauge(
    "gaia_lease_held",
    "1: this validator holds the lease of the database and may write; 0: it stands by or lost it.",
)
DB_ACTIVE = gauge("gaia_db_connections_active", "Connections to the database that are in use.")
DB_IDLE = gauge("gaia_db_connections_idle", "Open connections to the database that are not in use.")
DB_MAX = gauge("gaia_db_connections_max", "Largest number of connections to the database.")

CHAIN_BLOCK = gauge("gaia_chain_block", "Block of the newest metagraph.")
WEIGHTS_BLOCK = gauge("gaia_weights_last_set_block", "Block in which this validator last set weights.")

VALIDATOR_TRUST = gauge(
    "gaia_weights_trust",
    "Our validator trust: in the last epoch, and in the next one with our newest vector; NaN: not known yet.",
    epoch=("last", "next"),
)
for _epoch in ("last", "next"):
    VALIDATOR_TRUST.labels(_epoch).set(float("nan"))

TRUST_LOSS_LIMIT = gauge(
    "gaia_weights_trust_loss_limit", "Largest fall of our validator trust without a warning, by the settings."
)

UPDATE_AVAILABLE = gauge("gaia_update_available", "1 if GAIA_UPDATE_URL names a newer release than this one.")

_ERRORS = counter(
    "gaia_errors_total", "Errors of the orchestrator's jobs, by type.", kind=(*_JOB_ERRORS, OTHER)
)


def all_metrics(supervisors: Path, *, holds_lease: bool = False) -> bytes:
    """Return all metrics in Prometheus' text format.

    The Supervisor's families stay its own, because they must not change with the process that answers.

    Parameters
    ----------
    supervisors
        File of the Supervisor's metrics; a missing file counts as empty.
    holds_lease
        Whether this validator holds the lease of the database now.
    """
    # Read here, because a lease ends by the clock, also while the event loop stands still.
    _LEASE_HELD.set(holds_lease)
    try:
        measured = supervisors.read_bytes()
    except FileNotFoundError:
        measured = b""
    return generate_latest(REGISTRY) + measured


def record_result(unit: WorkUnit, result: ResultUnit) -> None:
    """Count one finished unit."""
    handler = unit.handler if unit.handler in UNITS else OTHER
    _JOB_DURATION.labels(handler).observe(result.wall_s)
    if result.failure is not None:
        error = result.failure.error_type
        error = MinerFault.__name__ if error in _FAULTS else error
        _JOB_FAILURES.labels(handler, error if error in _UNIT_ERRORS else OTHER).inc()


def count_error(kind: str) -> None:
    """Count an error of the orchestrator's jobs, by the name of its type."""
    kind = DatabaseFailure.__name__ if kind in FAILURES else kind
    _ERRORS.labels(kind if kind in _JOB_ERRORS else OTHER).inc()
