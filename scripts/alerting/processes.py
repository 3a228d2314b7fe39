"""Alerts about the processes of the validator, and about what they take from the machine."""

from __future__ import annotations

from alerting.rule import Alert, Case, Group, Recording, Severity, series

_UP = "gaia_child_up"
_RESTARTS = "gaia_child_process_restarts_total"
_RSS = "gaia_process_memory_rss_bytes"
_CPU = "gaia_process_cpu_seconds_total"
_GIB = 2**30

MEMORY = Recording(
    name="gaia:memory_rss:bytes",
    expr=f'{_RSS}{{role!="compute_worker"}} or gaia_worker_memory_rss_bytes{{seat!="other"}}',
    why=(
        "Each compute worker counts alone: the sum over a pool of 8 is above 4 GiB on a healthy machine, while"
        " one worker is replaced at GAIA_WORKER_SOFT_LIMIT_MIB. The seat `other` is a sum too."
    ),
)
CPU = Recording(
    name="gaia:cpu:ratio",
    expr=f'rate({_CPU}{{role=~"supervisor|io_engine|standby|chain_signer"}}[5m])',
    why=(
        "1 is one core. Compute workers and PostgreSQL are left out: they use whole cores for hours while they"
        " score, and that is their work. The others each have one loop, which must not be full."
    ),
)
_HOLDER = (
    "{{ if $labels.seat }}The compute worker in seat {{ $labels.seat }}"
    "{{ else }}The role {{ $labels.role }}{{ end }}"
)


def _memory(name: str, gib: int, wait: str, severity: Severity) -> Alert:
    return Alert(
        name=name,
        expr=f"{MEMORY.name} > {gib * _GIB}",
        wait=wait,
        severity=severity,
        summary="A process of {{ $labels.instance }} holds much memory.",
        description=f"{_HOLDER} holds {{{{ $value | humanize1024 }}}}B of memory, above {gib} GiB.",
        fires=Case(
            given=[
                series(_RSS, f"{gib * _GIB + _GIB // 2}x30", role="postgres"),
                series(_RSS, f"{3 * gib * _GIB}x30", role="compute_worker"),
                series("gaia_worker_memory_rss_bytes", "900000000x30", seat="0"),
            ],
            at="20m",
            labels={"role": "postgres"},
            says=f"The role postgres holds {gib}.5GiB of memory, above {gib} GiB.",
        ),
        silent=Case(
            given=[
                series(_RSS, f"{gib * _GIB}x30", role="postgres"),
                series(_RSS, f"{3 * gib * _GIB}x30", role="compute_worker"),
                series("gaia_worker_memory_rss_bytes", "900000000x30", seat="0"),
                series("gaia_worker_memory_rss_bytes", f"{3 * gib * _GIB}x30", seat="other"),
            ],
            at="20m",
        ),
    )


def _cpu(name: str, share: float, wait: str, severity: Severity) -> Alert:
    return Alert(
        name=name,
        expr=f"{CPU.name} > {share}",
        wait=wait,
        severity=severity,
        summary="A process of {{ $labels.instance }} is busy all the time.",
        description=(
            "The role {{ $labels.role }} uses {{ $value | humanizePercentage }} of one core,"
            f" above {share * 100:g}%."
        ),
        fires=Case(
            given=[
                series(_CPU, f"0+{60 * share + 1.2:g}x40", role="io_engine"),
                series(_CPU, "0+480x40", role="compute_worker"),
            ],
            at="30m",
            labels={"role": "io_engine"},
            says=(f"The role io_engine uses {(share + 0.02) * 100:g}% of one core, above {share * 100:g}%."),
        ),
        silent=Case(
            given=[
                series(_CPU, f"0+{60 * share - 1.2:g}x40", role="io_engine"),
                series(_CPU, "0+480x40", role="compute_worker"),
            ],
            at="30m",
        ),
    )


