"""What the benchmark of observation orders from its engine, and what the engine measures."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

P99 = 0.99


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What the engine does."""

    data_dir: str
    result: str
    """File that it writes when it has measured."""
    services_port: int
    """Port of the web services outside."""
    metrics_port: int
    pairs: int
    phase_s: float
    miners: int
    runs: int
    scrape_every_s: float


class Phase(msgspec.Struct, frozen=True, kw_only=True):
    """What one phase measured."""

    lags_ms: list[float]
    cpu_s: float
    """CPU seconds of the engine's process."""
    wall_s: float
    others_cpu_s: dict[str, float] = {}
    """Role -> CPU seconds of its processes."""

    @property
    def p99_ms(self) -> float:
        """The 99th percentile of the lags."""
        return percentile(self.lags_ms, P99)

    @property
    def cpu_share(self) -> float:
        """Share of one processor that the engine took."""
        return self.cpu_s / self.wall_s

    def share_of(self, role: str) -> float:
        """Return the share of one processor that another role took."""
        return self.others_cpu_s.get(role, 0.0) / self.wall_s


class Measured(msgspec.Struct, kw_only=True):
    """All phases, in pairs."""

    whole_reading_cpu_s: float
    """CPU seconds of the first reading for the pages, which is repeated once an hour."""
    with_it: list[Phase] = []
    without: list[Phase] = []
    task_runs: dict[str, int] = {}
    """Background task -> runs that succeeded."""


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value below which this share of the values lies.

    >>> percentile([5.0, 1.0, 3.0, 2.0], 0.5)
    3.0
    """
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)]
