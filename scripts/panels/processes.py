"""Rows about processes and their work."""

from __future__ import annotations

from panels.panel import Panel, Row, Unit, query

HEALTH = Row(
    title="Process health",
    panels=(
        Panel(
            title="Process CPU Usage",
            description="CPU time by role; 1 is one core. The alerts leave compute workers and PostgreSQL out.",
            queries=[query("rate(gaia_process_cpu_seconds_total{@}[])", "role")],
            unit=Unit.SHARE,
            warning=0.8,
            critical=0.95,
        ),
        Panel(
            title="Process Memory Usage (RSS)",
            description="Resident memory, summed over the processes of a role.",
            queries=[query("gaia_process_memory_rss_bytes{@}", "role")],
            unit=Unit.BYTES,
            warning=2 * 2**30,
            critical=4 * 2**30,
        ),
        Panel(
            title="Memory of compute workers",
            description="Resident memory by seat. A worker above the soft limit is replaced after its unit.",
            queries=[query("gaia_worker_memory_rss_bytes{@}", "seat")],
            unit=Unit.BYTES,
            warning=2 * 2**30,
            critical=4 * 2**30,
        ),
        Panel(
            title="Process Restarts",
            description="Replacements of dead processes in the last hour, by role.",
            queries=[query("increase(gaia_child_process_restarts_total{@}[1h])", "role")],
            unit=Unit.COUNT,
            warning=1,
            critical=5,
        ),
        Panel(
            title="Living processes",
            description="Living processes by role.",
            queries=[query("gaia_child_up{@}", "role")],
            unit=Unit.COUNT,
        ),
        Panel(
            title="Open files",
            description="Open descriptors as a share of the limit of the process, by role.",
            queries=[query("gaia_process_open_fds{@} / (gaia_process_max_fds{@} > 0)", "role")],
            unit=Unit.SHARE,
            warning=0.8,
            critical=0.95,
            most=1.0,
        ),
    ),
)
THROUGHPUT = Row(
    title="Application throughput",
    panels=(
        Panel(
            title="IPC Queue Depth",
            description="Units that wait, are leased, or have a result that is not taken yet.",
            queries=[query("gaia_ipc_queue_depth{@}", "queue")],
            unit=Unit.COUNT,
            warning=100,
            critical=500,
        ),
        Panel(
            title="Compute Job Rate",
            description="Attempts at units per second, by handler.",
            queries=[query("rate(gaia_compute_job_duration_seconds_count{@}[])", "handler")],
            unit=Unit.PER_SECOND,
            is_stacked=True,
        ),
        Panel(
            title="Job Latency (95th percentile)",
            description="Duration that 95 of 100 attempts do not exceed, by handler.",
            queries=[
                query(
                    "histogram_quantile(0.95, rate(gaia_compute_job_duration_seconds_bucket{@}[]))", "handler"
                )
            ],
            unit=Unit.SECONDS,
            warning=60,
            critical=300,
        ),
        Panel(
            title="Job failures",
            description="Failed attempts per second, by error. MinerFault is the miner's, not ours.",
            queries=[query("sum by (instance, error) (rate(gaia_compute_job_failures_total{@}[]))", "error")],
            unit=Unit.PER_SECOND,
            warning=0.1,
            critical=1,
        ),
        Panel(
            title="Sandbox level",
            description="Sandbox of the least protected worker: 3 is full, below 2 something is open.",
            queries=[query("gaia_sandbox_level{@}")],
            unit=Unit.COUNT,
            warning=2,
            critical=1,
            most=3,
        ),
        Panel(
            title="Seats of the pool",
            description="Seats of the compute pool, and those whose worker answers.",
            queries=[
                query("label_replace(gaia_pool_seats{@}, 'what', 'seats', '', '')", "what"),
                query("label_replace(gaia_pool_healthy_seats{@}, 'what', 'healthy', '', '')", "what"),
            ],
            unit=Unit.COUNT,
        ),
    ),
)
