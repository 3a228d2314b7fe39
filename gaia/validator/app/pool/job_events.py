"""Events that the job ledger is told, and commands that it answers with."""

from __future__ import annotations

import msgspec

from gaia.validator.app.meeting.lease_book import CrashHistory, Holding
from gaia.validator.utils.ipc_types import Failure, ResultUnit, WorkUnit


class Submitted(msgspec.Struct, frozen=True, gc=False):
    """A caller waits for this unit; a job that is already open is not run a second time."""

    unit: WorkUnit


class Cancelled(msgspec.Struct, frozen=True, gc=False):
    """The last caller that waited for the job has gone."""

    job_id: str


class WorkerReady(msgspec.Struct, frozen=True, gc=False):
    """A worker has connected and holds nothing."""

    worker: str
    seat: str = ""
    """Workers that replace one another share a seat; empty: it has one of its own."""


class WorkerHolding(msgspec.Struct, frozen=True, gc=False):
    """A worker has connected anew and is about to send the result it still holds."""

    worker: str
    job_id: str
    attempt: int
    seat: str = ""
    """As in `WorkerReady`."""


class WorkerLeaving(msgspec.Struct, frozen=True, gc=False):
    """A worker asks to leave."""

    worker: str


class Finished(msgspec.Struct, frozen=True, gc=False):
    """A worker has answered; it holds nothing now."""

    worker: str
    result: ResultUnit


class WorkerDisconnected(msgspec.Struct, frozen=True, gc=False):
    """A worker's connection ended; the worker itself may live, and then keeps what it holds."""

    worker: str


class DeathCause(msgspec.Struct, frozen=True, gc=False):
    """Why a worker died, as far as that matters to the job it held."""

    sentence: str
    blames_unit: bool = True
    """False where the unit had no part in it, as when the worker's machine was switched off."""
    is_deadline: bool = False
    """It ended itself at the deadline of its unit."""


class WorkerDied(msgspec.Struct, frozen=True, gc=False):
    """A worker's process has ended; told a second time once the cause is known."""

    worker: str
    cause: DeathCause | None = None


class Inherited(msgspec.Struct, frozen=True, gc=False):
    """An earlier engine gave this unit to a worker that has not connected to this engine yet."""

    holding: Holding


class Tick(msgspec.Struct, frozen=True, gc=False):
    """Time has passed. `living` names the workers that are alive; None: unknown."""

    living: frozenset[str] | None = None


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

    worker: str
    unit: WorkUnit


class Resolve(msgspec.Struct, frozen=True, gc=False):
    """Answer the callers that wait for the job."""

    result: ResultUnit


class Acknowledge(msgspec.Struct, frozen=True, gc=False):
    """Tell the worker that it may forget this result; an `Assign` to it says the same."""

    worker: str
    job_id: str
    attempt: int


class Dismiss(msgspec.Struct, frozen=True, gc=False):
    """Tell the worker that it may end; it holds nothing."""

    worker: str


class Kill(msgspec.Struct, frozen=True, gc=False):
    """End the worker's process, whatever it is doing."""

    worker: str
    reason: str


class Quarantine(msgspec.Struct, frozen=True, gc=False):
    """Report that the job crashed too many workers; a `Resolve` of its own answers its callers."""

    job_id: str
    crashes: int


class Remember(msgspec.Struct, frozen=True, gc=False):
    """Store the crash history of the job before the next command is carried out; None: delete it."""

    job_id: str
    history: CrashHistory | None


Command = Assign | Resolve | Acknowledge | Dismiss | Kill | Quarantine | Remember


def failed(unit: WorkUnit, error: BaseException, lost_attempts: int = 0) -> ResultUnit:
    """Return the result of a unit that no worker answers; its attempt counts those that were lost before."""
    return ResultUnit(job_id=unit.job_id, attempt=unit.attempt + lost_attempts, failure=Failure.of(error))
