"""What the death of a worker costs its unit, and when a unit is quarantined."""

from __future__ import annotations

from gaia.validator.app.meeting.lease_book import Crash, CrashHistory
from gaia.validator.app.pool.job_events import (
    Assign,
    Finished,
    Quarantine,
    Remember,
    Resolve,
    Submitted,
    WorkerDied,
    WorkerHolding,
    WorkerReady,
)
from gaia.validator.app.pool.job_ledger import JobLedger
from gaia.validator.utils.identities import JobId, WorkerId
from tests.support.ledger import A, B, V, W, X, Y, a_cause, a_unit, an_answer, failure_of, inherited, play


def test_unit_of_a_dead_worker_runs_again_before_those_behind_it(ledger: JobLedger) -> None:
    play(ledger, WorkerReady(W), Submitted(a_unit(A)), Submitted(a_unit(B)), WorkerDied(W))

    assert play(ledger, WorkerReady(X)) == [Assign(X, a_unit(A, attempt=2))]


def test_unit_that_kills_every_worker_is_quarantined_and_its_error_lists_every_death(
    ledger: JobLedger,
) -> None:
    play(ledger, Submitted(a_unit()))
    for worker in (V, W):
        play(ledger, WorkerReady(worker), WorkerDied(worker, a_cause(worker)))

    remember, quarantine, resolve = play(ledger, WorkerReady(X), WorkerDied(X, a_cause(X, "memory")))

    assert isinstance(remember, Remember)
    assert quarantine == Quarantine(A, 3)
    assert failure_of(resolve) == "QuarantinedError"
    assert isinstance(resolve, Resolve)
    assert resolve.result.attempt == 3
    assert resolve.result.failure is not None
    assert resolve.result.failure.message == (
        "test.echo killed 3 workers: attempt 1: signal 11 (SIGSEGV) in v;"
        " attempt 2: signal 11 (SIGSEGV) in w; attempt 3: memory in x"
    )


def test_quarantine_outlives_the_engine(ledger: JobLedger) -> None:
    written: dict[JobId, CrashHistory] = {}
    for worker in (V, W, X):
        # Each attempt under an engine of its own, which knows what was written down.
        engine = JobLedger(crash_limit=3, crash_histories=dict(written))
        play(engine, Submitted(a_unit()), WorkerReady(worker))
        for command in play(engine, WorkerDied(worker)):
            if isinstance(command, Remember) and command.history is not None:
                written[command.job_id] = command.history

    (resolve,) = play(JobLedger(crash_limit=3, crash_histories=dict(written)), Submitted(a_unit()))

    assert failure_of(resolve) == "QuarantinedError"
    assert [death.attempt for death in written[A].deaths] == [1, 2, 3]


def test_unit_submitted_as_another_attempt_is_not_blamed_for_what_the_first_did(ledger: JobLedger) -> None:
    play(ledger, Submitted(a_unit()))
    for worker in (V, W, X):
        play(ledger, WorkerReady(worker), WorkerDied(worker))

    assert play(ledger, WorkerReady(Y), Submitted(a_unit(attempt=2))) == [Assign(Y, a_unit(attempt=2))]


def test_crash_history_of_a_job_that_ends_well_is_forgotten(ledger: JobLedger) -> None:
    play(ledger, WorkerReady(W), Submitted(a_unit()), WorkerDied(W), WorkerReady(X))

    assert Remember(A, None) in play(ledger, Finished(X, an_answer(attempt=2)))
    assert ledger.crashes.by_job == {}


def test_cause_that_comes_to_light_later_is_added_to_the_history(ledger: JobLedger) -> None:
    play(ledger, WorkerReady(W), Submitted(a_unit()), WorkerDied(W))
    assert str(ledger.crashes.by_job[A]) == "attempt 1: died"

    play(ledger, WorkerDied(W, a_cause(W, "memory")))

    assert str(ledger.crashes.by_job[A]) == "attempt 1: memory in w"
    assert ledger.crashes.by_job[A].crashes == 1


