"""Reads the text of metrics as Prometheus does."""

from __future__ import annotations

import math
from collections.abc import Iterator

from prometheus_client.parser import text_string_to_metric_families


class Samples:
    """The samples of one scrape.

    >>> samples = Samples('gaia_ipc_queue_depth{queue="work"} 7')
    >>> samples.value("gaia_ipc_queue_depth", queue="work"), samples.value("gaia_chain_block")
    (7.0, None)
    """

    def __init__(self, text: str) -> None:
        self._samples = [
            sample for family in text_string_to_metric_families(text) for sample in family.samples
        ]

    def __len__(self) -> int:
        return len(self._samples)

    def value(self, name: str, **labels: str) -> float | None:
        """Return the sum of the samples with these labels; None if there is none, or it is undefined."""
        values = [value for _, value in self._matching(name, labels)]
        total = sum(values)
        return total if values and not math.isnan(total) else None

    def by(self, name: str, label: str, **labels: str) -> dict[str, float]:
        """Return value of `label` -> sum of its samples, largest first; undefined ones are left out."""
        sums: dict[str, float] = {}
        for found, value in self._matching(name, labels):
            if not math.isnan(value):
                sums[found.get(label, "")] = sums.get(found.get(label, ""), 0.0) + value
        return dict(sorted(sums.items(), key=lambda entry: (-entry[1], entry[0])))

    def _matching(self, name: str, labels: dict[str, str]) -> Iterator[tuple[dict[str, str], float]]:
        for sample in self._samples:
            if sample.name == name and labels.items() <= sample.labels.items():
                yield sample.labels, sample.value
