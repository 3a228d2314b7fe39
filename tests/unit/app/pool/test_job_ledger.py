"""Which jobs wait, which are leased, and what becomes of each."""

from __future__ import annotations

from gaia.validator.app.pool.job_events import (
    Acknowledge,
    Assign,
    Cancelled,
    Finished,
    Kill,
    Resolve,
    Submitted,
    Tick,
    WorkerDied,
    WorkerHolding,
    WorkerReady,
)
from gaia.validator.app.pool.job_ledger import JobLedger
from gaia.validator.utils.identities import JobId
from gaia.validator.utils.ipc_types import Failure, ResultUnit
from tests.support.ledger import A, B, C, V, W, X, a_unit, an_answer, failure_of, play


def test_unit_goes_to_the_worker_that_waits(ledger: JobLedger) -> None:
    assert play(ledger, WorkerReady(W), Submitted(a_unit())) == [Assign(W, a_unit())]
    assert (ledger.waiting, ledger.busy, ledger.idle) == (0, 1, 0)


def test_unit_waits_for_a_worker(ledger: JobLedger) -> None:
    assert play(ledger, Submitted(a_unit())) == []
    assert (ledger.waiting, ledger.busy) == (1, 0)
    assert play(ledger, WorkerReady(W)) == [Assign(W, a_unit())]


def test_lower_priority_number_runs_first_and_equals_run_in_order(ledger: JobLedger) -> None:
    play(ledger, *(Submitted(a_unit(name, priority=p)) for name, p in [(A, 5), (B, 1), (C, 5)]))

    order = [play(ledger, WorkerReady(worker)) for worker in (V, W, X)]

    assert [command.unit.job_id for (command,) in order if isinstance(command, Assign)] == [B, A, C]


def test_answer_resolves_the_job_and_frees_the_worker_whose_next_unit_acknowledges_it(
    ledger: JobLedger,
) -> None:
    play(ledger, WorkerReady(W), Submitted(a_unit(A)), Submitted(a_unit(B)))

    assert play(ledger, Finished(W, an_answer(A))) == [Resolve(an_answer(A)), Assign(W, a_unit(B))]


def test_next_unit_goes_to_the_worker_that_was_free_last(ledger: JobLedger) -> None:
    play(ledger, WorkerReady(V), WorkerReady(W), Submitted(a_unit(A)))

    assert play(ledger, Finished(W, an_answer(A)), Submitted(a_unit(B))) == [Assign(W, a_unit(B))]


def test_last_answer_is_acknowledged_by_itself(ledger: JobLedger) -> None:
    play(ledger, WorkerReady(W), Submitted(a_unit(A)))

    assert play(ledger, Finished(W, an_answer(A))) == [Resolve(an_answer(A)), Acknowledge(W, A, 1)]


def test_deadlines_of_answered_jobs_are_not_remembered(ledger: JobLedger) -> None:
    play(ledger, WorkerReady(W))

    for number in range(5000):
        job_id = JobId(str(number))
        play(ledger, Submitted(a_unit(job_id)), Finished(W, an_answer(job_id)))

    assert len(ledger.deadlines) < 2000


def test_job_submitted_twice_runs_once(ledger: JobLedger) -> None:
    assert play(ledger, Submitted(a_unit()), Submitted(a_unit()), WorkerReady(W)) == [Assign(W, a_unit())]
    assert play(ledger, WorkerReady(X)) == []


def test_late_answer_to_another_attempt_is_not_counted(ledger: JobLedger) -> None:
    play(ledger, WorkerReady(W), Submitted(a_unit()), WorkerDied(W), WorkerReady(X))
    play(ledger, WorkerHolding(W, A, 1))

    assert play(ledger, Finished(W, an_answer(attempt=1))) == [Acknowledge(W, A, 1)]
    assert play(ledger, Finished(X, an_answer(attempt=2)))[0] == Resolve(an_answer(attempt=2))


def test_answer_to_an_attempt_that_the_worker_was_not_given_is_not_counted(ledger: JobLedger) -> None:
    play(ledger, WorkerReady(W), Submitted(a_unit()))

    assert play(ledger, Finished(W, an_answer(attempt=7))) == [Assign(W, a_unit())]


def test_deadline_kills_the_holder_and_answers(ledger: JobLedger) -> None:
    play(ledger, WorkerReady(W), Submitted(a_unit(deadline_at=10.0)))

    assert play(ledger, Tick(), now=9.9) == []
    kill, resolve = play(ledger, Tick(), now=10.0)
    assert kill == Kill(W, "deadline")
    assert failure_of(resolve) == "DeadlineExceeded"
    assert play(ledger, WorkerDied(W), WorkerReady(X), now=11.0) == []


