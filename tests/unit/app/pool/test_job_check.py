"""`JobLedger.check` finds each way in which the record could contradict itself."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from gaia.validator.app.pool.job_check import InconsistentRecord
from gaia.validator.app.pool.job_entries import Worker
from gaia.validator.app.pool.job_events import Event, Submitted, WorkerHolding, WorkerReady
from gaia.validator.app.pool.job_ledger import JobLedger
from tests.support.ledger import A, B, W, X, a_unit

IDLE: list[Event] = [WorkerReady(W)]
WAITING: list[Event] = [Submitted(a_unit())]
LEASED: list[Event] = [WorkerReady(W), Submitted(a_unit())]
UNCLAIMED: list[Event] = [WorkerHolding(W, A, 1)]


def a_ledger(history: list[Event]) -> JobLedger:
    ledger = JobLedger()
    for event in history:
        ledger.handle(event, 0.0)
    ledger.check()
    return ledger


def set_field(**fields: object) -> Callable[[JobLedger], None]:
    def damage(ledger: JobLedger) -> None:
        for name, value in fields.items():
            setattr(ledger.workers[W], name, value)

    return damage


def other_holder(ledger: JobLedger) -> None:
    ledger.jobs[A].holder = Worker(X, X)


def other_entry(ledger: JobLedger) -> None:
    ledger.idle_workers[W] = Worker(W, W)


@pytest.mark.parametrize(
    ("history", "damage", "sentence"),
    [
        (IDLE, set_field(name="x"), "the entry of worker w is that of x"),
        (IDLE, set_field(is_connected=False), "worker w has an entry, and nothing is known of it"),
        (
            LEASED,
            set_field(is_connected=False, is_leaving=True),
            "is not connected, and has asked or answered",
        ),
        (IDLE, set_field(silent_since=1.0), "worker w is connected, and counted as silent"),
        (LEASED, lambda ledger: ledger.jobs.clear(), "worker w holds job a, which has no entry"),
        (LEASED, other_holder, "worker w holds job a, whose holder is x"),
        (LEASED, other_holder, "job a is held by x, which has no entry"),
        (LEASED, set_field(lease=None), "job a is held by w, which does not hold it"),
        (LEASED, set_field(lease=None), "worker w is among the holders, wrongly"),
        (LEASED, lambda ledger: ledger.holders.clear(), "worker w is not among the holders, wrongly"),
        (LEASED, lambda ledger: ledger.deadlines.clear(), "nothing will happen at the deadline of job a"),
        (WAITING, lambda ledger: ledger.queue.clear(), "job a waits outside the queue"),
        (WAITING, lambda ledger: setattr(ledger, "waiting", 2), "2 jobs are counted as waiting, and 1 wait"),
        (WAITING, lambda ledger: ledger.jobs.update({B: ledger.jobs[A]}), "the entry of job b is that of a"),
        (UNCLAIMED, lambda ledger: setattr(ledger.jobs[A], "holder", None), "neither submitted nor found"),
        (
            IDLE,
            lambda ledger: ledger.queue.append((1, 1, A)),
            "no job waits, and the queue holds 1 entries",
        ),
        (IDLE, lambda ledger: ledger.idle_workers.clear(), "worker w is not among the idle, wrongly"),
        (IDLE, other_entry, "worker w has two entries"),
        (IDLE, lambda ledger: setattr(ledger, "waiting", 1), "1 jobs wait, and 1 workers are idle"),
    ],
)
def test_contradiction_is_named_in_a_sentence(
    history: list[Event], damage: Callable[[JobLedger], None], sentence: str
) -> None:
    ledger = a_ledger(history)

    damage(ledger)

    with pytest.raises(InconsistentRecord, match=sentence):
        ledger.check()
