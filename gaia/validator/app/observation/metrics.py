"""All Prometheus metrics of the validator."""

from __future__ import annotations

import errno
from collections.abc import Callable

from prometheus_client import REGISTRY, Counter, Gauge, Histogram, start_http_server

from gaia.validator.utils.borders import Party
from gaia.validator.utils.errors import ConfigurationError, ExitCode

QUEUE_DEPTH = Gauge("gaia_ipc_queue_depth", "Units waiting or leased, by queue.", ["queue"])
LOOP_LAG = Gauge(
    "gaia_io_event_loop_lag_seconds", "Seconds by which the IO-Engine's event loop last woke too late."
)

CHILD_RESTARTS = Counter(
    "gaia_child_process_restarts_total", "Restarts of child processes, by role.", ["role"]
)
PROCESS_RSS = Gauge(
    "gaia_process_memory_rss_bytes",
    "Resident memory in bytes, summed over the processes of a role.",
    ["role"],
)
PROCESS_CPU = Gauge(
    "gaia_process_cpu_seconds_total", "CPU seconds of living processes, summed over a role.", ["role"]
)

HEALTHY_SEATS = Gauge(
    "gaia_pool_healthy_seats", "Seats of the compute pool whose worker recently answered a unit or a canary."
)

JOB_DURATION = Histogram(
    "gaia_compute_job_duration_seconds",
    "Wall-clock seconds of one attempt at a unit, by handler.",
    ["handler"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300),
)
JOB_FAILURES = Counter(
    "gaia_compute_job_failures_total", "Failed attempts at units, by handler and error.", ["handler", "error"]
)

SANDBOX_LEVEL = Gauge(
    "gaia_sandbox_level",
    "Sandbox of the least protected compute worker: 0 none, 1 part, 2 seccomp and a broker, 3 seccomp and Landlock.",
)

RUNS_ACTIVE = Gauge("gaia_weather_runs_active", "Weather runs that are not completed.")
FORECASTS = Gauge("gaia_weather_forecasts", "Forecasts of active runs, by state.", ["state"])
MINER_REQUESTS = Counter(
    "gaia_miner_requests_total", "Requests to miners, by call and outcome.", ["call", "outcome"]
)

CHAIN_BLOCK = Gauge("gaia_chain_block", "Block of the newest metagraph.")
WEIGHTS_BLOCK = Gauge("gaia_weights_last_set_block", "Block in which this validator last set weights.")

UPDATE_AVAILABLE = Gauge("gaia_update_available", "1 if GAIA_UPDATE_URL names a newer release than this one.")

ERRORS = Counter("gaia_errors_total", "Errors of the orchestrator's jobs, by type.", ["kind"])
UNFORESEEN = Counter(
    "gaia_unforeseen_errors_total",
    "Unexpected exceptions in the IO-Engine, by the party involved.",
    ["party"],
)
# An alert on the first increase needs the zero before it.
for _party in Party:
    UNFORESEEN.labels(_party.value)


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
