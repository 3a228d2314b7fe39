"""Which jobs wait, which are leased, and what becomes of each, whatever happens to workers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from gaia.validator.app.meeting.lease_book import Crash, CrashHistory, Holding
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
from gaia.validator.utils.ipc_types import CANARY, Failure, ResultUnit, WorkUnit


def a_unit(job_id: str = "a", **fields: Any) -> WorkUnit:
    return WorkUnit(
        **{"job_id": job_id, "handler": "test.echo", "payload": {}, "deadline_at": 100.0, **fields}
    )


def an_answer(job_id: str = "a", attempt: int = 1) -> ResultUnit:
    return ResultUnit(job_id=job_id, attempt=attempt, value={"by": attempt})


@pytest.fixture
def ledger() -> Iterator[JobLedger]:
    ledger = JobLedger(crash_limit=3, silence_limit_s=50.0, keep_s=60.0)
    yield ledger
    ledger.check()


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


def test_next_unit_goes_to_the_worker_that_was_free_last(ledger: JobLedger) -> None:
    play(ledger, WorkerReady("v"), WorkerReady("w"), Submitted(a_unit("a")))

    assert play(ledger, Finished("w", an_answer("a")), Submitted(a_unit("b"))) == [Assign("w", a_unit("b"))]


def test_last_answer_is_acknowledged_by_itself(ledger: JobLedger) -> None:
    play(ledger, WorkerReady("w"), Submitted(a_unit("a")))

    assert play(ledger, Finished("w", an_answer("a"))) == [Resolve(an_answer("a")), Acknowledge("w", "a", 1)]


def test_deadlines_of_answered_jobs_are_not_remembered(ledger: JobLedger) -> None:
    play(ledger, WorkerReady("w"))

    for number in range(5000):
        job_id = str(number)
        play(ledger, Submitted(a_unit(job_id)), Finished("w", an_answer(job_id)))

    assert len(ledger.deadlines) < 2000


def test_job_submitted_twice_runs_once(ledger: JobLedger) -> None:
    assert play(ledger, Submitted(a_unit()), Submitted(a_unit()), WorkerReady("w")) == [Assign("w", a_unit())]
    assert play(ledger, WorkerReady("x")) == []


def test_unit_of_a_dead_worker_runs_again_before_those_behind_it(ledger: JobLedger) -> None:
    play(ledger, WorkerReady("w"), Submitted(a_unit("a")), Submitted(a_unit("b")), WorkerDied("w"))

    assert play(ledger, WorkerReady("x")) == [Assign("x", a_unit("a", attempt=2))]


def a_cause(worker: str, cause: str = "signal 11 (SIGSEGV)", *, blames_unit: bool = True) -> DeathCause:
    return DeathCause(f"{cause} in {worker}", blames_unit=blames_unit, is_deadline=cause == "deadline")


def test_unit_that_kills_every_worker_is_quarantined_and_its_error_lists_every_death(
    ledger: JobLedger,
) -> None:
    play(ledger, Submitted(a_unit()))
    for worker in ("1", "2"):
        play(ledger, WorkerReady(worker), WorkerDied(worker, a_cause(worker)))

    remember, quarantine, resolve = play(ledger, WorkerReady("3"), WorkerDied("3", a_cause("3", "memory")))

    assert isinstance(remember, Remember)
    assert quarantine == Quarantine("a", 3)
    assert failure_of(resolve) == "QuarantinedError"
    assert isinstance(resolve, Resolve)
    assert resolve.result.attempt == 3
    assert resolve.result.failure is not None
    assert resolve.result.failure.message == (
        "test.echo killed 3 workers: attempt 1: signal 11 (SIGSEGV) in 1;"
        " attempt 2: signal 11 (SIGSEGV) in 2; attempt 3: memory in 3"
    )


def test_quarantine_outlives_the_engine(ledger: JobLedger) -> None:
    written: dict[str, CrashHistory] = {}
    for worker in ("1", "2", "3"):
        # Each attempt under an engine of its own, which knows what was written down.
        engine = JobLedger(crash_limit=3, crash_histories=dict(written))
        play(engine, Submitted(a_unit()), WorkerReady(worker))
        for command in play(engine, WorkerDied(worker)):
            if isinstance(command, Remember) and command.history is not None:
                written[command.job_id] = command.history

    (resolve,) = play(JobLedger(crash_limit=3, crash_histories=dict(written)), Submitted(a_unit()))

    assert failure_of(resolve) == "QuarantinedError"
    assert [death.attempt for death in written["a"].deaths] == [1, 2, 3]


def test_unit_submitted_as_another_attempt_is_not_blamed_for_what_the_first_did(ledger: JobLedger) -> None:
    play(ledger, Submitted(a_unit()))
    for worker in ("1", "2", "3"):
        play(ledger, WorkerReady(worker), WorkerDied(worker))

    assert play(ledger, WorkerReady("4"), Submitted(a_unit(attempt=2))) == [Assign("4", a_unit(attempt=2))]


def test_crash_history_of_a_job_that_ends_well_is_forgotten(ledger: JobLedger) -> None:
    play(ledger, WorkerReady("1"), Submitted(a_unit()), WorkerDied("1"), WorkerReady("2"))

    assert Remember("a", None) in play(ledger, Finished("2", an_answer(attempt=2)))
    assert ledger.crashes.by_job == {}


def test_cause_that_comes_to_light_later_is_added_to_the_history(ledger: JobLedger) -> None:
    play(ledger, WorkerReady("1"), Submitted(a_unit()), WorkerDied("1"))
    assert str(ledger.crashes.by_job["a"]) == "attempt 1: died"

    play(ledger, WorkerDied("1", a_cause("1", "memory")))

    assert str(ledger.crashes.by_job["a"]) == "attempt 1: memory in 1"
    assert ledger.crashes.by_job["a"].crashes == 1


def test_unit_is_acquitted_when_its_worker_died_of_something_else(ledger: JobLedger) -> None:
    play(ledger, Submitted(a_unit()))
    for worker in "12345":
        play(ledger, WorkerReady(worker), WorkerDied(worker))
        play(ledger, WorkerDied(worker, a_cause(worker, "its fork server died", blames_unit=False)))

    assert play(ledger, WorkerReady("6")) == [Assign("6", a_unit(attempt=6))]


def test_only_the_death_that_decides_waits_for_its_cause(ledger: JobLedger) -> None:
    play(ledger, Submitted(a_unit()))
    wants = []
    for worker in "123":
        play(ledger, WorkerReady(worker))
        wants.append(ledger.wants_report(worker, now=0.0))
        play(ledger, WorkerDied(worker))

    assert wants == [False, False, True]
    assert not ledger.wants_report("nobody", now=0.0)


def test_death_at_the_deadline_answers_with_its_cause(ledger: JobLedger) -> None:
    play(ledger, WorkerReady("w"), Submitted(a_unit(deadline_at=10.0)))
    assert ledger.wants_report("w", now=9.8)

    *_, resolve = play(ledger, WorkerDied("w", a_cause("w", "deadline")), now=9.8)

    assert failure_of(resolve) == "DeadlineExceeded"
    assert isinstance(resolve, Resolve)
    assert resolve.result.failure is not None
    assert resolve.result.failure.message == ("test.echo was killed at its deadline: deadline in w")


def test_alarm_long_before_the_deadline_is_a_crash(ledger: JobLedger) -> None:
    play(ledger, WorkerReady("w"), Submitted(a_unit(deadline_at=10.0)))

    (remember,) = play(ledger, WorkerDied("w", a_cause("w", "deadline")), now=5.0)

    assert isinstance(remember, Remember)
    assert ledger.waiting == 1


def test_worker_that_lost_its_connection_keeps_its_unit(ledger: JobLedger) -> None:
    play(ledger, WorkerReady("w"), Submitted(a_unit()), WorkerDisconnected("w"))

    assert play(ledger, WorkerReady("x")) == []
    assert ledger.away == {"w"}
    play(ledger, WorkerHolding("w", "a", 1))
    assert play(ledger, Finished("w", an_answer())) == [Resolve(an_answer()), Acknowledge("w", "a", 1)]


def inherited(worker: str = "w", job_id: str = "a", attempt: int = 1, deadline_at: float = 50.0) -> Inherited:
    return Inherited(
        Holding(worker=worker, job_id=job_id, attempt=attempt, started_at=0.0, deadline_at=deadline_at)
    )


def test_unit_submitted_again_waits_for_the_silent_worker_that_has_it(ledger: JobLedger) -> None:
    assert play(ledger, inherited(), WorkerReady("x"), Submitted(a_unit())) == []
    assert play(ledger, Tick(frozenset("wx")), now=49.0) == []

    play(ledger, WorkerHolding("w", "a", 1))

    assert play(ledger, Finished("w", an_answer()))[0] == Resolve(an_answer())


def test_silent_worker_is_waited_for_until_its_units_own_deadline(ledger: JobLedger) -> None:
    play(ledger, inherited(), WorkerReady("x"), Submitted(a_unit(deadline_at=90.0)))

    assert play(ledger, Tick(frozenset("wx")), now=50.0) == [Kill("w", "deadline")]
    assert play(ledger, Tick(frozenset("wx")), now=51.0) == []
    assert Assign("x", a_unit(attempt=2, deadline_at=90.0)) in play(ledger, WorkerDied("w"), now=51.0)


def test_death_of_a_worker_of_an_earlier_engine_counts_though_nobody_asked_again_yet(
    ledger: JobLedger,
) -> None:
    play(ledger, inherited(attempt=2), WorkerDied("w"))

    assert ledger.crashes.by_job["a"].tries == 1


def test_death_that_an_earlier_engine_wrote_down_counts_once() -> None:
    told = CrashHistory(tries=1, crashes=1, deaths=(Crash(worker="w", attempt=1, at=0.0),))
    engine = JobLedger(crash_limit=3, crash_histories={"a": told})

    play(engine, inherited(), WorkerDied("w", a_cause("w", "memory")))

    assert engine.crashes.by_job["a"].tries == 1
    play(engine, WorkerDied("w", a_cause("w", "memory")))
    assert play(engine, WorkerReady("x"), Submitted(a_unit())) == [Assign("x", a_unit(attempt=2))]


def test_silent_worker_that_connects_without_the_unit_never_had_it(ledger: JobLedger) -> None:
    play(ledger, inherited(), Submitted(a_unit()))

    assert play(ledger, WorkerReady("w")) == [Assign("w", a_unit(attempt=1))]


def test_late_answer_to_another_attempt_is_not_counted(ledger: JobLedger) -> None:
    play(ledger, WorkerReady("w"), Submitted(a_unit()), WorkerDied("w"), WorkerReady("x"))
    play(ledger, WorkerHolding("w", "a", 1))

    assert play(ledger, Finished("w", an_answer(attempt=1))) == [Acknowledge("w", "a", 1)]
    assert play(ledger, Finished("x", an_answer(attempt=2)))[0] == Resolve(an_answer(attempt=2))


def test_answer_to_an_attempt_that_the_worker_was_not_given_is_not_counted(ledger: JobLedger) -> None:
    play(ledger, WorkerReady("w"), Submitted(a_unit()))

    assert play(ledger, Finished("w", an_answer(attempt=7))) == [Assign("w", a_unit())]


def test_words_of_a_worker_that_is_known_to_be_dead_are_not_heard(ledger: JobLedger) -> None:
    play(ledger, WorkerReady("w"), Submitted(a_unit()), WorkerDied("w"))

    assert play(ledger, Finished("w", an_answer())) == []
    assert (ledger.waiting, ledger.idle) == (1, 0)


def test_worker_that_is_being_killed_gets_no_other_unit(ledger: JobLedger) -> None:
    play(ledger, WorkerReady("w"), Submitted(a_unit(deadline_at=10.0)))
    play(ledger, Tick(), now=10.0)

    assert play(ledger, WorkerDisconnected("w"), WorkerReady("w"), Submitted(a_unit("b"))) == []


@pytest.fixture
def watchful() -> Iterator[JobLedger]:
    ledger = JobLedger(canary_interval_s=10.0, canary_timeout_s=5.0)
    yield ledger
    ledger.check()


def test_idle_worker_is_given_a_canary_when_it_has_not_answered_lately(watchful: JobLedger) -> None:
    (first,) = play(watchful, WorkerReady("0.1"), Tick(), now=0.0)

    assert isinstance(first, Assign)
    assert (first.unit.handler, first.unit.deadline_at) == (CANARY, 5.0)
    assert watchful.healthy_seats(0.0) == 0
    play(watchful, Finished("0.1", an_answer(first.unit.job_id)), now=1.0)
    assert watchful.healthy_seats(1.0) == 1
    assert play(watchful, Tick(), now=10.9) == []
    assert len(play(watchful, Tick(), now=11.0)) == 1


def test_worker_that_does_not_answer_its_canary_is_killed(watchful: JobLedger) -> None:
    play(watchful, WorkerReady("0.1"), Tick(), now=0.0)

    assert play(watchful, Tick(), now=4.9) == []
    assert play(watchful, Tick(), now=5.0) == [Kill("0.1", "silent")]
    assert play(watchful, WorkerDied("0.1"), now=5.1) == []
    assert watchful.crashes.by_job == {}


def test_answer_to_a_unit_is_as_good_as_one_to_a_canary(watchful: JobLedger) -> None:
    play(watchful, WorkerReady("0.1"), Submitted(a_unit()), Finished("0.1", an_answer()))

    assert play(watchful, Tick(), now=9.9) == []


def test_seat_is_healthy_while_its_worker_is_within_the_deadline_of_its_unit(watchful: JobLedger) -> None:
    play(watchful, WorkerReady("0.1"), WorkerReady("1.2"), Submitted(a_unit(deadline_at=90.0)))

    assert [watchful.healthy_seats(now) for now in (0.0, 89.0, 91.0)] == [1, 1, 0]


def test_without_canaries_a_seat_is_healthy_while_it_is_connected(ledger: JobLedger) -> None:
    play(ledger, WorkerReady("a", "0"), WorkerReady("b", "0"), WorkerReady("c", "1"), WorkerDisconnected("c"))

    assert ledger.healthy_seats(0.0) == 1


def test_death_of_an_idle_worker_blames_no_unit(ledger: JobLedger) -> None:
    play(ledger, *[event for _ in range(5) for event in (WorkerReady("w"), WorkerDied("w"))])

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
    assert play(ledger, WorkerDied("w"), WorkerReady("x"), now=11.0) == []


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
    assert play(ledger, WorkerDied("w"), Submitted(a_unit()), now=11.0) == []


def test_leaving_worker_is_let_go_at_once_when_it_holds_nothing(ledger: JobLedger) -> None:
    assert play(ledger, WorkerReady("w"), WorkerLeaving("w")) == [Dismiss("w")]
    assert play(ledger, Submitted(a_unit())) == []


def test_request_to_leave_that_crosses_an_assignment_waits_for_the_answer(ledger: JobLedger) -> None:
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


def test_failure_that_nobody_asked_for_is_not_kept_for_the_next_attempt(ledger: JobLedger) -> None:
    failed = ResultUnit(job_id="a", attempt=1, failure=Failure(error_type="TransientError", message="busy"))
    play(ledger, WorkerHolding("w", "a", 1), Finished("w", failed))

    assert play(ledger, Submitted(a_unit())) == [Assign("w", a_unit())]


def test_only_so_many_results_are_kept(ledger: JobLedger) -> None:
    for number in range(1025):
        play(ledger, WorkerHolding("w", str(number), 1), Finished("w", an_answer(str(number))))

    assert play(ledger, Submitted(a_unit("0"))) == [Assign("w", a_unit("0"))]
    assert play(ledger, Submitted(a_unit("1024"))) == [Resolve(an_answer("1024"))]


def test_death_of_a_worker_that_another_has_replaced_at_the_job_is_no_crash(ledger: JobLedger) -> None:
    play(ledger, WorkerReady("w"), Submitted(a_unit()), WorkerDied("w"), WorkerReady("x"))
    play(ledger, WorkerHolding("w", "a", 1))

    assert play(ledger, WorkerDied("w"), WorkerReady("y")) == []
    assert play(ledger, Finished("x", an_answer(attempt=2)))[0] == Resolve(an_answer(attempt=2))


def test_job_submitted_again_keeps_the_count_of_its_crashes(ledger: JobLedger) -> None:
    play(ledger, Submitted(a_unit()))
    for worker in ("1", "2"):
        play(ledger, WorkerReady(worker), WorkerDied(worker), Submitted(a_unit()))

    assert play(ledger, WorkerReady("3"), WorkerDied("3"))[1] == Quarantine("a", 3)


def test_cancelled_job_is_forgotten_while_it_waits(ledger: JobLedger) -> None:
    assert play(ledger, Submitted(a_unit()), Cancelled("a"), WorkerReady("w")) == []


def test_cancelled_job_is_taken_from_its_worker(ledger: JobLedger) -> None:
    assert play(ledger, WorkerReady("w"), Submitted(a_unit()), Cancelled("a")) == [Kill("w", "cancelled")]


def test_worker_that_lives_but_never_connects_is_killed(ledger: JobLedger) -> None:
    play(ledger, WorkerReady("idle"), Tick(frozenset({"idle", "silent"})))

    assert play(ledger, Tick(frozenset({"idle", "silent"})), now=50.0) == []
    assert play(ledger, Tick(frozenset({"idle", "silent"})), now=50.1) == [Kill("silent", "silent")]
    assert play(ledger, Tick(frozenset({"idle"})), now=51.0) == []
