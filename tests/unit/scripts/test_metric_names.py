"""Rules and panels read metrics that the validator emits."""

from __future__ import annotations

import re

import pytest
from alerting.table import ALERTS, RECORDINGS
from panels.table import PANELS

from tests.support.repository import ROOT

PAGE = ROOT / "docs" / "reference" / "metrics.md"
"""Generated from the families of all processes; a test of its own keeps it so."""
ROWS = re.findall(r"^\| `(gaia_[a-z0-9_]+)` \| (\w+) \|", PAGE.read_text(), re.MULTILINE)
EMITTED = {
    name + end
    for name, kind in ROWS
    for end in (("_bucket", "_count", "_sum") if kind == "histogram" else ("",))
}
EXPRESSIONS = {
    **{alert.name: alert.expr for alert in ALERTS},
    **{recording.name: recording.expr for recording in RECORDINGS},
    **{panel.title: " ".join(query.expr for query in panel.queries) for panel in PANELS},
}


def test_page_names_the_metrics() -> None:
    assert len(EMITTED) > 50


@pytest.mark.parametrize("expr", EXPRESSIONS.values(), ids=EXPRESSIONS)
def test_metric_that_is_read_is_emitted(expr: str) -> None:
    assert set(re.findall(r"\bgaia_[a-z0-9_]+", expr)) <= EMITTED
