"""Which workers get units: the silent, the returned, the condemned and the leaving."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from gaia.validator.app.pool.job_events import (
    Acknowledge,
    Assign,
    Dismiss,
    Finished,
    Kill,
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
from gaia.validator.utils.ipc_types import CANARY
from tests.support.ledger import A, B, V, W, X, a_unit, an_answer, inherited, play


def test_worker_that_lost_its_connection_keeps_its_unit(ledger: JobLedger) -> None:
    play(ledger, WorkerReady(W), Submitted(a_unit()), WorkerDisconnected(W))

    assert play(ledger, WorkerReady(X)) == []
    assert ledger.away == {W}
    play(ledger, WorkerHolding(W, A, 1))
    assert play(ledger, Finished(W, an_answer())) == [Resolve(an_answer()), Acknowledge(W, A, 1)]


def test_unit_submitted_again_waits_for_the_silent_worker_that_has_it(ledger: JobLedger) -> None:
    assert play(ledger, inherited(), WorkerReady(X), Submitted(a_unit())) == []
    assert play(ledger, Tick(frozenset({W, X})), now=49.0) == []

    play(ledger, WorkerHolding(W, A, 1))

    assert play(ledger, Finished(W, an_answer()))[0] == Resolve(an_answer())


def test_silent_worker_is_waited_for_until_its_units_own_deadline(ledger: JobLedger) -> None:
    play(ledger, inherited(), WorkerReady(X), Submitted(a_unit(deadline_at=90.0)))

    assert play(ledger, Tick(frozenset({W, X})), now=50.0) == [Kill(W, "deadline")]
    assert play(ledger, Tick(frozenset({W, X})), now=51.0) == []
    assert Assign(X, a_unit(attempt=2, deadline_at=90.0)) in play(ledger, WorkerDied(W), now=51.0)


def test_silent_worker_that_connects_without_the_unit_never_had_it(ledger: JobLedger) -> None:
    play(ledger, inherited(), Submitted(a_unit()))

    assert play(ledger, WorkerReady(W)) == [Assign(W, a_unit(attempt=1))]


def test_words_of_a_worker_that_is_known_to_be_dead_are_not_heard(ledger: JobLedger) -> None:
    play(ledger, WorkerReady(W), Submitted(a_unit()), WorkerDied(W))

    assert play(ledger, Finished(W, an_answer())) == []
    assert (ledger.waiting, ledger.idle) == (1, 0)


def test_worker_that_is_being_killed_gets_no_other_unit(ledger: JobLedger) -> None:
    play(ledger, WorkerReady(W), Submitted(a_unit(deadline_at=10.0)))
    play(ledger, Tick(), now=10.0)

    assert play(ledger, WorkerDisconnected(W), WorkerReady(W), Submitted(a_unit(B))) == []


@pytest.fixture
def watchful() -> Iterator[JobLedger]:
    ledger = JobLedger(canary_interval_s=10.0, canary_timeout_s=5.0)
    yield ledger
    ledger.check()


def test_idle_worker_is_given_a_canary_when_it_has_not_answered_lately(watchful: JobLedger) -> None:
    (first,) = play(watchful, WorkerReady(W), Tick(), now=0.0)

    assert isinstance(first, Assign)
    assert (first.unit.handler, first.unit.deadline_at) == (CANARY, 5.0)
    assert watchful.healthy_seats(0.0) == 0
    play(watchful, Finished(W, an_answer(first.unit.job_id)), now=1.0)
    assert watchful.healthy_seats(1.0) == 1
    assert play(watchful, Tick(), now=10.9) == []
    assert len(play(watchful, Tick(), now=11.0)) == 1


def test_worker_that_does_not_answer_its_canary_is_killed(watchful: JobLedger) -> None:
    play(watchful, WorkerReady(W), Tick(), now=0.0)

    assert play(watchful, Tick(), now=4.9) == []
    assert play(watchful, Tick(), now=5.0) == [Kill(W, "silent")]
    assert play(watchful, WorkerDied(W), now=5.1) == []
    assert watchful.crashes.by_job == {}


def test_answer_to_a_unit_is_as_good_as_one_to_a_canary(watchful: JobLedger) -> None:
    play(watchful, WorkerReady(W), Submitted(a_unit()), Finished(W, an_answer()))

    assert play(watchful, Tick(), now=9.9) == []


def test_seat_is_healthy_while_its_worker_is_within_the_deadline_of_its_unit(watchful: JobLedger) -> None:
    play(watchful, WorkerReady(W), WorkerReady(X), Submitted(a_unit(deadline_at=90.0)))

    assert [watchful.healthy_seats(now) for now in (0.0, 89.0, 91.0)] == [1, 1, 0]


def test_without_canaries_a_seat_is_healthy_while_it_is_connected(ledger: JobLedger) -> None:
    play(ledger, WorkerReady(V, "0"), WorkerReady(W, "0"), WorkerReady(X, "1"), WorkerDisconnected(X))

    assert ledger.healthy_seats(0.0) == 1


def test_worker_that_connects_anew_without_its_unit_never_had_it(ledger: JobLedger) -> None:
    play(ledger, WorkerReady(W), Submitted(a_unit()))

    assert play(ledger, WorkerReady(W)) == [Assign(W, a_unit(attempt=1))]


def test_leaving_worker_is_let_go_at_once_when_it_holds_nothing(ledger: JobLedger) -> None:
    assert play(ledger, WorkerReady(W), WorkerLeaving(W)) == [Dismiss(W)]
    assert play(ledger, Submitted(a_unit())) == []


def test_request_to_leave_that_crosses_an_assignment_waits_for_the_answer(ledger: JobLedger) -> None:
    assert play(ledger, WorkerReady(W), Submitted(a_unit()), WorkerLeaving(W)) == []
    assert play(ledger, Finished(W, an_answer())) == [
        Resolve(an_answer()),
        Acknowledge(W, A, 1),
        Dismiss(W),
    ]


def test_worker_that_lives_but_never_connects_is_killed(ledger: JobLedger) -> None:
    play(ledger, WorkerReady(W), Tick(frozenset({W, X})))

    assert play(ledger, Tick(frozenset({W, X})), now=50.0) == []
    assert play(ledger, Tick(frozenset({W, X})), now=50.1) == [Kill(X, "silent")]
    assert play(ledger, Tick(frozenset({W})), now=51.0) == []
