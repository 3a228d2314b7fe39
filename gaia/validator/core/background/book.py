"""Keeps for every recurring job when it last succeeded, and how often it failed or was skipped."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class JobStatus:
    """A job at one moment."""

    job: str
    last_success_at: float
    """Unix seconds; before the first success, the moment from which the job was expected."""
    is_overdue: bool
    """Whether the last success is older than the job allows."""
    failures: int
    """Runs that failed, passed their deadline, or were abandoned."""
    skips: int
    """Beats at which the job did not start, because its last run had not ended."""
    can_be_skipped: bool = True
    """Whether a run may last longer than the time between two beats."""
    is_abandoned: bool
    """Whether its last run ignored its cancellation and still goes on."""


@dataclass(slots=True)
class _Record:
    overdue_after_s: float
    succeeded_at: float
    """Unix seconds."""
    succeeded: float
    """The same moment on the monotonic clock, which no correction of the time moves."""
    can_be_skipped: bool
    failures: int = 0
    skips: int = 0
    is_abandoned: bool = False


class TaskBook:
    """The register of recurring jobs; observation reads it, and the jobs' runner writes it.

    Parameters
    ----------
    wall_clock
        Returns Unix seconds.
    monotonic
        Returns seconds that never go back.
    """

    def __init__(
        self,
        wall_clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._wall_clock = wall_clock
        self._monotonic = monotonic
        self._records: dict[str, _Record] = {}

    def expect(self, job: str, overdue_after_s: float, *, can_be_skipped: bool = True) -> None:
        """Enter a job, which is overdue if that time passes without a success.

        Parameters
        ----------
        can_be_skipped
            Whether a run may last longer than the time between two beats.
        """
        self._records[job] = _Record(overdue_after_s, self._wall_clock(), self._monotonic(), can_be_skipped)

    def succeeded(self, job: str) -> None:
        """Note a success."""
        record = self._records[job]
        record.succeeded_at, record.succeeded = self._wall_clock(), self._monotonic()

    def failed(self, job: str) -> None:
        """Count a failure."""
        self._records[job].failures += 1

    def skipped(self, job: str) -> None:
        """Count a beat at which the job did not start."""
        self._records[job].skips += 1

    def abandoned(self, job: str, *, is_over: bool) -> None:
        """Note that a run ignores its cancellation, or that such a run ended after all."""
        self._records[job].is_abandoned = not is_over

    def statuses(self) -> tuple[JobStatus, ...]:
        """Return every job as it is now, in the order of entry."""
        now = self._monotonic()
        return tuple(
            JobStatus(
                job=job,
                last_success_at=record.succeeded_at,
                is_overdue=now - record.succeeded > record.overdue_after_s,
                failures=record.failures,
                skips=record.skips,
                can_be_skipped=record.can_be_skipped,
                is_abandoned=record.is_abandoned,
            )
            for job, record in list(self._records.items())
        )
