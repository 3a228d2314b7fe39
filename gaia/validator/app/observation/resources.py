"""Metrics of processes, the database's connections and size, and the disk."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from gaia.validator.app.observation.disk import KINDS
from gaia.validator.app.observation.processes import ROLES
from gaia.validator.app.observation.registry import counter, gauge
from gaia.validator.app.supervision import Role
from gaia.validator.utils.tallies import OTHER

if TYPE_CHECKING:
    from gaia.validator.app.observation.disk import DiskUse
    from gaia.validator.app.observation.processes import Look

SEATS_SHOWN: Final = 4
"""Seats of compute workers with a series of their own; the others share one."""

_UP = gauge("gaia_child_up", "Living processes, by role.", role=ROLES)
_RESTARTS = counter(
    "gaia_child_process_restarts_total", "Restarts of child processes, by role.", role=list(Role)
)
_RSS = gauge(
    "gaia_process_memory_rss_bytes", "Resident memory, summed over the processes of a role.", role=ROLES
)
_CPU = counter(
    "gaia_process_cpu_seconds_total", "CPU seconds of all processes that a role ever had.", role=ROLES
)
_OPEN_FDS = gauge(
    "gaia_process_open_fds",
    "Open descriptors of the process of a role that has most; NaN if the system hides them.",
    role=ROLES,
)
_MAX_FDS = gauge("gaia_process_max_fds", "Descriptors that each process may have open; NaN if unknown.")
_SEAT_RSS = gauge(
    "gaia_worker_memory_rss_bytes",
    "Resident memory of the compute workers of a seat; other sums the seats without a series.",
    seat=[*map(str, range(SEATS_SHOWN)), OTHER],
)
_DISK_USED = gauge("gaia_disk_used_bytes", "Disk space used in the data folder, by kind.", kind=KINDS)
_DISK_FREE = gauge("gaia_disk_free_bytes", "Free space in the file system of the data folder.")
_DISK_SIZE = gauge("gaia_disk_size_bytes", "Size of the file system of the data folder.")


class ProcessMetrics:
    """Shows looks at the processes, and the board's restarts."""

    def __init__(self) -> None:
        self._cpu: dict[str, float] = {}
        self._restarts: dict[str, int] = {}

    def show(self, look: Look) -> None:
        """Show what the processes use now; a role that is gone shows zeros."""
        for role, usage in look.roles.items():
            _UP.labels(role).set(usage.up)
            _RSS.labels(role).set(usage.rss_bytes)
            _OPEN_FDS.labels(role).set(usage.open_fds)
            _CPU.labels(role).inc(max(0.0, usage.cpu_s - self._cpu.get(role, 0.0)))
            self._cpu[role] = max(usage.cpu_s, self._cpu.get(role, 0.0))
        _MAX_FDS.set(look.max_fds)
        by_seat = dict.fromkeys([*map(str, range(SEATS_SHOWN)), OTHER], 0.0)
        for seat, rss_bytes in look.seats.items():
            by_seat[str(seat) if seat < SEATS_SHOWN else OTHER] += rss_bytes
        for name, rss_bytes in by_seat.items():
            _SEAT_RSS.labels(name).set(rss_bytes)

    def show_restarts(self, restarts: Mapping[str, int]) -> None:
        """Show the board's totals of restarts."""
        for role, total in restarts.items():
            _RESTARTS.labels(role).inc(max(0, total - self._restarts.get(role, 0)))
            self._restarts[role] = total


def show_disk(use: DiskUse) -> None:
    """Show the space that each kind of file uses."""
    for kind, used_bytes in use.items():
        _DISK_USED.labels(kind).set(used_bytes)


def show_file_system(free_bytes: int, size_bytes: int) -> None:
    """Show the space of the data folder's file system."""
    _DISK_FREE.set(free_bytes)
    _DISK_SIZE.set(size_bytes)