def test_deadline_answers_a_unit_that_found_no_worker(ledger: JobLedger) -> None:
    play(ledger, Submitted(a_unit(deadline_at=10.0)))

    (resolve,) = play(ledger, Tick(), now=10.0)

    assert failure_of(resolve) == "DeadlineExceeded"
    assert play(ledger, WorkerReady(W), now=11.0) == []


def test_unit_submitted_after_its_deadline_is_not_run(ledger: JobLedger) -> None:
    (resolve,) = play(ledger, WorkerReady(W), Submitted(a_unit(deadline_at=10.0)), now=10.0)

    assert failure_of(resolve) == "DeadlineExceeded"


def test_deadline_of_an_earlier_submission_does_not_end_a_later_one(ledger: JobLedger) -> None:
    play(ledger, WorkerReady(W), Submitted(a_unit(deadline_at=10.0)), Finished(W, an_answer()))
    play(ledger, Submitted(a_unit(deadline_at=100.0)), now=5.0)

    assert play(ledger, Tick(), now=10.0) == []


def test_answer_that_crosses_the_kill_is_dropped(ledger: JobLedger) -> None:
    play(ledger, WorkerReady(W), Submitted(a_unit(deadline_at=10.0)))
    play(ledger, Tick(), now=10.0)

    assert play(ledger, Finished(W, an_answer()), now=10.0) == [Acknowledge(W, A, 1)]
    assert play(ledger, WorkerDied(W), Submitted(a_unit()), now=11.0) == []


def test_result_brought_by_a_worker_of_an_earlier_engine_answers_the_job_when_it_is_submitted(
    ledger: JobLedger,
) -> None:
    play(ledger, WorkerHolding(W, A, 2))

    assert play(ledger, Finished(W, an_answer(attempt=2))) == [Acknowledge(W, A, 2)]
    assert play(ledger, Submitted(a_unit())) == [Resolve(an_answer(attempt=2))]
    assert play(ledger, Submitted(a_unit())) == [Assign(W, a_unit())]


def test_job_submitted_while_its_holder_brings_the_result_is_not_run_again(ledger: JobLedger) -> None:
    play(ledger, WorkerReady(X), WorkerHolding(W, A, 1))

    assert play(ledger, Submitted(a_unit())) == []
    assert play(ledger, Finished(W, an_answer()))[0] == Resolve(an_answer())


def test_waiting_job_is_adopted_by_the_worker_that_already_holds_it(ledger: JobLedger) -> None:
    play(ledger, Submitted(a_unit()), WorkerHolding(W, A, 1))

    assert play(ledger, WorkerReady(X)) == []
    assert play(ledger, Finished(W, an_answer()))[0] == Resolve(an_answer())


def test_result_kept_too_long_is_not_used(ledger: JobLedger) -> None:
    play(ledger, WorkerHolding(W, A, 1), Finished(W, an_answer()), now=0.0)

    assert play(ledger, Submitted(a_unit()), now=61.0) == [Assign(W, a_unit())]


def test_failure_that_nobody_asked_for_is_not_kept_for_the_next_attempt(ledger: JobLedger) -> None:
    failed = ResultUnit(job_id=A, attempt=1, failure=Failure(error_type="TransientError", message="busy"))
    play(ledger, WorkerHolding(W, A, 1), Finished(W, failed))

    assert play(ledger, Submitted(a_unit())) == [Assign(W, a_unit())]


def test_only_so_many_results_are_kept(ledger: JobLedger) -> None:
    for number in range(1025):
        job_id = JobId(str(number))
        play(ledger, WorkerHolding(W, job_id, 1), Finished(W, an_answer(job_id)))

    oldest, newest = JobId("0"), JobId("1024")
    assert play(ledger, Submitted(a_unit(oldest))) == [Assign(W, a_unit(oldest))]
    assert play(ledger, Submitted(a_unit(newest))) == [Resolve(an_answer(newest))]


def test_cancelled_job_is_forgotten_while_it_waits(ledger: JobLedger) -> None:
    assert play(ledger, Submitted(a_unit()), Cancelled(A), WorkerReady(W)) == []


def test_cancelled_job_is_taken_from_its_worker(ledger: JobLedger) -> None:
    assert play(ledger, WorkerReady(W), Submitted(a_unit()), Cancelled(A)) == [Kill(W, "cancelled")]
