"""Events for the job ledger, and the commands that it returns."""

from __future__ import annotations

import msgspec

from gaia.validator.app.meeting.lease_book import CrashHistory, Holding
from gaia.validator.utils.identities import JobId, WorkerId
from gaia.validator.utils.ipc_types import Failure, ResultUnit, WorkUnit


class Submitted(msgspec.Struct, frozen=True, gc=False):
    """A caller waits for this unit; an open job is not run a second time."""

    unit: WorkUnit


class Cancelled(msgspec.Struct, frozen=True, gc=False):
    """The last caller of the job has left."""

    job_id: JobId


class WorkerReady(msgspec.Struct, frozen=True, gc=False):
    """A worker has connected and holds nothing."""

    worker: WorkerId
    seat: str = ""
    """Seat, which a worker shares with its successors; empty: it has its own."""


class WorkerHolding(msgspec.Struct, frozen=True, gc=False):
    """A worker has reconnected, and is about to send the result that it still holds."""

    worker: WorkerId
    job_id: JobId
    attempt: int
    seat: str = ""
    """As in `WorkerReady`."""


class WorkerLeaving(msgspec.Struct, frozen=True, gc=False):
    """A worker asks to leave."""

    worker: WorkerId


class Finished(msgspec.Struct, frozen=True, gc=False):
    """A worker has answered; it holds nothing now."""

    worker: WorkerId
    result: ResultUnit


class WorkerDisconnected(msgspec.Struct, frozen=True, gc=False):
    """A worker's connection ended; the worker may live, and then keeps its unit."""

    worker: WorkerId


class DeathCause(msgspec.Struct, frozen=True, gc=False):
    """Cause of a worker's death, as far as it matters to its job."""

    sentence: str
    blames_unit: bool = True
    """False if the unit cannot be the cause, as when the worker's machine was switched off."""
    is_deadline: bool = False
    """Whether it ended itself at the deadline of its unit."""


class WorkerDied(msgspec.Struct, frozen=True, gc=False):
    """A worker's process has ended; the event is repeated once the cause is known."""

    worker: WorkerId
    cause: DeathCause | None = None


class Inherited(msgspec.Struct, frozen=True, gc=False):
    """An earlier engine assigned this unit to a worker that has not connected to this engine yet."""

    holding: Holding


class Tick(msgspec.Struct, frozen=True, gc=False):
    """Time has passed; `living` names the living workers; None: unknown."""

    living: frozenset[WorkerId] | None = None


Event = (
    Submitted
    | Cancelled
    | WorkerReady
    | WorkerHolding
    | WorkerLeaving
    | Finished
    | WorkerDisconnected
    | WorkerDied
    | Inherited
    | Tick
)


class Assign(msgspec.Struct, frozen=True, gc=False):
    """Send the unit to the worker."""

    worker: WorkerId
    unit: WorkUnit


class Resolve(msgspec.Struct, frozen=True, gc=False):
    """Answer the callers that wait for the job."""

    result: ResultUnit


class Acknowledge(msgspec.Struct, frozen=True, gc=False):
    """Tell the worker that it may drop this result; an `Assign` to it implies the same."""

    worker: WorkerId
    job_id: JobId
    attempt: int


class Dismiss(msgspec.Struct, frozen=True, gc=False):
    """Tell the worker that it may end; it holds nothing."""

    worker: WorkerId


class Kill(msgspec.Struct, frozen=True, gc=False):
    """Kill the worker's process."""

    worker: WorkerId
    reason: str


class Quarantine(msgspec.Struct, frozen=True, gc=False):
    """Report that the job crashed too many workers; a separate `Resolve` answers its callers."""

    job_id: JobId
    crashes: int


class Remember(msgspec.Struct, frozen=True, gc=False):
    """Store the crash history of the job before the next command is executed; None: delete it."""

    job_id: JobId
    history: CrashHistory | None


Command = Assign | Resolve | Acknowledge | Dismiss | Kill | Quarantine | Remember


def failed(unit: WorkUnit, error: BaseException, lost_attempts: int = 0) -> ResultUnit:
    """Return the result of a unit that no worker answers; its attempt includes the lost ones."""
    return ResultUnit(job_id=unit.job_id, attempt=unit.attempt + lost_attempts, failure=Failure.of(error))
