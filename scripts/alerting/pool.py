"""Alerts about the event loop, the queues and the compute pool."""

from __future__ import annotations

from alerting.rule import Alert, Case, Group, Recording, Series, Severity, series

_DEPTH = "gaia_ipc_queue_depth"
_LAG_BUCKETS = "gaia_io_event_loop_lag_distribution_seconds_bucket"
_JOBS = "gaia_compute_job_duration_seconds"
_FAILURES = "gaia_compute_job_failures_total"

LAG = Recording(
    name="gaia:event_loop_lag_seconds:p99",
    expr=f"histogram_quantile(0.99, rate({_LAG_BUCKETS}[5m]))",
    why="The gauge holds one wake-up of the 30 between two scrapes, so the histogram decides.",
)
OUR_FAILURES = Recording(
    name="gaia:job_failures:rate5m",
    expr=f'sum without (handler, error) (rate({_FAILURES}{{error!="MinerFault"}}[5m]))',
    why="A forecast that fails because of its miner is no failure of ours.",
)


def _queue(name: str, queue: str, limit: int, wait: str, severity: Severity) -> Alert:
    return Alert(
        name=name,
        expr=f'{_DEPTH}{{queue="{queue}"}} > {limit}',
        wait=wait,
        severity=severity,
        summary=f"The {queue} queue of {{{{ $labels.instance }}}} is long.",
        description=f"{{{{ $value }}}} units are in the {queue} queue, above {limit}.",
        fires=Case(
            given=[series(_DEPTH, f"{limit + 1}x20", queue=queue)],
            at="15m",
            labels={"queue": queue},
            says=f"{limit + 1} units are in the {queue} queue, above {limit}.",
        ),
        silent=Case(given=[series(_DEPTH, f"{limit}x20", queue=queue)], at="15m"),
    )


def _lags(seconds: str) -> list[Series]:
    """Return a histogram whose every wake-up is late by up to `seconds`, one of its bounds."""
    bounds = ("0.005", "0.01", "0.05", "0.1", "0.25", "1.0", "+Inf")
    held = bounds.index(seconds)
    return [
        series(_LAG_BUCKETS, "0+120x30" if position >= held else "0x30", le=bound)
        for position, bound in enumerate(bounds)
    ]


def _lag(name: str, limit: str, wait: str, severity: Severity, *, late: str, says: str) -> Alert:
    return Alert(
        name=name,
        expr=f"{LAG.name} > {limit}",
        wait=wait,
        severity=severity,
        summary="The event loop of {{ $labels.instance }} wakes up late.",
        description=f"One wake-up in a hundred is {{{{ $value | humanizeDuration }}}} late, above {limit} s.",
        fires=Case(given=_lags(late), at="20m", says=says),
        silent=Case(given=_lags(limit), at="20m"),
    )


def _durations(late: int) -> list[Series]:
    """Return attempts of a minute or less, of which `late` in 100 take up to two."""
    name = f"{_JOBS}_bucket"
    handler = "weather.score.day1"
    return [
        series(name, f"0+{100 - late}x40", le="60.0", handler=handler),
        series(name, "0+100x40", le="120.0", handler=handler),
        series(name, "0+100x40", le="+Inf", handler=handler),
    ]


def _failing(failures: float, jobs: float) -> list[Series]:
    handler = "weather.score.day1"
    return [
        series(f"{_JOBS}_count", f"0+{jobs}x40", handler=handler),
        series(_FAILURES, f"0+{failures}x40", handler=handler, error="DeadlineExceeded"),
        series(_FAILURES, "0+60x40", handler=handler, error="MinerFault"),
    ]


