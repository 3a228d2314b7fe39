"""The entries of the ledger's record: a worker, what it holds, and a job."""

from __future__ import annotations

import msgspec

from gaia.validator.app.meeting.lease_book import CrashHistory
from gaia.validator.app.pool.job_states import JobState, WorkerState
from gaia.validator.utils.ipc_types import CANARY, WorkUnit

NEVER = float("-inf")


class Lease(msgspec.Struct, gc=False, eq=False):
    """What a worker holds."""

    job_id: str | None
    """None once nobody wants the answer of this attempt."""
    attempt: int
    deadline_at: float

    @property
    def is_canary(self) -> bool:
        """Whether the unit is a canary, which belongs to no job."""
        return self.job_id is not None and self.job_id.startswith(CANARY)


class Worker(msgspec.Struct, gc=False, eq=False):
    """All that is known of one worker."""

    name: str
    """Opaque; one name is one process."""
    seat: str
    """Workers that replace one another share a seat."""
    lease: Lease | None = None
    is_connected: bool = False
    is_leaving: bool = False
    """It has asked to leave on this connection."""
    is_condemned: bool = False
    """Its death is ordered and not reported yet."""
    answered_at: float = NEVER
    """When it last answered on this connection."""
    silent_since: float | None = None
    """Since when it has been known to live without being connected."""

    @property
    def state(self) -> WorkerState:
        """Where it stands; the first that applies."""
        if self.is_condemned:
            return WorkerState.CONDEMNED
        if not self.is_connected:
            return WorkerState.SILENT if self.lease is None else WorkerState.AWAY
        if self.is_leaving:
            return WorkerState.LEAVING
        return WorkerState.IDLE if self.lease is None else WorkerState.HOLDING


class Job(msgspec.Struct, gc=False, eq=False):
    """A job that was submitted, or that a worker holds."""

    unit: WorkUnit | None
    """None as long as nobody has submitted it to this engine."""
    order: int
    """Number of the submission; -1 before it."""
    history: CrashHistory
    holder: Worker | None

    @property
    def state(self) -> JobState:
        """Where it stands."""
        if self.unit is None:
            return JobState.UNCLAIMED
        return JobState.WAITING if self.holder is None else JobState.LEASED


def canary_for(worker: Worker, deadline_at: float) -> WorkUnit:
    """Return the unit that shows whether an idle worker still works; it belongs to no job."""
    return WorkUnit(job_id=f"{CANARY}/{worker.name}", handler=CANARY, payload={}, deadline_at=deadline_at)