GROUP = Group(
    name="processes",
    alerts=(
        Alert(
            name="ProcessDown",
            expr=f"{_UP} == 0 and on (instance, role) max_over_time({_UP}[6h]) > 0",
            wait="1m",
            severity=Severity.CRITICAL,
            page=True,
            why=(
                "A role that never lived is no fault: there is no postgres where GAIA_DATABASE_URL names a server,"
                " and no compute_worker where units run on a cluster."
            ),
            summary="A process of {{ $labels.instance }} is down.",
            description="{{ $value }} processes of the role {{ $labels.role }} live.",
            fires=Case(
                given=[series(_UP, "1x5 0x15", role="chain_signer"), series(_UP, "1x20", role="io_engine")],
                at="8m",
                labels={"role": "chain_signer"},
                says="0 processes of the role chain_signer live.",
            ),
            silent=Case(
                given=[series(_UP, "1x20", role="chain_signer"), series(_UP, "0x20", role="postgres")],
                at="8m",
            ),
        ),
        Alert(
            name="ProcessRestarting",
            expr=f"increase({_RESTARTS}[5m]) > 0",
            severity=Severity.WARNING,
            summary="A process of {{ $labels.instance }} was restarted.",
            description='{{ $value | printf "%.0f" }} restarts of the role {{ $labels.role }} in 5 minutes.',
            fires=Case(
                given=[series(_RESTARTS, "0x5 1x15", role="compute_worker")],
                at="7m",
                labels={"role": "compute_worker"},
                says="1 restarts of the role compute_worker in 5 minutes.",
            ),
            silent=Case(given=[series(_RESTARTS, "3x20", role="compute_worker")], at="7m"),
        ),
        Alert(
            name="ProcessHighRestarts",
            expr=f"increase({_RESTARTS}[1h]) > 5",
            severity=Severity.CRITICAL,
            summary="A process of {{ $labels.instance }} is restarted again and again.",
            description='{{ $value | printf "%.0f" }} restarts of the role {{ $labels.role }} in an hour.',
            fires=Case(
                given=[series(_RESTARTS, "0x10 6x60", role="compute_worker")],
                at="60m",
                labels={"role": "compute_worker"},
                says="6 restarts of the role compute_worker in an hour.",
            ),
            silent=Case(given=[series(_RESTARTS, "0x10 5x60", role="compute_worker")], at="60m"),
        ),
        Alert(
            name="CrashLoop",
            expr=(
                f'sum without (role) (increase({_RESTARTS}{{role!="compute_worker"}}[15m])) > 3'
                f' or sum without (role) (resets({_CPU}{{role="supervisor"}}[30m])) > 3'
            ),
            severity=Severity.CRITICAL,
            page=True,
            why=(
                "Workers are left out: a poisonous forecast can kill several, and its unit is quarantined by itself."
                " A reset of the Supervisor's CPU time is a start of the whole validator."
            ),
            summary="{{ $labels.instance }} crashes again and again.",
            description=(
                '{{ $value | printf "%.0f" }} restarts of its processes in 15 minutes, or of itself in 30.'
            ),
            fires=Case(
                given=[
                    series(_CPU, "1 2 1 2 1 2 1 2 1 2x30", role="supervisor"),
                    series(_RESTARTS, "0x40", role="io_engine"),
                ],
                at="20m",
                says="4 restarts of its processes in 15 minutes, or of itself in 30.",
            ),
            silent=Case(
                given=[
                    series(_RESTARTS, "0x10 3x40", role="io_engine"),
                    series(_RESTARTS, "0x10 9x40", role="compute_worker"),
                    series(_CPU, "1 2 1 2 1 2 1 2x40", role="supervisor"),
                ],
                at="15m",
            ),
        ),
        _memory("HighMemoryUsage", 2, "10m", Severity.WARNING),
        _memory("CriticalMemoryUsage", 4, "5m", Severity.CRITICAL),
        _cpu("HighCPUUsage", 0.8, "15m", Severity.WARNING),
        _cpu("CriticalCPUUsage", 0.95, "5m", Severity.CRITICAL),
        Alert(
            name="OpenFilesHigh",
            expr="gaia_process_open_fds / gaia_process_max_fds > 0.8",
            wait="10m",
            severity=Severity.WARNING,
            summary="A process of {{ $labels.instance }} is near its limit of open files.",
            description="The role {{ $labels.role }} uses {{ $value | humanizePercentage }} of its descriptors.",
            fires=Case(
                given=[
                    series("gaia_process_open_fds", "900x20", role="io_engine"),
                    series("gaia_process_max_fds", "1024x20", role="io_engine"),
                ],
                at="15m",
                labels={"role": "io_engine"},
                says="The role io_engine uses 87.89% of its descriptors.",
            ),
            silent=Case(
                given=[
                    series("gaia_process_open_fds", "800x20", role="io_engine"),
                    series("gaia_process_max_fds", "1024x20", role="io_engine"),
                    series("gaia_process_open_fds", "0x20", role="standby"),
                    series("gaia_process_max_fds", "0x20", role="standby"),
                ],
                at="15m",
            ),
        ),
    ),
)
