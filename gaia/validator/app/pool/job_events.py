"""What happens to the pool of compute workers, and what is to be done about it: words of the job ledger."""

from __future__ import annotations

import msgspec

from gaia.validator.app.meeting.lease_book import Holding, Story
from gaia.validator.app.meeting.rendezvous import DeathReport
from gaia.validator.utils.ipc_types import ResultUnit, WorkUnit


class Submitted(msgspec.Struct, frozen=True, gc=False):
    """Somebody waits for this unit; a unit already known is not run a second time."""

    unit: WorkUnit


class Cancelled(msgspec.Struct, frozen=True, gc=False):
    """Nobody waits for the job any more."""

    job_id: str


class WorkerReady(msgspec.Struct, frozen=True, gc=False):
    """A worker has connected and holds nothing."""

    worker: str


class WorkerHolding(msgspec.Struct, frozen=True, gc=False):
    """A worker has connected anew and is about to send the result it still holds."""

    worker: str
    job_id: str
    attempt: int


class WorkerLeaving(msgspec.Struct, frozen=True, gc=False):
    """A worker asks to be let go."""

    worker: str


class Finished(msgspec.Struct, frozen=True, gc=False):
    """A worker has answered, and is free."""

    worker: str
    result: ResultUnit


class WorkerLost(msgspec.Struct, frozen=True, gc=False):
    """A worker's connection ended; the worker itself may live on, and keeps what it holds."""

    worker: str


class WorkerDied(msgspec.Struct, frozen=True, gc=False):
    """A worker's process is gone; told again when the Supervisor has found out why."""

    worker: str
    report: DeathReport | None = None


class Inherited(msgspec.Struct, frozen=True, gc=False):
    """The engine before us gave this unit to a worker that has not connected to us yet."""

    holding: Holding


class Tick(msgspec.Struct, frozen=True, gc=False):
    """Time has passed; carries who lives, as the Supervisor knows it; None: nobody knows."""

    living: frozenset[str] | None = None


Event = (
    Submitted
    | Cancelled
    | WorkerReady
    | WorkerHolding
    | WorkerLeaving
    | Finished
    | WorkerLost
    | WorkerDied
    | Inherited
    | Tick
)


class Assign(msgspec.Struct, frozen=True, gc=False):
    worker: str
    unit: WorkUnit


class Resolve(msgspec.Struct, frozen=True, gc=False):
    """Answer whoever waits for the job."""

    result: ResultUnit


class Acknowledge(msgspec.Struct, frozen=True, gc=False):
    """Tell the worker that it may forget this result; an `Assign` to it says the same."""

    worker: str
    job_id: str
    attempt: int


class Dismiss(msgspec.Struct, frozen=True, gc=False):
    """Let the worker go."""

    worker: str


class Kill(msgspec.Struct, frozen=True, gc=False):
    worker: str
    reason: str


class Quarantine(msgspec.Struct, frozen=True, gc=False):
    """The job killed every worker that tried it; its waiter is told by a `Resolve` of its own."""

    job_id: str
    crashes: int


class Remember(msgspec.Struct, frozen=True, gc=False):
    """Write down what went wrong with the job before anything else is done; None: forget it."""

    job_id: str
    story: Story | None


Command = Assign | Resolve | Acknowledge | Dismiss | Kill | Quarantine | Remember
