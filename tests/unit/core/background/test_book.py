"""The register of recurring jobs: ages, counts, and what is overdue."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

from gaia.validator.core.background.book import JobStatus, TaskBook
from gaia.validator.core.background.task import BackgroundTask


class Clocks:
    """A wall clock and a monotonic one, moved by hand."""

    def __init__(self) -> None:
        self.wall, self.steady = 1000.0, 50.0

    def book(self) -> TaskBook:
        return TaskBook(lambda: self.wall, lambda: self.steady)

    def passes(self, seconds: float) -> None:
        self.wall += seconds
        self.steady += seconds


def test_job_that_never_succeeded_counts_from_when_it_was_expected() -> None:
    book = Clocks().book()

    book.expect("job", 60.0)

    assert book.statuses() == (
        JobStatus(
            job="job", last_success_at=1000.0, is_overdue=False, failures=0, skips=0, is_abandoned=False
        ),
    )


def test_job_is_overdue_once_its_last_success_is_too_old_and_well_after_the_next() -> None:
    clocks = Clocks()
    book = clocks.book()
    book.expect("job", 60.0)
    clocks.passes(60.0)
    at_the_limit = book.statuses()[0].is_overdue
    clocks.passes(0.1)
    beyond = book.statuses()[0].is_overdue

    book.succeeded("job")

    (status,) = book.statuses()
    assert (at_the_limit, beyond, status.is_overdue) == (False, True, False)
    assert status.last_success_at == 1060.1


def test_job_whose_deadline_ends_before_the_next_beat_is_never_skipped() -> None:
    def never() -> Coroutine[Any, Any, None]:
        raise AssertionError

    quick = BackgroundTask(name="quick", interval_s=60.0, deadline_s=50.0, run=never)
    slow = BackgroundTask(name="slow", interval_s=60.0, deadline_s=61.0, run=never)
    endless = BackgroundTask(name="endless", interval_s=60.0, deadline_s=None, run=never)

    assert [task.can_be_skipped for task in (quick, slow, endless)] == [False, True, True]


def test_correction_of_the_machines_time_makes_nothing_overdue() -> None:
    clocks = Clocks()
    book = clocks.book()
    book.expect("job", 60.0)

    clocks.wall += 86_400.0

    assert not book.statuses()[0].is_overdue


def test_failures_and_skips_are_counted_for_each_job_alone() -> None:
    book = Clocks().book()
    book.expect("one", 60.0)
    book.expect("other", 60.0)

    book.failed("one")
    book.failed("one")
    book.skipped("other")
    book.abandoned("other", is_over=False)

    one, other = book.statuses()
    assert (one.failures, one.skips, one.is_abandoned) == (2, 0, False)
    assert (other.failures, other.skips, other.is_abandoned) == (0, 1, True)
