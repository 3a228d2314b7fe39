"""States of workers and jobs in the ledger, and the events that lead from one to another.

The ledger derives states from its record and never stores them. These tables describe its behaviour. A
test plays random histories, and compares the observed arrows with the tables in both directions.
`scripts/generate/state_diagrams.py` draws docs/explanation/job-ledger.md from them.

An arrow is the net effect of one event. An event may change more than one worker or job. For example, a
`WorkerReady` may return a job to the queue, which the ledger then assigns to another, idle worker.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import NamedTuple


class WorkerState(StrEnum):
    """State of a worker in the ledger; see `WORKER_STATES`."""

    ABSENT = "absent"
    SILENT = "silent"
    AWAY = "away"
    IDLE = "idle"
    HOLDING = "holding"
    LEAVING = "leaving"
    CONDEMNED = "condemned"


class JobState(StrEnum):
    """State of a job in the ledger; see `JOB_STATES`."""

    ABSENT = "absent"
    WAITING = "waiting"
    LEASED = "leased"
    UNCLAIMED = "unclaimed"
    KEPT = "kept"


WORKER_STATES: Mapping[WorkerState, str] = {
    WorkerState.ABSENT: "The ledger has no record of it: it is not started, is dead, or has left without a unit.",
    WorkerState.SILENT: "It lives, is not connected and holds nothing. It is killed if that lasts too long.",
    WorkerState.AWAY: "It holds a unit and is not connected. The ledger waits for it until the deadline of that unit.",
    WorkerState.IDLE: "It is connected and takes the next unit.",
    WorkerState.HOLDING: "It is connected and has one unit or canary.",
    WorkerState.LEAVING: "It is connected and has asked to leave. It may still hold one unit, and gets no other.",
    WorkerState.CONDEMNED: "The ledger has ordered its death, which is not reported yet. It gets no unit.",
}
"""State of a worker -> its meaning; if two apply, the later one is its state."""

JOB_STATES: Mapping[JobState, str] = {
    JobState.ABSENT: "The ledger has no record of it: it is not submitted, or is resolved.",
    JobState.WAITING: "It is submitted, and no worker has it.",
    JobState.LEASED: "It is submitted, and one worker has it.",
    JobState.UNCLAIMED: "A worker has it from an earlier engine, and it is not submitted to this engine.",
    JobState.KEPT: "Its result arrived before it was submitted to this engine. The oldest of 1024 such results is dropped.",
}
"""State of a job -> its meaning."""


class Arrow(NamedTuple):
    """A transition from one state to another."""

    source: WorkerState | JobState
    target: WorkerState | JobState
    events: str
    """Names of the events in `job_events` that can cause it."""
    why: str


_W, _J = WorkerState, JobState

WORKER_ARROWS = (
    Arrow(_W.ABSENT, _W.IDLE, "WorkerReady", "It has connected."),
    Arrow(_W.ABSENT, _W.HOLDING, "WorkerReady WorkerHolding", "It has connected; a job waited, or it brings one along."),
    Arrow(_W.ABSENT, _W.SILENT, "Tick", "The Supervisor has started it, and it has not connected yet."),
    Arrow(_W.ABSENT, _W.AWAY, "Inherited", "An earlier engine gave it a unit."),
    Arrow(_W.SILENT, _W.IDLE, "WorkerReady", "It has connected."),
    Arrow(_W.SILENT, _W.HOLDING, "WorkerReady WorkerHolding", "It has connected; a job waited, or it brings one along."),
    Arrow(_W.SILENT, _W.AWAY, "Inherited", "An earlier engine gave it a unit."),
    Arrow(_W.SILENT, _W.CONDEMNED, "Tick", "It has been silent for too long."),
    Arrow(_W.SILENT, _W.ABSENT, "Tick WorkerDied", "It does not live any more."),
    Arrow(_W.AWAY, _W.HOLDING, "WorkerHolding WorkerReady", "It is back with its unit, or without it and gets the next."),
    Arrow(_W.AWAY, _W.IDLE, "WorkerReady", "It is back and never received its unit; no other waits."),
    Arrow(_W.AWAY, _W.CONDEMNED, "Tick Cancelled", "Its unit is past its deadline, or nobody wants it."),
    Arrow(_W.AWAY, _W.ABSENT, "WorkerDied", "It died with its unit: a crash of that job."),
    Arrow(
        _W.IDLE,
        _W.HOLDING,
        "Submitted Tick WorkerReady WorkerHolding WorkerDied Finished",
        "It is assigned a unit: a new one, a canary, or one that returned to the queue. Or it says that it holds one.",
    ),
    Arrow(_W.IDLE, _W.LEAVING, "WorkerLeaving", "It has asked to leave, and is dismissed at once."),
    Arrow(_W.IDLE, _W.ABSENT, "WorkerDisconnected WorkerDied", "It has gone with nothing in its hands."),
    Arrow(_W.HOLDING, _W.IDLE, "Finished WorkerReady", "It has answered, or never received its unit; no other waits."),
    Arrow(_W.HOLDING, _W.LEAVING, "WorkerLeaving", "It has asked to leave, and is dismissed once it has answered."),
    Arrow(_W.HOLDING, _W.AWAY, "WorkerDisconnected", "Its connection ended; it may live and keep its unit."),
    Arrow(_W.HOLDING, _W.CONDEMNED, "Tick Cancelled", "Its unit or canary is past its deadline, or nobody wants it."),
    Arrow(_W.HOLDING, _W.ABSENT, "WorkerDied", "It died with its unit: a crash of that job."),
    Arrow(_W.LEAVING, _W.IDLE, "WorkerReady", "It has connected anew; it asks again on each connection."),
    Arrow(_W.LEAVING, _W.HOLDING, "WorkerReady WorkerHolding", "It has connected anew; a job waited, or it brings one along."),
    Arrow(_W.LEAVING, _W.AWAY, "WorkerDisconnected", "Its connection ended before it answered its last unit."),
    Arrow(_W.LEAVING, _W.CONDEMNED, "Tick Cancelled", "Its last unit is past its deadline, or nobody wants it."),
    Arrow(_W.LEAVING, _W.ABSENT, "WorkerDisconnected WorkerDied", "It has left, or died."),
    Arrow(_W.CONDEMNED, _W.ABSENT, "WorkerDied", "Its death is reported."),
)  # fmt: skip

JOB_ARROWS = (
    Arrow(_J.ABSENT, _J.WAITING, "Submitted", "No worker is idle."),
    Arrow(_J.ABSENT, _J.LEASED, "Submitted", "An idle worker gets it."),
    Arrow(_J.ABSENT, _J.UNCLAIMED, "Inherited WorkerHolding", "An earlier engine gave it to that worker."),
    Arrow(
        _J.WAITING,
        _J.LEASED,
        "WorkerReady Finished WorkerHolding Inherited",
        "A worker is free, or already holds it. One that brings another job along may free a place for it.",
    ),
    Arrow(_J.WAITING, _J.ABSENT, "Tick Cancelled", "It is past its deadline, or its last caller has gone."),
    Arrow(
        _J.LEASED,
        _J.WAITING,
        "WorkerDied WorkerReady WorkerHolding Finished",
        "Its holder died, which is a crash; or says that it holds nothing, or another, or answers another, which is none.",
    ),
    Arrow(
        _J.LEASED,
        _J.ABSENT,
        "Finished Tick WorkerDied Cancelled",
        "It is answered, is past its deadline, has crashed too many workers, or its last caller has gone.",
    ),
    Arrow(_J.UNCLAIMED, _J.LEASED, "Submitted", "It is submitted to this engine, and its holder keeps it."),
    Arrow(_J.UNCLAIMED, _J.KEPT, "Finished", "Its holder has answered with a value."),
    Arrow(
        _J.UNCLAIMED,
        _J.ABSENT,
        "Finished WorkerDied WorkerReady WorkerHolding",
        "Its holder has answered with a failure, is dead, or does not hold it.",
    ),
    Arrow(_J.KEPT, _J.ABSENT, "Submitted", "Its kept result answers it."),
    Arrow(_J.KEPT, _J.UNCLAIMED, "Submitted", "Its kept result answers it; another worker still has an attempt."),
    Arrow(_J.KEPT, _J.LEASED, "Submitted", "Its kept result is too old, so it runs again at once."),
    Arrow(_J.KEPT, _J.WAITING, "Submitted", "Its kept result is too old, so it waits to run again."),
)  # fmt: skip
