"""Which jobs wait, which are leased, and what becomes of each, whatever happens to workers."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, precondition, rule

from gaia.validator.app.job_ledger import (
    Acknowledge,
    Assign,
    Cancelled,
    Command,
    Dismiss,
    Event,
    Finished,
    JobLedger,
    Kill,
    Quarantine,
    Resolve,
    Submitted,
    Tick,
    WorkerHolding,
    WorkerLeaving,
    WorkerLost,
    WorkerReady,
)
from gaia.validator.utils.ipc_types import ResultUnit, WorkUnit


def a_unit(job_id: str = "a", **fields: Any) -> WorkUnit:
    return WorkUnit(
        **{"job_id": job_id, "handler": "test.echo", "payload": {}, "deadline_at": 100.0, **fields}
    )


def an_answer(job_id: str = "a", attempt: int = 1) -> ResultUnit:
    return ResultUnit(job_id=job_id, attempt=attempt, value={"by": attempt})


@pytest.fixture
def ledger() -> JobLedger:
    return JobLedger(crash_limit=3, silence_limit_s=50.0, keep_s=60.0)


def play(ledger: JobLedger, *events: Event, now: float = 0.0) -> list[Command]:
    """Return what the last of `events` leads to."""
    commands: list[Command] = []
    for event in events:
        commands = ledger.handle(event, now)
    return commands


def failure_of(command: Command) -> str:
    assert isinstance(command, Resolve)
    assert command.result.failure is not None
    return command.result.failure.error_type


def test_unit_goes_to_the_worker_that_waits(ledger: JobLedger) -> None:
    assert play(ledger, WorkerReady("w"), Submitted(a_unit())) == [Assign("w", a_unit())]
    assert (ledger.waiting, ledger.busy, ledger.idle) == (0, 1, 0)


def test_unit_waits_for_a_worker(ledger: JobLedger) -> None:
    assert play(ledger, Submitted(a_unit())) == []
    assert (ledger.waiting, ledger.busy) == (1, 0)
    assert play(ledger, WorkerReady("w")) == [Assign("w", a_unit())]


def test_lower_priority_number_runs_first_and_equals_run_in_order(ledger: JobLedger) -> None:
    play(ledger, *(Submitted(a_unit(name, priority=p)) for name, p in [("a", 5), ("b", 1), ("c", 5)]))

    order = [play(ledger, WorkerReady(worker)) for worker in ("1", "2", "3")]

    assert [command.unit.job_id for (command,) in order if isinstance(command, Assign)] == ["b", "a", "c"]


def test_answer_resolves_the_job_and_frees_the_worker_whose_next_unit_acknowledges_it(
    ledger: JobLedger,
) -> None:
    play(ledger, WorkerReady("w"), Submitted(a_unit("a")), Submitted(a_unit("b")))

    assert play(ledger, Finished("w", an_answer("a"))) == [Resolve(an_answer("a")), Assign("w", a_unit("b"))]


def test_last_answer_is_acknowledged_by_itself(ledger: JobLedger) -> None:
    play(ledger, WorkerReady("w"), Submitted(a_unit("a")))

    assert play(ledger, Finished("w", an_answer("a"))) == [Resolve(an_answer("a")), Acknowledge("w", "a", 1)]


def test_deadlines_of_answered_jobs_are_not_remembered(ledger: JobLedger) -> None:
    play(ledger, WorkerReady("w"))

    for number in range(5000):
        job_id = str(number)
        play(ledger, Submitted(a_unit(job_id)), Finished("w", an_answer(job_id)))

    assert len(ledger._deadlines) < 2000


def test_job_submitted_twice_runs_once(ledger: JobLedger) -> None:
    assert play(ledger, Submitted(a_unit()), Submitted(a_unit()), WorkerReady("w")) == [Assign("w", a_unit())]
    assert play(ledger, WorkerReady("x")) == []


def test_unit_of_a_dead_worker_runs_again_before_those_behind_it(ledger: JobLedger) -> None:
    play(ledger, WorkerReady("w"), Submitted(a_unit("a")), Submitted(a_unit("b")), WorkerLost("w"))

    assert play(ledger, WorkerReady("x")) == [Assign("x", a_unit("a", attempt=2))]


def test_unit_that_kills_every_worker_is_quarantined(ledger: JobLedger) -> None:
    play(ledger, Submitted(a_unit()))
    for worker in ("1", "2"):
        play(ledger, WorkerReady(worker), WorkerLost(worker))

    quarantine, resolve = play(ledger, WorkerReady("3"), WorkerLost("3"))

    assert quarantine == Quarantine("a", 3)
    assert failure_of(resolve) == "QuarantinedError"
    assert isinstance(resolve, Resolve)
    assert resolve.result.attempt == 3


def test_death_of_an_idle_worker_blames_no_unit(ledger: JobLedger) -> None:
    play(ledger, *[event for _ in range(5) for event in (WorkerReady("w"), WorkerLost("w"))])

    assert play(ledger, Submitted(a_unit()), WorkerReady("x")) == [Assign("x", a_unit())]


def test_worker_that_connects_anew_without_its_unit_never_had_it(ledger: JobLedger) -> None:
    play(ledger, WorkerReady("w"), Submitted(a_unit()))

    assert play(ledger, WorkerReady("w")) == [Assign("w", a_unit(attempt=1))]


def test_deadline_kills_the_holder_and_answers(ledger: JobLedger) -> None:
    play(ledger, WorkerReady("w"), Submitted(a_unit(deadline_at=10.0)))

    assert play(ledger, Tick(), now=9.9) == []
    kill, resolve = play(ledger, Tick(), now=10.0)
    assert kill == Kill("w", "deadline")
    assert failure_of(resolve) == "DeadlineExceeded"
    assert play(ledger, WorkerLost("w"), WorkerReady("x"), now=11.0) == []


def test_deadline_answers_a_unit_that_found_no_worker(ledger: JobLedger) -> None:
    play(ledger, Submitted(a_unit(deadline_at=10.0)))

    (resolve,) = play(ledger, Tick(), now=10.0)

    assert failure_of(resolve) == "DeadlineExceeded"
    assert play(ledger, WorkerReady("w"), now=11.0) == []


def test_unit_submitted_after_its_deadline_is_not_run(ledger: JobLedger) -> None:
    (resolve,) = play(ledger, WorkerReady("w"), Submitted(a_unit(deadline_at=10.0)), now=10.0)

    assert failure_of(resolve) == "DeadlineExceeded"


def test_deadline_of_an_earlier_submission_does_not_end_a_later_one(ledger: JobLedger) -> None:
    play(ledger, WorkerReady("w"), Submitted(a_unit(deadline_at=10.0)), Finished("w", an_answer()))
    play(ledger, Submitted(a_unit(deadline_at=100.0)), now=5.0)

    assert play(ledger, Tick(), now=10.0) == []


def test_answer_that_crosses_the_kill_is_dropped(ledger: JobLedger) -> None:
    play(ledger, WorkerReady("w"), Submitted(a_unit(deadline_at=10.0)))
    play(ledger, Tick(), now=10.0)

    assert play(ledger, Finished("w", an_answer()), now=10.0) == [Acknowledge("w", "a", 1)]
    assert play(ledger, WorkerLost("w"), Submitted(a_unit()), now=11.0) == []


def test_leaving_worker_is_let_go_at_once_when_it_holds_nothing(ledger: JobLedger) -> None:
    assert play(ledger, WorkerReady("w"), WorkerLeaving("w")) == [Dismiss("w")]
    assert play(ledger, Submitted(a_unit())) == []


def test_goodbye_that_crosses_an_assignment_waits_for_the_answer(ledger: JobLedger) -> None:
    assert play(ledger, WorkerReady("w"), Submitted(a_unit()), WorkerLeaving("w")) == []
    assert play(ledger, Finished("w", an_answer())) == [
        Resolve(an_answer()),
        Acknowledge("w", "a", 1),
        Dismiss("w"),
    ]


def test_result_brought_by_a_worker_of_an_earlier_engine_answers_the_job_when_it_is_submitted(
    ledger: JobLedger,
) -> None:
    play(ledger, WorkerHolding("w", "a", 2))

    assert play(ledger, Finished("w", an_answer(attempt=2))) == [Acknowledge("w", "a", 2)]
    assert play(ledger, Submitted(a_unit())) == [Resolve(an_answer(attempt=2))]
    assert play(ledger, Submitted(a_unit())) == [Assign("w", a_unit())]


def test_job_submitted_while_its_holder_brings_the_result_is_not_run_again(ledger: JobLedger) -> None:
    play(ledger, WorkerReady("x"), WorkerHolding("w", "a", 1))

    assert play(ledger, Submitted(a_unit())) == []
    assert play(ledger, Finished("w", an_answer()))[0] == Resolve(an_answer())


def test_waiting_job_is_adopted_by_the_worker_that_already_holds_it(ledger: JobLedger) -> None:
    play(ledger, Submitted(a_unit()), WorkerHolding("w", "a", 1))

    assert play(ledger, WorkerReady("x")) == []
    assert play(ledger, Finished("w", an_answer()))[0] == Resolve(an_answer())


def test_result_kept_too_long_is_not_used(ledger: JobLedger) -> None:
    play(ledger, WorkerHolding("w", "a", 1), Finished("w", an_answer()), now=0.0)

    assert play(ledger, Submitted(a_unit()), now=61.0) == [Assign("w", a_unit())]


def test_only_so_many_results_are_kept(ledger: JobLedger) -> None:
    for number in range(1025):
        play(ledger, WorkerHolding("w", str(number), 1), Finished("w", an_answer(str(number))))

    assert play(ledger, Submitted(a_unit("0"))) == [Assign("w", a_unit("0"))]
    assert play(ledger, Submitted(a_unit("1024"))) == [Resolve(an_answer("1024"))]


def test_late_answer_counts_though_another_worker_is_at_the_job(ledger: JobLedger) -> None:
    play(ledger, WorkerReady("w"), Submitted(a_unit()), WorkerLost("w"), WorkerReady("x"))
    play(ledger, WorkerHolding("w", "a", 1))

    assert play(ledger, Finished("w", an_answer()))[0] == Resolve(an_answer())
    assert play(ledger, Finished("x", an_answer(attempt=2))) == [Acknowledge("x", "a", 2)]
    assert play(ledger, Submitted(a_unit())) == [Assign("w", a_unit())]


def test_death_of_a_worker_that_another_has_replaced_at_the_job_is_no_crash(ledger: JobLedger) -> None:
    play(ledger, WorkerReady("w"), Submitted(a_unit()), WorkerLost("w"), WorkerReady("x"))
    play(ledger, WorkerHolding("w", "a", 1))

    assert play(ledger, WorkerLost("w"), WorkerReady("y")) == []
    assert play(ledger, Finished("x", an_answer(attempt=2)))[0] == Resolve(an_answer(attempt=2))


def test_job_submitted_again_keeps_the_count_of_its_crashes(ledger: JobLedger) -> None:
    play(ledger, Submitted(a_unit()))
    for worker in ("1", "2"):
        play(ledger, WorkerReady(worker), WorkerLost(worker), Submitted(a_unit()))

    assert play(ledger, WorkerReady("3"), WorkerLost("3"))[0] == Quarantine("a", 3)


def test_cancelled_job_is_forgotten_while_it_waits(ledger: JobLedger) -> None:
    assert play(ledger, Submitted(a_unit()), Cancelled("a"), WorkerReady("w")) == []


def test_cancelled_job_is_taken_from_its_worker(ledger: JobLedger) -> None:
    assert play(ledger, WorkerReady("w"), Submitted(a_unit()), Cancelled("a")) == [Kill("w", "cancelled")]


def test_worker_that_lives_but_never_connects_is_killed(ledger: JobLedger) -> None:
    play(ledger, WorkerReady("idle"), Tick(frozenset({"idle", "silent"})))

    assert play(ledger, Tick(frozenset({"idle", "silent"})), now=50.0) == []
    assert play(ledger, Tick(frozenset({"idle", "silent"})), now=50.1) == [Kill("silent", "silent")]
    assert play(ledger, Tick(frozenset({"idle"})), now=51.0) == []


class AnyHistory(RuleBasedStateMachine):
    """Whatever happens to workers and to time, each job is settled once and none is lost."""

    crash_limit = 3
    workers = Bundle("workers")

    def __init__(self) -> None:
        super().__init__()
        self.ledger = JobLedger(crash_limit=self.crash_limit, silence_limit_s=1e9, keep_s=1e9)
        self.now = 0.0
        self.births = 0
        self.jobs = 0
        self.connected: set[str] = set()
        self.leaving: set[str] = set()
        self.holds: dict[str, tuple[str, int]] = {}
        """What each worker was given; kept by a worker that lost its connection."""
        self.doomed: set[str] = set()
        self.open: dict[str, float] = {}
        self.settled: list[str] = []
        self.attempts: dict[str, list[int]] = {}

    def tell(self, event: Event) -> None:
        for command in self.ledger.handle(event, self.now):
            self.check(command)

    def check(self, command: Command) -> None:
        match command:
            case Assign(worker, unit):
                assert worker in self.connected
                assert worker not in self.holds, "two units for one worker"
                assert worker not in self.leaving, "a unit for a worker that leaves"
                assert unit.job_id in self.open, "work for a job that is settled"
                self.holds[worker] = (unit.job_id, unit.attempt)
                self.attempts[unit.job_id].append(unit.attempt)
            case Resolve(result):
                assert result.job_id in self.open
                del self.open[result.job_id]
                self.settled.append(result.job_id)
            case Dismiss(worker):
                assert worker not in self.holds, "let go with a unit in hand"
                assert worker in self.leaving
                self.connected.discard(worker)
            case Kill(worker, _):
                assert worker in self.holds
                self.doomed.add(worker)
            case Quarantine(job_id, crashes):
                assert crashes == self.crash_limit
                assert job_id in self.open
            case Acknowledge(worker, _, _):
                assert worker in self.connected

    @rule(priority=st.integers(0, 2), patience=st.integers(1, 50))
    def submit(self, priority: int, patience: int) -> None:
        self.jobs += 1
        job_id = f"job{self.jobs}"
        self.open[job_id] = self.now + patience
        self.attempts[job_id] = []
        self.tell(Submitted(a_unit(job_id, priority=priority, deadline_at=self.now + patience)))

    @precondition(lambda self: self.jobs)
    @rule(data=st.data())
    def submit_again(self, data: st.DataObject) -> None:
        number = data.draw(st.integers(1, self.jobs))
        job_id = f"job{number}"
        if job_id in self.open:
            self.tell(Submitted(a_unit(job_id, deadline_at=self.open[job_id])))

    @rule(target=workers)
    def connect(self) -> str:
        self.births += 1
        worker = f"worker{self.births}"
        self.connected.add(worker)
        self.tell(WorkerReady(worker))
        return worker

    @rule(worker=workers)
    def answer(self, worker: str) -> None:
        if worker in self.connected and worker in self.holds:
            job_id, attempt = self.holds.pop(worker)
            self.doomed.discard(worker)
            self.tell(Finished(worker, an_answer(job_id, attempt)))

    @rule(worker=workers)
    def ask_to_leave(self, worker: str) -> None:
        if worker in self.connected and worker not in self.leaving:
            self.leaving.add(worker)
            self.tell(WorkerLeaving(worker))

    @rule(worker=consumes(workers))
    def die(self, worker: str) -> None:
        self.holds.pop(worker, None)
        self.leaving.discard(worker)
        self.doomed.discard(worker)
        if worker in self.connected:
            self.connected.discard(worker)
            self.tell(WorkerLost(worker))

    @rule(worker=workers)
    def lose_the_connection_and_return(self, worker: str) -> None:
        if worker not in self.connected:
            return
        self.leaving.discard(worker)
        self.tell(WorkerLost(worker))
        if worker in self.holds:
            self.tell(WorkerHolding(worker, *self.holds[worker]))
        else:
            self.tell(WorkerReady(worker))

    @rule(seconds=st.integers(1, 20))
    def time_passes(self, seconds: int) -> None:
        self.now += seconds
        self.tell(Tick())
        assert all(deadline > self.now for deadline in self.open.values()), "a deadline passed unanswered"

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        job_id = data.draw(st.sampled_from(sorted(self.open)))
        del self.open[job_id]
        self.tell(Cancelled(job_id))

    @invariant()
    def no_job_is_settled_twice(self) -> None:
        assert len(self.settled) == len(set(self.settled))

    @invariant()
    def no_job_is_tried_more_often_than_it_may_crash(self) -> None:
        # A lost connection counts as a crash; that it was none, nobody can know.
        assert all(max(attempts, default=1) <= self.crash_limit for attempts in self.attempts.values())

    @invariant()
    def no_worker_waits_while_a_job_does(self) -> None:
        assert not (self.ledger.idle and self.ledger.waiting)

    def teardown(self) -> None:
        """A last worker that answers all it is given leaves nothing open."""
        for worker in sorted(self.connected | set(self.holds)):
            if worker in self.connected:
                self.connected.discard(worker)
                self.holds.pop(worker, None)
                self.tell(WorkerLost(worker))
        self.connected.add("last")
        self.tell(WorkerReady("last"))
        for _ in range(self.jobs + 1):
            if "last" in self.holds:
                self.tell(Finished("last", an_answer(*self.holds.pop("last"))))
        assert not self.open
        assert (self.ledger.waiting, self.ledger.busy) == (0, 0)


TestAnyHistory = AnyHistory.TestCase
