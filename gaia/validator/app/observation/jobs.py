"""Shows how the recurring jobs do, from the register that the jobs keep."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from gaia.validator.app.observation.registry import REGISTRY
from gaia.validator.core.background.book import JobStatus
from gaia.validator.core.status.facts import Job

if TYPE_CHECKING:
    from prometheus_client import Metric


Statuses = Callable[[], Sequence[JobStatus]]
"""Returns the status of each job of one register."""


class Jobs(Collector):
    """Collects the facts of all registers at each exposition."""

    def __init__(self) -> None:
        self._registers: list[Statuses] = []

    def watch(self, *registers: Statuses) -> None:
        """Show these registers, and no others, from now on."""
        self._registers = list(registers)

    def facts(self) -> list[Job]:
        """Return how each job does, for pages and messages."""
        return [
            Job(
                name=status.job,
                last_success_at=datetime.fromtimestamp(status.last_success_at, UTC),
                is_overdue=status.is_overdue,
            )
            for statuses in self._registers
            for status in statuses()
        ]

    def collect(self) -> Iterator[Metric]:
        succeeded = GaugeMetricFamily(
            "gaia_last_success_timestamp_seconds",
            "Time of the last success of a recurring job; before the first, the start.",
            labels=["task"],
        )
        overdue = GaugeMetricFamily(
            "gaia_task_overdue",
            "1 if the last success of a recurring job is older than its deadline.",
            labels=["task"],
        )
        failures = CounterMetricFamily(
            "gaia_task_failures_total", "Runs of a recurring job that failed.", labels=["task"]
        )
        skipped = CounterMetricFamily(
            "gaia_task_skipped_total",
            "Runs of a job that were left out, because the last had not ended; jobs whose deadline prevents it have none.",
            labels=["task"],
        )
        for statuses in self._registers:
            for status in statuses():
                succeeded.add_metric([status.job], status.last_success_at)
                overdue.add_metric([status.job], float(status.is_overdue))
                failures.add_metric([status.job], status.failures)
                if status.can_be_skipped:
                    skipped.add_metric([status.job], status.skips)
        yield from (succeeded, overdue, failures, skipped)


JOBS = Jobs()
REGISTRY.register(JOBS)
