"""Rows about the IO-Engine, its database and its errors."""

from __future__ import annotations

from panels.panel import Panel, Row, Unit, query

ENGINE = Row(
    title="IO-Engine health",
    panels=(
        Panel(
            title="Event Loop Lag",
            description="How late the event loop wakes up: 99 of 100 wake-ups are earlier, and the last one.",
            queries=[
                query(
                    "label_replace(histogram_quantile(0.99,"
                    " rate(gaia_io_event_loop_lag_distribution_seconds_bucket{@}[])), 'what', 'p99', '', '')",
                    "what",
                ),
                query(
                    "label_replace(gaia_io_event_loop_lag_seconds{@}, 'what', 'last', '', '')",
                    "what",
                ),
            ],
            unit=Unit.SECONDS,
            warning=0.05,
            critical=0.1,
        ),
        Panel(
            title="Database Connections",
            description="Connections in use, idle, and allowed.",
            queries=[
                query("label_replace(gaia_db_connections_active{@}, 'what', 'active', '', '')", "what"),
                query("label_replace(gaia_db_connections_idle{@}, 'what', 'idle', '', '')", "what"),
                query("label_replace(gaia_db_connections_max{@}, 'what', 'most', '', '')", "what"),
            ],
            unit=Unit.COUNT,
        ),
        Panel(
            title="Database transactions (95th percentile)",
            description="Duration that 95 of 100 transactions do not exceed.",
            queries=[query("histogram_quantile(0.95, rate(gaia_db_transaction_seconds_bucket{@}[]))")],
            unit=Unit.SECONDS,
            warning=0.5,
            critical=2,
        ),
        Panel(
            title="Database failures",
            description="Failures per second, by kind. A Conflict is repeated at once.",
            queries=[query("rate(gaia_db_failures_total{@}[])", "kind")],
            unit=Unit.PER_SECOND,
            warning=0.02,
            critical=0.2,
        ),
        Panel(
            title="Lease of the database",
            description="1 for the validator that may write, 0 for one that stands by.",
            queries=[query("gaia_lease_held{@}")],
            unit=Unit.COUNT,
            most=1,
        ),
        Panel(
            title="Database size",
            description="Size of the database on disk.",
            queries=[query("gaia_db_size_bytes{@}")],
            unit=Unit.BYTES,
        ),
        Panel(
            title="Clock offset",
            description="The validator's clock minus Prometheus's. A rehearsal has a simulated clock.",
            queries=[
                query("(gaia_clock_timestamp_seconds{@} > 0) - timestamp(gaia_clock_timestamp_seconds{@})")
            ],
            unit=Unit.SECONDS,
            least=None,
        ),
    ),
)
TASKS = Row(
    title="Recurring jobs and errors",
    panels=(
        Panel(
            title="Time since the last success",
            description="Age of the last success of each recurring job.",
            queries=[query("time() - gaia_last_success_timestamp_seconds{@}", "task")],
            unit=Unit.SECONDS,
        ),
        Panel(
            title="Overdue jobs",
            description="1 for a job whose last success is older than its deadline.",
            queries=[query("gaia_task_overdue{@}", "task")],
            unit=Unit.COUNT,
            warning=0.5,
            critical=1,
            most=1,
        ),
        Panel(
            title="Failed jobs",
            description="Failures of recurring jobs in the last hour.",
            queries=[query("increase(gaia_task_failures_total{@}[1h])", "task")],
            unit=Unit.COUNT,
        ),
        Panel(
            title="Skipped jobs",
            description="Starts of recurring jobs in the last hour that were skipped, because the last had not ended.",
            queries=[query("increase(gaia_task_skipped_total{@}[1h])", "task")],
            unit=Unit.COUNT,
        ),
        Panel(
            title="Errors of jobs",
            description="Errors of the orchestrator's jobs per second, by type.",
            queries=[query("rate(gaia_errors_total{@}[])", "kind")],
            unit=Unit.PER_SECOND,
            warning=0.05,
            critical=0.2,
        ),
        Panel(
            title="Unexpected exceptions",
            description="Exceptions that nobody foresaw, in the last hour, by the party involved. Each is a bug.",
            queries=[query("increase(gaia_unforeseen_errors_total{@}[1h])", "party")],
            unit=Unit.COUNT,
            warning=1,
            critical=5,
        ),
        Panel(
            title="Log lines",
            description="Lines per second at level warning or above.",
            queries=[query("rate(gaia_log_lines_total{@}[])", "level")],
            unit=Unit.PER_SECOND,
        ),
    ),
)
