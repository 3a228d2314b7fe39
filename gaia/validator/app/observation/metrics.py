"""All metrics of the validator: those of the IO-Engine itself, and where to find the others."""

from __future__ import annotations

import errno
import hashlib
import logging
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final

from prometheus_client import Gauge, start_http_server

from gaia.tasks.defined_tasks.weather.units import UNITS
from gaia.validator.app.observation import counted, jobs, resources, stored, tallied
from gaia.validator.app.observation.registry import REGISTRY, counter, gauge, histogram
from gaia.validator.db.failures import FAILURES, DatabaseFailure
from gaia.validator.utils.errors import (
    MINER_FAULTS,
    ConfigurationError,
    DeadlineExceeded,
    ExitCode,
    MinerFault,
    OwnFailure,
    QuarantinedError,
    TransientError,
)
from gaia.validator.utils.tallies import OTHER
from gaia.validator.utils.version import commit, version

if TYPE_CHECKING:
    from gaia.validator.utils.ipc_types import ResultUnit, WorkUnit

__all__ = ["FAMILIES", "REGISTRY", "count_error", "count_lines", "record_result", "serve", "show_build"]

FAMILIES: Final = (counted, jobs, resources, stored, tallied)
"""Modules with further families; all are in `REGISTRY` once this module is imported."""

_DIGITS = 12
_HANDLERS = (*UNITS, OTHER)
_UNIT_ERRORS = tuple(kind.__name__ for kind in (MinerFault, DeadlineExceeded, QuarantinedError))
_FAULTS = frozenset(kind.__name__ for kind in MINER_FAULTS)
_JOB_ERRORS = tuple(
    kind.__name__
    for kind in (TransientError, OwnFailure, DeadlineExceeded, DatabaseFailure, ConfigurationError)
)
_LEVELS = {logging.WARNING: "warning", logging.ERROR: "error", logging.CRITICAL: "critical"}

_BUILD = Gauge(
    "gaia_build_info",
    "1; the labels tell the program and its rules, and config the digest of its settings without secrets.",
    ["version", "commit", "rule_set", "config"],
    registry=REGISTRY,
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
    (1.0, 10.0, 60.0, 300.0),
    handler=_HANDLERS,
)
_JOB_FAILURES = counter(
    "gaia_compute_job_failures_total",
    "Failed attempts at units, by handler and error.",
    handler=_HANDLERS,
    error=(*_UNIT_ERRORS, OTHER),
)

DB_ACTIVE = gauge("gaia_db_connections_active", "Connections to the database that are in use.")
DB_IDLE = gauge("gaia_db_connections_idle", "Open connections to the database that are not in use.")
DB_MAX = gauge("gaia_db_connections_max", "Largest number of connections to the database.")

CHAIN_BLOCK = gauge("gaia_chain_block", "Block of the newest metagraph.")
WEIGHTS_BLOCK = gauge("gaia_weights_last_set_block", "Block in which this validator last set weights.")

_ERRORS = counter(
    "gaia_errors_total", "Errors of the orchestrator's jobs, by type.", kind=(*_JOB_ERRORS, OTHER)
)
_LINES = counter(
    "gaia_log_lines_total", "Log lines of the IO-Engine, by level.", level=list(_LEVELS.values())
)


def show_build(rule_set: str, described: Iterable[tuple[str, str, str]]) -> None:
    """Show which program runs.

    Parameters
    ----------
    described
        Name, value and origin of every setting, without secrets; the digest is of names and values.
    """
    told = "".join(f"{name}={value}\n" for name, value, _ in described)
    config = hashlib.sha256(told.encode()).hexdigest()[:_DIGITS]
    _BUILD.clear()
    _BUILD.labels(version(), commit()[:_DIGITS], rule_set, config).set(1)


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


def count_lines() -> None:
    """Count the log lines of this process from now on; call it once, after `configure_logging`."""
    logging.getLogger().addHandler(_LineCounter())


class _LineCounter(logging.Handler):
    """Counts log lines that are warnings or worse."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)

    def emit(self, record: logging.LogRecord) -> None:
        level = max(level for level in _LEVELS if level <= record.levelno)
        _LINES.labels(_LEVELS[level]).inc()


def serve(host: str, port: int) -> Callable[[], None]:
    """Serve the metrics on a separate thread; return the function that stops it.

    With port 0 nothing is served; operators use it to switch metrics off.

    Raises
    ------
    ConfigurationError
        With `ExitCode.PORT_BUSY`, if the port is in use or the address is not ours.
    """
    if port == 0:
        return _nothing
    try:
        server, thread = start_http_server(port, addr=host, registry=REGISTRY)
    except OSError as error:
        setting, problem, remedy = _explained(error, host, port)
        raise ConfigurationError(setting, problem, remedy, ExitCode.PORT_BUSY) from error

    def stop() -> None:
        server.shutdown()
        server.server_close()
        thread.join()

    return stop


def _nothing() -> None:
    return


def _explained(error: OSError, host: str, port: int) -> tuple[str, str, str]:
    if error.errno == errno.EADDRINUSE:
        return "GAIA_METRICS_PORT", f"port {port} is in use on {host}", "choose a free port, or 0 for none"
    if error.errno == errno.EACCES:
        return "GAIA_METRICS_PORT", f"port {port} needs privileges", "choose one above 1023, or 0 for none"
    return "GAIA_METRICS_HOST", f"{host} is not an address of this machine", "use 127.0.0.1 or 0.0.0.0"
