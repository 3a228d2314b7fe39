"""Entries of the ledger's record: workers, leases and jobs."""

from __future__ import annotations

import msgspec

from gaia.validator.app.meeting.lease_book import CrashHistory
from gaia.validator.app.pool.job_states import JobState, WorkerState
from gaia.validator.utils.identities import JobId, WorkerId
from gaia.validator.utils.ipc_types import CANARY, WorkUnit

NEVER = float("-inf")


class Lease(msgspec.Struct, gc=False, eq=False):
    """Unit that a worker holds."""

    job_id: JobId | None
    """Job of the unit; None once no caller wants the answer of this attempt."""
    attempt: int
    deadline_at: float

    @property
    def is_canary(self) -> bool:
        """Whether the unit is a canary, which belongs to no job."""
        return self.job_id is not None and self.job_id.startswith(CANARY)


class Worker(msgspec.Struct, gc=False, eq=False):
    """Record of one worker."""

    name: WorkerId
    """Opaque name of one process."""
    seat: str
    """Seat, which a worker shares with its successors."""
    lease: Lease | None = None
    is_connected: bool = False
    is_leaving: bool = False
    """Whether it has asked to leave on this connection."""
    is_condemned: bool = False
    """Whether its death is ordered and not reported yet."""
    answered_at: float = NEVER
    """Time of its last answer on this connection."""
    silent_since: float | None = None
    """Time since which it is known to live without a connection."""

    @property
    def state(self) -> WorkerState:
        """State of the worker; the first that applies."""
        if self.is_condemned:
            return WorkerState.CONDEMNED
        if not self.is_connected:
            return WorkerState.SILENT if self.lease is None else WorkerState.AWAY
        if self.is_leaving:
            return WorkerState.LEAVING
        return WorkerState.IDLE if self.lease is None else WorkerState.HOLDING


class Job(msgspec.Struct, gc=False, eq=False):
    """Record of a job that was submitted or that a worker holds."""

    unit: WorkUnit | None
    """Unit of the job; None until it is submitted to this engine."""
    order: int
    """Number of its submission; -1 before it."""
    history: CrashHistory
    holder: Worker | None

    @property
    def state(self) -> JobState:
        """State of the job."""
        if self.unit is None:
            return JobState.UNCLAIMED
        return JobState.WAITING if self.holder is None else JobState.LEASED


def canary_for(worker: Worker, deadline_at: float) -> WorkUnit:
    """Return the unit that shows whether an idle worker still works; it belongs to no job."""
    return WorkUnit(
        job_id=JobId(f"{CANARY}/{worker.name}"), handler=CANARY, payload={}, deadline_at=deadline_at
    )
