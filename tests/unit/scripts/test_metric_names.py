"""Rules and panels read metrics that the validator emits, and labels that these metrics have."""

from __future__ import annotations

import re

import pytest
from alerting.table import ALERTS, RECORDINGS
from generate.metrics_page import all_families
from panels.table import PANELS

EXPRESSIONS = {
    **{alert.name: alert.expr for alert in ALERTS},
    **{recording.name: recording.expr for recording in RECORDINGS},
    **{panel.title: " ".join(query.expr for query in panel.queries) for panel in PANELS},
}
GIVEN_BY_PROMETHEUS = {"instance", "job"}
"""Labels that Prometheus gives each scraped series."""
EMITTED = {
    name: {label for sample in family.samples for label in sample.labels}
    for family in all_families()
    for name in (
        family.name,
        *(f"{family.name}_{end}" for end in ("total", "bucket", "count", "sum", "info")),
    )
}


@pytest.mark.parametrize("expr", EXPRESSIONS.values(), ids=EXPRESSIONS)
def test_metric_that_is_read_is_emitted(expr: str) -> None:
    read = set(re.findall(r"\bgaia_[a-z0-9_]+", expr))

    assert read <= EMITTED.keys()


@pytest.mark.parametrize("expr", EXPRESSIONS.values(), ids=EXPRESSIONS)
def test_label_that_a_metric_is_chosen_by_is_one_of_its_own(expr: str) -> None:
    for name, matchers in re.findall(r"\b(gaia_[a-z0-9_]+)\{([^}]*)\}", expr):
        labels = set(re.findall(r"(\w+)\s*(?:=|!=|=~|!~)\s*\"", matchers))

        assert labels <= EMITTED[name] | GIVEN_BY_PROMETHEUS, name


def test_no_label_of_ours_is_renamed_by_prometheus() -> None:
    assert not GIVEN_BY_PROMETHEUS & set().union(*EMITTED.values())
