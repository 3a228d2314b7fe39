"""The registry of all metrics of the validator; each family has all its series from the start."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import product
from typing import Final, TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics

M = TypeVar("M", Counter, Gauge, Histogram)

# The time at which a series was made says nothing here, and would add a series for each.
disable_created_metrics()  # type: ignore[no-untyped-call] # the library does not annotate it

REGISTRY: Final = CollectorRegistry(auto_describe=True)
"""Registry of our own: that of the library also shows one process under names that resemble ours."""


def gauge(name: str, meaning: str, **labels: Iterable[str]) -> Gauge:
    """Return a new gauge with a series at 0 for each combination of label values."""
    return _whole(Gauge(name, meaning, list(labels), registry=REGISTRY), labels.values())


def counter(name: str, meaning: str, **labels: Iterable[str]) -> Counter:
    """Return a new counter with a series at 0 for each combination of label values.

    An alert on the first increase needs the zero before it.
    """
    return _whole(Counter(name, meaning, list(labels), registry=REGISTRY), labels.values())


def histogram(name: str, meaning: str, bounds: Sequence[float], **labels: Iterable[str]) -> Histogram:
    """Return a new histogram with empty buckets for each combination of label values."""
    made = Histogram(name, meaning, list(labels), buckets=bounds, registry=REGISTRY)
    return _whole(made, labels.values())


def _whole(metric: M, labels: Iterable[Iterable[str]]) -> M:
    columns = [list(values) for values in labels]
    if columns:
        for values in product(*columns):
            metric.labels(*values)
    return metric
