"""Metrics of processes, the database's connections and size, and the disk."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Final

from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

from gaia.validator.app.observation.disk import KINDS
from gaia.validator.app.observation.processes import ROLES
from gaia.validator.app.observation.registry import REGISTRY, gauge
from gaia.validator.app.supervision import Role
from gaia.validator.utils.tallies import OTHER

if TYPE_CHECKING:
    from prometheus_client import Metric

    from gaia.validator.app.observation.disk import DiskUse
    from gaia.validator.app.observation.processes import Look

SEATS_SHOWN: Final = 4
"""Seats of compute workers with a series of their own; the others share one."""

_UP = gauge("gaia_child_up", "Living processes, by role.", role=ROLES)
_RSS = gauge(
    "gaia_process_memory_rss_bytes",
    "Resident memory, summed over the processes of a role; shared pages count for each.",
    role=ROLES,
)
_OPEN_FDS = gauge(
    "gaia_process_open_fds",
    "Open descriptors of the process of a role that has most; NaN if the system hides them.",
    role=ROLES,
)
_MAX_FDS = gauge(
    "gaia_process_max_fds",
    "Limit of descriptors of the same process; NaN if the system hides it.",
    role=ROLES,
)
_SEAT_RSS = gauge(
    "gaia_worker_memory_rss_bytes",
    "Resident memory of the compute workers of a seat; other sums the seats without a series.",
    seat=[*map(str, range(SEATS_SHOWN)), OTHER],
)
_DISK_USED = gauge("gaia_disk_used_bytes", "Disk space used in the data folder, by kind.", kind=KINDS)
_DISK_FREE = gauge("gaia_disk_free_bytes", "Free space in the file system of the data folder.")
_DISK_SIZE = gauge("gaia_disk_size_bytes", "Size of the file system of the data folder.")


class _Continued(Collector):
    """Totals that outlive this process: until they are known they have no series, because 0 would be a fall."""

    def __init__(self) -> None:
        self.cpu_s: Mapping[str, float] = {}
        """Role -> CPU seconds."""
        self.restarts: Mapping[str, int] = {}
        """Role -> number of restarts."""

    def collect(self) -> Iterator[Metric]:
        cpu = CounterMetricFamily(
            "gaia_process_cpu_seconds_total",
            "CPU seconds of all processes that a role ever had.",
            labels=["role"],
        )
        restarts = CounterMetricFamily(
            "gaia_child_process_restarts_total",
            "Restarts of child processes since the Supervisor started, by role.",
            labels=["role"],
        )
        for role, seconds in self.cpu_s.items():
            cpu.add_metric([role], seconds)
        for role, total in self.restarts.items():
            restarts.add_metric([role], total)
        yield from (cpu, restarts)


_continued = _Continued()
REGISTRY.register(_continued)


def show_processes(look: Look) -> None:
    """Show what the processes use now; a role that is gone shows zeros."""
    for role, usage in look.roles.items():
        _UP.labels(role).set(usage.up)
        _RSS.labels(role).set(usage.rss_bytes)
        _OPEN_FDS.labels(role).set(usage.open_fds)
        _MAX_FDS.labels(role).set(usage.max_fds)
    _continued.cpu_s = {role: usage.cpu_s for role, usage in look.roles.items()}
    by_seat = dict.fromkeys([*map(str, range(SEATS_SHOWN)), OTHER], 0.0)
    for seat, rss_bytes in look.seats.items():
        by_seat[str(seat) if seat < SEATS_SHOWN else OTHER] += rss_bytes
    for name, rss_bytes in by_seat.items():
        _SEAT_RSS.labels(name).set(rss_bytes)


def show_restarts(restarts: Mapping[str, int]) -> None:
    """Show the board's totals of restarts; a role that is not in them has none."""
    _continued.restarts = {str(role): restarts.get(role, 0) for role in Role}


def show_disk(use: DiskUse) -> None:
    """Show the space that each kind of file uses."""
    for kind, used_bytes in use.items():
        _DISK_USED.labels(kind).set(used_bytes)


def show_file_system(free_bytes: int, size_bytes: int) -> None:
    """Show the space of the data folder's file system."""
    _DISK_FREE.set(free_bytes)
    _DISK_SIZE.set(size_bytes)
