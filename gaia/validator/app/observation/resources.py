"""Metrics of descriptors, of workers' memory by seat, and of the disk."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gaia.validator.app.observation.disk import KINDS
from gaia.validator.app.observation.family import ROLES
from gaia.validator.app.observation.registry import gauge
from gaia.validator.utils.tallies import OTHER

if TYPE_CHECKING:
    from gaia.validator.app.observation.disk import DiskUse
    from gaia.validator.app.observation.processes import Look

SEATS_SHOWN: Final = 4
"""Seats of compute workers with a series of their own; the others share one."""

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
_DISK_SIZE = gauge(
    "gaia_disk_size_bytes", "Size of the file system of the data folder, without what only root may use."
)


def show_processes(look: Look) -> None:
    """Show the descriptors of each role, and the memory of each seat; what is gone has zeros."""
    for role, most in look.descriptors.items():
        _OPEN_FDS.labels(role).set(most.open)
        _MAX_FDS.labels(role).set(most.limit)
    by_seat = dict.fromkeys([*map(str, range(SEATS_SHOWN)), OTHER], 0.0)
    for seat, rss_bytes in look.seats.items():
        by_seat[str(seat) if seat < SEATS_SHOWN else OTHER] += rss_bytes
    for name, rss_bytes in by_seat.items():
        _SEAT_RSS.labels(name).set(rss_bytes)


def show_disk(use: DiskUse) -> None:
    """Show the space that each kind of file uses."""
    for kind, used_bytes in use.items():
        _DISK_USED.labels(kind).set(used_bytes)


def show_file_system(free_bytes: int, size_bytes: int) -> None:
    """Show the space of the data folder's file system."""
    _DISK_FREE.set(free_bytes)
    _DISK_SIZE.set(size_bytes)
