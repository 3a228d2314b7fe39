"""Runs background tasks: each beat in an asyncio task of ours, at most one at a time per name."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from gaia.validator.core.background.task import BackgroundTask
from gaia.validator.utils.errors import DeadlineExceeded

if TYPE_CHECKING:
    from gaia.validator.core.background.book import TaskBook

log = structlog.get_logger(__name__)

GRACE_S = 1.0
"""Time that a cancelled run may take to end before it is abandoned."""


@dataclass(slots=True, eq=False)
class _Run:
    """One run of a task, from its beat to its end."""

    task: BackgroundTask
    work: asyncio.Task[bool | None]
    timer: asyncio.TimerHandle | None = None
    is_late: bool = False
    is_abandoned: bool = False


class TaskRunner:
    """Starts runs, ends those that are late, and keeps the book.

    A run past its deadline is cancelled. If it ignores that, it is abandoned: it counts as one
    failure, it is logged once, and its task does not start again before it ends. No other task
    and no stop waits for it.

    Parameters
    ----------
    settle
        Called with the task's name and the error of a run that failed; it logs the error.
    """

    def __init__(
        self, book: TaskBook, settle: Callable[[str, BaseException], None], *, grace_s: float = GRACE_S
    ) -> None:
        self._book = book
        self._settle = settle
        self._grace_s = grace_s
        self._runs: dict[str, _Run] = {}
        self._is_stopping = False

    def beat(self, task: BackgroundTask) -> None:
        """Start a run of `task`, unless its last one goes on or the validator stops."""
        if self._is_stopping:
            return
        if task.name in self._runs:
            self._book.skipped(task.name)
            return
        loop = asyncio.get_running_loop()
        run = _Run(task, loop.create_task(task.run(), name=task.name))
        self._runs[task.name] = run
        if task.deadline_s is not None:
            run.timer = loop.call_later(task.deadline_s, self._expire, run)
        run.work.add_done_callback(lambda _: self._end(run))

    def stop(self) -> None:
        """Start no more runs."""
        self._is_stopping = True

    def in_hand(self) -> set[asyncio.Task[bool | None]]:
        """Return the runs that a stop waits for: all but the abandoned ones."""
        return {run.work for run in self._runs.values() if not run.is_abandoned}

    def left_behind(self) -> list[str]:
        """Return the names of tasks that have not ended."""
        return sorted(self._runs)

    def _expire(self, run: _Run) -> None:
        run.is_late = True
        run.work.cancel()
        run.timer = asyncio.get_running_loop().call_later(self._grace_s, self._abandon, run)

    def _abandon(self, run: _Run) -> None:
        run.is_abandoned = True
        self._book.failed(run.task.name)
        self._book.abandoned(run.task.name, is_over=False)
        log.error("job_abandoned", job=run.task.name, deadline_s=run.task.deadline_s)

    def _end(self, run: _Run) -> None:
        name, work = run.task.name, run.work
        del self._runs[name]
        if run.timer is not None:
            run.timer.cancel()
        # Retrieved in any case, because asyncio reports an error that nobody did.
        error = None if work.cancelled() else work.exception()
        if run.is_abandoned:
            self._book.abandoned(name, is_over=True)
            log.info("abandoned_job_ended", job=name)
        elif run.is_late:
            self._fail(name, DeadlineExceeded(f"it took longer than {run.task.deadline_s:g} s"))
        elif work.cancelled():
            if self._is_stopping:
                log.info("job_cancelled", job=name)
            else:
                self._fail(name, DeadlineExceeded("its run was cancelled"))
        elif error is not None:
            self._fail(name, error)
        elif work.result() is False:
            self._book.failed(name)
        else:
            self._book.succeeded(name)

    def _fail(self, name: str, error: BaseException) -> None:
        self._book.failed(name)
        self._settle(name, error)
