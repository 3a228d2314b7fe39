"""What a background task is: a coroutine with a name, an interval and a deadline."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class BackgroundTask:
    """A periodic job of the IO-Engine."""

    name: str
    """Name in logs and metrics."""
    interval_s: float
    run: Callable[[], Coroutine[Any, Any, bool | None]]
    """Does the work once. It raises if it failed, or returns False if it has logged its failure itself."""
    deadline_s: float | None
    """Seconds after which one run is cancelled; None: never, because its work must not be cut."""
    overdue_s: float | None = None
    """Age of the last success at which the task is overdue; None: two intervals and a deadline."""
    at_start: bool = False
    """Whether it also runs when the validator starts."""

    @property
    def can_be_skipped(self) -> bool:
        """Whether a run may last longer than the time between two beats."""
        return self.deadline_s is None or self.deadline_s > self.interval_s

    @property
    def overdue_after_s(self) -> float:
        """Age in seconds of the last success at which the task is overdue."""
        if self.overdue_s is not None:
            return self.overdue_s
        return 2 * self.interval_s + (self.deadline_s or 0.0)
