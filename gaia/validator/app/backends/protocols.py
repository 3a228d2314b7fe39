"""What a queue of units and a place that runs them promise; one conformance suite holds all to it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from gaia.validator.utils.ipc_types import ResultUnit, WorkUnit


class Capability(StrEnum):
    """What a backend can do beyond running units; whatever it declares, the conformance suite tries."""

    SURVIVES_CRASH = "survives_crash"
    """A unit that kills its process is reported as lost; the backend goes on."""
    KILL_RUNNING = "kill_running"
    """A unit past its deadline, or cancelled, really ends, native code included."""
    MEMORY_LIMIT = "memory_limit"
    """A unit that allocates too much fails with a typed `MemoryError`."""
    RECYCLE = "recycle"
    """Processes are replaced after a number of units."""
    SANDBOX = "sandbox"
    """A unit has no network and sees only the files it needs."""


class AttemptLost(Exception):
    """An attempt ended without an answer.

    Parameters
    ----------
    cause
        For people: what became of the worker.
    is_crash
        The worker died with the unit in its hands, so the unit may be the reason.
    """

    def __init__(self, cause: str, *, is_crash: bool = True) -> None:
        super().__init__(cause)
        self.cause = cause
        self.is_crash = is_crash


class ComputeBackend(Protocol):
    """Runs one attempt at a unit; who waits, what is repeated and when to give up is decided above it."""

    @property
    def capabilities(self) -> frozenset[Capability]: ...

    async def start(self, changed: Callable[[], None]) -> None:
        """Be ready to run units, and call `changed` whenever `capacity` may have changed.

        Raises `ConfigurationError` if the operator must mend something first.
        """
        ...

    def capacity(self) -> int:
        """Return how many units can run at once, those that do included."""
        ...

    async def run(self, unit: WorkUnit) -> ResultUnit:
        """Run the attempt ``unit.attempt`` and return its result, a `Failure` included.

        Raises `AttemptLost` if there will be none. Ends soon after ``unit.deadline_at``
        if the backend has `KILL_RUNNING`.
        """
        ...

    async def cancel(self, job_id: str, attempt: int) -> bool:
        """End that attempt, whose `run` then raises `AttemptLost`; False: it can't be ended, or is not known."""
        ...

    async def close(self) -> None:
        """Let go of everything; attempts under way are lost."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Lease:
    """One attempt, handed out."""

    unit: WorkUnit
    """With the number of this attempt in it."""
    withdrawn: asyncio.Event = field(default_factory=asyncio.Event)
    """Set once nobody wants the answer any more: cancelled, or past the deadline."""


class JobQueue(Protocol):
    """Holds units until somebody runs them, and answers each exactly once.

    A unit is answered by its result, at its deadline by `DeadlineExceeded`, or by
    `QuarantinedError` once it was lost to so many crashes. Attempts are numbered as they
    are handed out, and only the holder of the newest may answer or give back.
    """

    async def put(self, unit: WorkUnit) -> asyncio.Future[ResultUnit]:
        """Take in `unit` and return its future answer; waits while the queue is full.

        A job id that is already under way is not run twice: all who put it get
        its one answer. When the last of them is cancelled, so is the unit.
        """
        ...

    async def take(self) -> Lease:
        """Wait for a unit and return the most urgent one; the older one among equals."""
        ...

    def done(self, result: ResultUnit) -> bool:
        """Answer the job, by value or failure; False: that attempt has no say any more."""
        ...

    def give_back(self, job_id: str, attempt: int, cause: str, *, is_crash: bool) -> bool:
        """Return a unit without an answer, to keep its place; False: that attempt has no say any more."""
        ...

    def cancel(self, job_id: str) -> bool:
        """Forget the job and cancel whoever waits for it; False: it is not known."""
        ...

    def close(self) -> None:
        """Cancel every job."""
        ...

    @property
    def depth(self) -> int:
        """Units that nobody has taken."""
        ...
