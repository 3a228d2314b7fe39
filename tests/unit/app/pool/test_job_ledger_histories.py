"""Whatever happens to workers, connections, engines and time: each job is settled once, and none is lost."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from gaia.validator.app.meeting.lease_book import CrashHistory, Holding
from gaia.validator.app.pool.job_events import (
    Acknowledge,
    Assign,
    Cancelled,
    Command,
    DeathCause,
    Dismiss,
    Event,
    Finished,
    Inherited,
    Kill,
    Quarantine,
    Remember,
    Resolve,
    Submitted,
    Tick,
    WorkerDied,
    WorkerDisconnected,
    WorkerHolding,
    WorkerLeaving,
    WorkerReady,
)
from gaia.validator.app.pool.job_ledger import JobLedger
from gaia.validator.utils.identities import JobId, WorkerId, worker_id
from gaia.validator.utils.ipc_types import CANARY, ResultUnit, WorkUnit

CRASH_LIMIT = 3
CANARY_TIMEOUT_S = 3.0


class AnyHistory(RuleBasedStateMachine):
    """A world of workers that really hold units, and one engine after another that must not lose count.

    `holds` is the truth; what the engine knows comes from events and from what was written down.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.births = self.jobs = 0
        self.living: set[WorkerId] = set()
        self.connected: set[WorkerId] = set()
        self.leaving: set[WorkerId] = set()
        self.doomed: set[WorkerId] = set()
        self.holds: dict[WorkerId, WorkUnit] = {}
        self.unexplained: list[WorkerId] = []
        self.open: dict[JobId, WorkUnit] = {}
        self.settled: list[JobId] = []
        self.blamed: dict[JobId, int] = {}
        self.runs: list[tuple[JobId, int]] = []
        self.leases: dict[WorkerId, Holding] = {}
        self.crash_histories: dict[JobId, CrashHistory] = {}
        self.found_engine()

    def found_engine(self) -> None:
        self.ledger = JobLedger(
            crash_limit=CRASH_LIMIT,
            silence_limit_s=40.0,
            keep_s=1e9,
            canary_interval_s=8.0,
            canary_timeout_s=CANARY_TIMEOUT_S,
            crash_histories=dict(self.crash_histories),
        )

    def tell(self, event: Event) -> None:
        for command in self.ledger.handle(event, self.now):
            self.carry_out(command)
        self.ledger.check()

    def carry_out(self, command: Command) -> None:
        match command:
            case Assign(worker, unit):
                self.assign(worker, unit)
            case Resolve(result):
                assert result.job_id in self.open, "answered twice, or never asked"
                if result.failure is not None and result.failure.error_type == "QuarantinedError":
                    assert self.blamed[result.job_id] >= CRASH_LIMIT, "quarantined for nothing"
                del self.open[result.job_id]
                self.settled.append(result.job_id)
            case Dismiss(worker):
                assert worker not in self.holds, "let go with a unit in hand"
                assert worker in self.leaving
                self.end(worker)
            case Kill(worker, _):
                assert worker in self.living
                self.doomed.add(worker)
            case Quarantine(job_id, crashes):
                assert crashes >= CRASH_LIMIT
                assert job_id in self.open
            case Remember(job_id, history):
                self.crash_histories.pop(job_id, None)
                if history is not None:
                    self.crash_histories[job_id] = history
            case Acknowledge(worker, _, _):
                assert worker in self.connected

    def assign(self, worker: WorkerId, unit: WorkUnit) -> None:
        assert worker in self.connected
        assert worker not in self.holds, "two units for one worker"
        assert worker not in self.leaving, "a unit for a worker that leaves"
        assert worker not in self.doomed, "a unit for a worker that is being killed"
        self.holds[worker] = unit
        if unit.handler == CANARY:
            return
        assert unit.job_id in self.open, "work for a job that is settled"
        assert (unit.job_id, unit.attempt) not in self.runs, "one attempt twice"
        held_elsewhere = [w for w, held in self.holds.items() if held.job_id == unit.job_id and w != worker]
        assert set(held_elsewhere) <= self.doomed, "the unit is still being computed"
        self.runs.append((unit.job_id, unit.attempt))
        self.leases[worker] = Holding(
            worker=worker,
            job_id=unit.job_id,
            attempt=unit.attempt,
            started_at=self.now,
            deadline_at=unit.deadline_at,
        )

    def blame_what_it_holds(self, worker: WorkerId) -> None:
        if worker in self.leases:
            job_id = self.leases[worker].job_id
            self.blamed[job_id] = self.blamed.get(job_id, 0) + 1

    def end(self, worker: WorkerId) -> None:
        for group in (self.living, self.connected, self.leaving, self.doomed):
            group.discard(worker)
        self.holds.pop(worker, None)
        self.leases.pop(worker, None)

    @rule(priority=st.integers(0, 2), patience=st.integers(1, 50))
    def submit(self, priority: int, patience: int) -> None:
        self.jobs += 1
        unit = WorkUnit(
            job_id=JobId(f"job{self.jobs}"),
            handler="test.echo",
            payload={},
            priority=priority,
            deadline_at=self.now + patience,
        )
        self.open[unit.job_id] = unit
        self.tell(Submitted(unit))

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def submit_again(self, data: st.DataObject) -> None:
        self.tell(Submitted(self.open[data.draw(st.sampled_from(sorted(self.open)))]))

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        job_id = data.draw(st.sampled_from(sorted(self.open)))
        del self.open[job_id]
        self.tell(Cancelled(job_id))

    @rule()
    def be_born(self) -> None:
        self.births += 1
        worker = worker_id(self.births % 3, self.births)
        self.living.add(worker)
        self.connected.add(worker)
        self.tell(WorkerReady(worker))

    def some_worker(self, data: st.DataObject) -> WorkerId:
        return data.draw(st.sampled_from(sorted(self.living)))

    @precondition(lambda self: self.living)
    @rule(data=st.data())
    def answer(self, data: st.DataObject) -> None:
        worker = self.some_worker(data)
        if worker in self.connected and worker in self.holds:
            unit = self.holds.pop(worker)
            self.leases.pop(worker, None)
            self.tell(Finished(worker, ResultUnit(job_id=unit.job_id, attempt=unit.attempt, value={})))

    @precondition(lambda self: self.living)
    @rule(data=st.data())
    def ask_to_leave(self, data: st.DataObject) -> None:
        worker = self.some_worker(data)
        if worker in self.connected and worker not in self.leaving:
            self.leaving.add(worker)
            self.tell(WorkerLeaving(worker))

    @precondition(lambda self: self.living)
    @rule(data=st.data(), is_explained=st.booleans(), blames_unit=st.booleans())
    def die(self, data: st.DataObject, *, is_explained: bool, blames_unit: bool) -> None:
        worker = self.some_worker(data)
        if blames_unit or not is_explained:
            self.blame_what_it_holds(worker)
        if worker in self.connected:
            self.connected.discard(worker)
            self.tell(WorkerDisconnected(worker))
        self.end(worker)
        self.tell(
            WorkerDied(worker, DeathCause("signal 11", blames_unit=blames_unit) if is_explained else None)
        )
        if not is_explained:
            self.unexplained.append(worker)

    @precondition(lambda self: self.unexplained)
    @rule()
    def explain(self) -> None:
        worker = self.unexplained.pop(0)
        self.tell(WorkerDied(worker, DeathCause("signal 11")))

    @precondition(lambda self: self.living)
    @rule(data=st.data())
    def lose_the_connection(self, data: st.DataObject) -> None:
        worker = self.some_worker(data)
        if worker in self.connected:
            self.connected.discard(worker)
            self.leaving.discard(worker)
            self.tell(WorkerDisconnected(worker))

    @precondition(lambda self: self.living - self.connected)
    @rule(data=st.data())
    def return_to_the_engine(self, data: st.DataObject) -> None:
        """A worker that is busy with a unit does not see that the connection is gone; one with a result does."""
        self.come_back(data.draw(st.sampled_from(sorted(self.living - self.connected))))

    def come_back(self, worker: WorkerId) -> None:
        self.connected.add(worker)
        if worker in self.holds:
            unit = self.holds[worker]
            self.tell(WorkerHolding(worker, unit.job_id, unit.attempt))
        else:
            self.tell(WorkerReady(worker))

    @precondition(lambda self: self.living - self.connected - self.doomed)
    @rule(data=st.data())
    def return_without_what_never_arrived(self, data: st.DataObject) -> None:
        worker = data.draw(st.sampled_from(sorted(self.living - self.connected - self.doomed)))
        unit = self.holds.pop(worker, None)
        self.leases.pop(worker, None)
        if unit is not None and (unit.job_id, unit.attempt) in self.runs:
            # It was sent and not received: the same attempt may be sent again.
            self.runs.remove((unit.job_id, unit.attempt))
        self.come_back(worker)

    @rule(seconds=st.integers(1, 20))
    def time_passes(self, seconds: int) -> None:
        self.now += seconds
        self.tell(Tick(frozenset(self.living)))
        assert all(unit.deadline_at > self.now for unit in self.open.values()), "a deadline passed unanswered"
        overdue = [
            worker
            for worker, unit in self.holds.items()
            if worker in self.connected and unit.handler == CANARY and unit.deadline_at <= self.now
        ]
        assert set(overdue) <= self.doomed, "a worker that failed its canary lives on"

    @precondition(lambda self: self.doomed)
    @rule()
    def kills_arrive(self) -> None:
        for worker in sorted(self.doomed):
            if worker in self.connected:
                self.connected.discard(worker)
                self.tell(WorkerDisconnected(worker))
            self.blame_what_it_holds(worker)
            self.end(worker)
            self.tell(WorkerDied(worker))

    @rule(dies_too=st.booleans(), data=st.data())
    def the_engine_dies(self, *, dies_too: bool, data: st.DataObject) -> None:
        self.connected.clear()
        self.leaving.clear()
        # Canaries are not written down; nor does anybody wait for one.
        self.holds = {worker: unit for worker, unit in self.holds.items() if unit.handler != CANARY}
        # Kills that were commanded were sent.
        dead = set(self.doomed)
        if dies_too and self.living:
            dead.add(self.some_worker(data))
        leases = list(self.leases.values())
        for worker in sorted(dead):
            self.blame_what_it_holds(worker)
            self.end(worker)
        self.found_engine()
        for lease in leases:
            self.tell(Inherited(lease))
        for worker in sorted(self.ledger.away - self.living):
            self.tell(WorkerDied(worker))
        for unit in list(self.open.values()):
            self.tell(Submitted(unit))

    @invariant()
    def no_job_is_settled_twice(self) -> None:
        assert len(self.settled) == len(set(self.settled))

    @invariant()
    def no_job_runs_once_it_killed_too_many(self) -> None:
        for job_id, crashes in self.blamed.items():
            assert crashes < CRASH_LIMIT or job_id not in self.open, "it should be in quarantine"

    @invariant()
    def no_worker_waits_while_a_job_does(self) -> None:
        assert not (self.ledger.idle and self.ledger.waiting)

    @invariant()
    def the_queue_is_counted_right(self) -> None:
        held = {unit.job_id for unit in self.holds.values()}
        assert self.ledger.waiting <= len(self.open)
        assert self.ledger.waiting >= len(self.open.keys() - held)

    def teardown(self) -> None:
        """Once all others are dead, a last worker that answers all it is given leaves nothing open."""
        for worker in sorted(self.living):
            self.blame_what_it_holds(worker)
            self.end(worker)
            self.tell(WorkerDied(worker))
        last = WorkerId("9.last")
        self.living.add(last)
        self.connected.add(last)
        self.tell(WorkerReady(last))
        for _ in range(self.jobs + 2):
            if unit := self.holds.pop(last, None):
                self.tell(Finished(last, ResultUnit(job_id=unit.job_id, attempt=unit.attempt, value={})))
        assert not self.open, "lost"
        assert (self.ledger.waiting, self.ledger.busy) == (0, 0)


TestAnyHistory = AnyHistory.TestCase