def test_unit_is_acquitted_when_its_worker_died_of_something_else(ledger: JobLedger) -> None:
    play(ledger, Submitted(a_unit()))
    for worker in map(WorkerId, "12345"):
        play(ledger, WorkerReady(worker), WorkerDied(worker))
        play(ledger, WorkerDied(worker, a_cause(worker, "its fork server died", blames_unit=False)))

    assert play(ledger, WorkerReady(W)) == [Assign(W, a_unit(attempt=6))]


def test_only_the_death_that_decides_waits_for_its_cause(ledger: JobLedger) -> None:
    play(ledger, Submitted(a_unit()))
    wants = []
    for worker in (V, W, X):
        play(ledger, WorkerReady(worker))
        wants.append(ledger.wants_report(worker, now=0.0))
        play(ledger, WorkerDied(worker))

    assert wants == [False, False, True]
    assert not ledger.wants_report(Y, now=0.0)


def test_death_at_the_deadline_answers_with_its_cause(ledger: JobLedger) -> None:
    play(ledger, WorkerReady(W), Submitted(a_unit(deadline_at=10.0)))
    assert ledger.wants_report(W, now=9.8)

    *_, resolve = play(ledger, WorkerDied(W, a_cause(W, "deadline")), now=9.8)

    assert failure_of(resolve) == "DeadlineExceeded"
    assert isinstance(resolve, Resolve)
    assert resolve.result.failure is not None
    assert resolve.result.failure.message == ("test.echo was killed at its deadline: deadline in w")


def test_alarm_long_before_the_deadline_is_a_crash(ledger: JobLedger) -> None:
    play(ledger, WorkerReady(W), Submitted(a_unit(deadline_at=10.0)))

    (remember,) = play(ledger, WorkerDied(W, a_cause(W, "deadline")), now=5.0)

    assert isinstance(remember, Remember)
    assert ledger.waiting == 1


def test_death_of_a_worker_of_an_earlier_engine_counts_though_nobody_asked_again_yet(
    ledger: JobLedger,
) -> None:
    play(ledger, inherited(attempt=2), WorkerDied(W))

    assert ledger.crashes.by_job[A].tries == 1


def test_death_that_an_earlier_engine_wrote_down_counts_once() -> None:
    told = CrashHistory(tries=1, crashes=1, deaths=(Crash(worker=W, attempt=1, at=0.0),))
    engine = JobLedger(crash_limit=3, crash_histories={A: told})

    play(engine, inherited(), WorkerDied(W, a_cause(W, "memory")))

    assert engine.crashes.by_job[A].tries == 1
    play(engine, WorkerDied(W, a_cause(W, "memory")))
    assert play(engine, WorkerReady(X), Submitted(a_unit())) == [Assign(X, a_unit(attempt=2))]


def test_death_of_an_idle_worker_blames_no_unit(ledger: JobLedger) -> None:
    play(ledger, *[event for _ in range(5) for event in (WorkerReady(W), WorkerDied(W))])

    assert play(ledger, Submitted(a_unit()), WorkerReady(X)) == [Assign(X, a_unit())]


def test_death_of_a_worker_that_another_has_replaced_at_the_job_is_no_crash(ledger: JobLedger) -> None:
    play(ledger, WorkerReady(W), Submitted(a_unit()), WorkerDied(W), WorkerReady(X))
    play(ledger, WorkerHolding(W, A, 1))

    assert play(ledger, WorkerDied(W), WorkerReady(Y)) == []
    assert play(ledger, Finished(X, an_answer(attempt=2)))[0] == Resolve(an_answer(attempt=2))


def test_job_submitted_again_keeps_the_count_of_its_crashes(ledger: JobLedger) -> None:
    play(ledger, Submitted(a_unit()))
    for worker in (V, W):
        play(ledger, WorkerReady(worker), WorkerDied(worker), Submitted(a_unit()))

    assert play(ledger, WorkerReady(X), WorkerDied(X))[1] == Quarantine(A, 3)
