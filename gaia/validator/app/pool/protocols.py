"""What runs units of work for the IO-Engine, and what decides over them; one suite holds each kind to its promises."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from gaia.validator.app.pool.job_events import Command, Event
    from gaia.validator.utils.ipc_types import ResultUnit, WorkUnit


class Capability(StrEnum):
    """What a backend can do beyond running units; whatever it declares, the conformance suite tries."""

    MEMORY_LIMIT = "memory_limit"
    """A unit that allocates too much fails with a typed `MemoryError`."""
    RECYCLE = "recycle"
    """Processes are replaced after a number of units."""
    SANDBOX = "sandbox"
    """A unit has no network and sees only the files it needs."""


class ComputeBackend(Protocol):
    """Runs units for the IO-Engine: `ComputePool` in local processes, `DaskBackend` on a cluster.

    Each is a set of hands for one `Scheduler`, whose queue decides. A unit that kills its process is blamed and run
    again; one that is cancelled or past its deadline is ended, native code included. Each is started in its own way
    by `io_compute`.
    """

    @property
    def capabilities(self) -> frozenset[Capability]: ...

    async def dispatch_and_wait(self, unit: WorkUnit, /) -> ResultUnit:
        """Run `unit` and return its result; see `Scheduler.dispatch_and_wait`."""
        ...

    async def close(self) -> None:
        """Begin nothing more and let go of the workers; whoever waits is cancelled by its owner."""
        ...

    @property
    def queue_depth(self) -> int:
        """Units that wait for a worker."""
        ...

    @property
    def busy(self) -> int:
        """Workers that hold a unit."""
        ...

    @property
    def workers(self) -> int:
        """Workers that may be given units."""
        ...

    @property
    def healthy_seats(self) -> int:
        """Workers that may be given units and, as far as is known, answer."""
        ...

    @property
    def sandbox_level(self) -> int:
        """Sandbox level of the least protected worker; 0: none has a sandbox."""
        ...


class JobQueue(Protocol):
    """Decides which worker gets which unit, and answers each job once; `JobLedger` does so in memory.

    A `Scheduler` tells it what happened and carries out what it commands. The job is answered by the result of the
    one attempt that is under way, at its deadline by `DeadlineExceeded`, or by `QuarantinedError` once it crashed
    too many workers. The most urgent job goes first, the oldest among equals, and one that comes back keeps its place.

    It is called on the event loop, so it never waits. One that learns of something elsewhere, such as another
    process, returns the commands that follow with the next `Tick`, of which there are ten a second.
    """

    def handle(self, event: Event, now: float, /) -> list[Command]:
        """Record what happened; return what must happen next, in this order. `now` is in Unix seconds."""
        ...

    @property
    def waiting(self) -> int:
        """Jobs that no worker has."""
        ...

    @property
    def busy(self) -> int:
        """Workers that hold a unit."""
        ...
