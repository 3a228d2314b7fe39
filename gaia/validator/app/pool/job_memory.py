"""The ledger's memory of jobs without a record: their crash histories, and results without a submission."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from gaia.validator.app.meeting.lease_book import CrashHistory

if TYPE_CHECKING:
    from gaia.validator.app.pool.job_events import DeathCause
    from gaia.validator.utils.identities import JobId, WorkerId
    from gaia.validator.utils.ipc_types import ResultUnit, WorkUnit

_MOST_KEPT = 1024
NO_CRASH = CrashHistory()


class CrashHistories:
    """The crash history of each job, and the deaths that still lack a cause; the latest 1024 of both.

    Parameters
    ----------
    by_job
        Job id -> its history under earlier engines.
    """

    __slots__ = ("_unexplained", "by_job")

    def __init__(self, by_job: dict[JobId, CrashHistory]) -> None:
        self.by_job = by_job
        self._unexplained: OrderedDict[WorkerId, JobId] = OrderedDict()
        """Worker -> job it held when it died, until the cause is reported."""
        for job_id, history in by_job.items():
            for crash in history.deaths:
                if not crash.cause:
                    self._unexplained[crash.worker] = job_id

    def of_submission(self, unit: WorkUnit) -> CrashHistory:
        """Return the crash history that counts for `unit`; a job submitted as another attempt starts a new one."""
        history = self.by_job.get(unit.job_id)
        if history is not None and history.base == unit.attempt:
            return history
        return NO_CRASH if unit.attempt == NO_CRASH.base else CrashHistory(base=unit.attempt)

    def of_job(self, job_id: JobId, attempt: int) -> CrashHistory:
        """Return the history of a job without a submission, whose holder has `attempt`."""
        return self.by_job.get(job_id) or CrashHistory(base=attempt)

    def put(self, job_id: JobId, history: CrashHistory | None) -> None:
        """Replace the history of a job; None forgets it."""
        self.by_job.pop(job_id, None)
        if history is not None:
            self.by_job[job_id] = history
            while len(self.by_job) > _MOST_KEPT:
                del self.by_job[next(iter(self.by_job))]

    def await_cause(self, worker: WorkerId, job_id: JobId) -> None:
        """Note that `worker` died with `job_id`, and that the cause is not reported yet."""
        self._unexplained[worker] = job_id
        while len(self._unexplained) > _MOST_KEPT:
            self._unexplained.popitem(last=False)

    def explain(self, worker: WorkerId, cause: DeathCause) -> tuple[JobId, CrashHistory] | None:
        """Return the job that `worker` died with, and its history with the cause; None if no job awaits it."""
        job_id = self._unexplained.pop(worker, None)
        history = self.by_job.get(job_id) if job_id is not None else None
        if job_id is None or history is None:
            return None
        return job_id, history.explained(worker, cause.sentence, blames_unit=cause.blames_unit)


class KeptResults:
    """Results without a submission to this engine: the latest 1024, for `keep_s` seconds."""

    __slots__ = ("keep_s", "results")

    def __init__(self, keep_s: float) -> None:
        self.keep_s = keep_s
        self.results: OrderedDict[JobId, tuple[float, ResultUnit]] = OrderedDict()

    def keep(self, result: ResultUnit, now: float) -> None:
        """Store a result, in place of any earlier one of its job."""
        self.results[result.job_id] = (now, result)
        while len(self.results) > _MOST_KEPT:
            self.results.popitem(last=False)

    def take(self, job_id: JobId, now: float) -> ResultUnit | None:
        """Remove and return the result of a job; None if it is missing or too old."""
        kept_at, result = self.results.pop(job_id, (0.0, None))
        return result if result is not None and now - kept_at <= self.keep_s else None
