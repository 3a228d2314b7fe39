"""Interfaces of compute backends and job queues; one conformance suite tests all implementations."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from gaia.validator.app.pool.job_events import Command, Event
    from gaia.validator.utils.ipc_types import ResultUnit, WorkUnit


class Capability(StrEnum):
    """Optional capability of a backend; the conformance suite tests each declared one."""

    MEMORY_LIMIT = "memory_limit"
    """A unit that allocates too much fails with a typed `MemoryError`."""
    RECYCLE = "recycle"
    """Processes are replaced after a number of units."""
    SANDBOX = "sandbox"
    """A unit has no network and sees only the files it needs."""


class ComputeBackend(Protocol):
    """Runs units for the IO-Engine: `ComputePool` in local processes, `DaskBackend` on a cluster.

    Each executes the commands of one `Scheduler`, whose queue decides. A unit that kills its process counts a crash
    and runs again. A unit that is cancelled or past its deadline is ended, including native code. `io_compute` starts
    each kind in its own way.
    """

    @property
    def capabilities(self) -> frozenset[Capability]: ...

    async def dispatch_and_wait(self, unit: WorkUnit, /) -> ResultUnit:
        """Run `unit` and return its result; see `Scheduler.dispatch_and_wait`."""
        ...

    async def close(self) -> None:
        """Start no more units, and release the workers; the owner cancels waiting callers."""
        ...

    @property
    def queue_depth(self) -> int:
        """Number of units that wait for a worker."""
        ...

    @property
    def busy(self) -> int:
        """Workers that hold a unit."""
        ...

    @property
    def undelivered(self) -> int:
        """Number of results that their callers have not taken yet."""
        ...

    @property
    def workers(self) -> int:
        """Number of workers that may be assigned units."""
        ...

    @property
    def healthy_seats(self) -> int:
        """Number of workers that may be assigned units and seem to work."""
        ...

    @property
    def sandbox_level(self) -> int:
        """Sandbox level of the least protected worker; 0: no sandbox."""
        ...


class JobQueue(Protocol):
    """Decides which worker gets which unit, and answers each job once; `JobLedger` does so in memory.

    A `Scheduler` passes events to it, and executes its commands. A job is answered by the result of its present
    attempt, by `DeadlineExceeded` at its deadline, or by `QuarantinedError` after it crashed too many workers. The
    most urgent job runs first, the oldest of equal ones; a job that returns keeps its place.

    It is called on the event loop, so it never waits. An implementation that gets news from elsewhere, such as
    another process, returns the resulting commands at the next `Tick`; there are ten per second.
    """

    def handle(self, event: Event, now: float, /) -> list[Command]:
        """Record an event at `now`, in Unix seconds; return the commands that follow, in order."""
        ...

    @property
    def waiting(self) -> int:
        """Number of jobs that no worker has."""
        ...

    @property
    def busy(self) -> int:
        """Workers that hold a unit."""
        ...