GROUP = Group(
    name="pool",
    alerts=(
        _lag(
            "EventLoopLag",
            "0.05",
            "5m",
            Severity.WARNING,
            late="0.1",
            says=("One wake-up in a hundred is 99.5ms late, above 0.05 s."),
        ),
        _lag(
            "CriticalEventLoopLag",
            "0.1",
            "2m",
            Severity.CRITICAL,
            late="0.25",
            says=("One wake-up in a hundred is 248.5ms late, above 0.1 s."),
        ),
        _queue("IPCQueueFull", "work", 500, "5m", Severity.CRITICAL),
        _queue("IPCQueueHigh", "work", 100, "10m", Severity.WARNING),
        _queue("IPCResultQueueFull", "result", 500, "5m", Severity.CRITICAL),
        Alert(
            name="PoolSeatsMissing",
            expr="gaia_pool_healthy_seats < gaia_pool_seats",
            wait="10m",
            severity=Severity.WARNING,
            summary="The compute pool of {{ $labels.instance }} is not complete.",
            description="{{ $value }} seats have a worker that answers, fewer than there are.",
            fires=Case(
                given=[series("gaia_pool_healthy_seats", "1x20"), series("gaia_pool_seats", "2x20")],
                at="15m",
                says="1 seats have a worker that answers, fewer than there are.",
            ),
            silent=Case(
                given=[series("gaia_pool_healthy_seats", "1x9 2x20"), series("gaia_pool_seats", "2x30")],
                at="15m",
            ),
        ),
        Alert(
            name="SandboxLow",
            expr="gaia_sandbox_level < 2 and on (instance) gaia_pool_healthy_seats > 0",
            wait="5m",
            severity=Severity.WARNING,
            why="Below 2 either files or system calls are open to a worker. Without a worker there is no level.",
            summary="Workers of {{ $labels.instance }} decode forecasts without a full sandbox.",
            description="The least protected worker has sandbox level {{ $value }}, below 2.",
            fires=Case(
                given=[series("gaia_sandbox_level", "1x20"), series("gaia_pool_healthy_seats", "2x20")],
                at="10m",
                says="The least protected worker has sandbox level 1, below 2.",
            ),
            silent=Case(
                given=[series("gaia_sandbox_level", "2x20"), series("gaia_pool_healthy_seats", "2x20")],
                at="10m",
            ),
        ),
        Alert(
            name="SlowComputeJobs",
            expr=f"histogram_quantile(0.95, rate({_JOBS}_bucket[10m])) > 60",
            wait="10m",
            severity=Severity.WARNING,
            summary="Units of {{ $labels.instance }} are slow.",
            description=(
                "One attempt in twenty at {{ $labels.handler }} takes {{ $value | humanizeDuration }} or more,"
                " above 60 s."
            ),
            fires=Case(
                given=_durations(late=8),
                at="30m",
                labels={"handler": "weather.score.day1"},
                says="One attempt in twenty at weather.score.day1 takes 1m 22s or more, above 60 s.",
            ),
            silent=Case(given=_durations(late=4), at="30m"),
        ),
        Alert(
            name="ComputeJobFailures",
            expr=f"{OUR_FAILURES.name} > 0.1",
            wait="5m",
            severity=Severity.WARNING,
            summary="Units of {{ $labels.instance }} fail.",
            description='{{ $value | printf "%.2f" }} attempts fail per second, above 0.1.',
            fires=Case(
                given=_failing(failures=12, jobs=6000),
                at="20m",
                says="0.20 attempts fail per second, above 0.1.",
            ),
            silent=Case(given=_failing(failures=5.4, jobs=6000), at="20m"),
        ),
        Alert(
            name="HighComputeJobFailureRate",
            expr=(
                f"{OUR_FAILURES.name} / sum without (handler) (rate({_JOBS}_count[5m])) > 0.05"
                f" and sum without (handler) (increase({_JOBS}_count[5m])) > 20"
            ),
            wait="5m",
            severity=Severity.CRITICAL,
            why="One failure among ten units is a tenth, and no alarm: there must be more than 20 in 5 minutes.",
            summary="Many units of {{ $labels.instance }} fail.",
            description="{{ $value | humanizePercentage }} of the attempts fail, above 5%.",
            fires=Case(
                given=_failing(failures=6, jobs=60), at="20m", says="10% of the attempts fail, above 5%."
            ),
            silent=Case(given=_failing(failures=2.4, jobs=60), at="20m"),
        ),
    ),
)
