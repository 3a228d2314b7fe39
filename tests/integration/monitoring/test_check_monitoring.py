"""A local subnet under Prometheus: no panel is empty, and what is read is emitted."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.support.patience import patience
from tests.support.programs import program
from tests.support.repository import ROOT


@pytest.mark.slow
def test_dashboard_and_rules_find_what_they_read_in_a_live_subnet() -> None:
    program("promtool"), program("prometheus")
    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "check_monitoring.py"), "--json", "--miners", "4"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=patience(400),
    )

    found = json.loads(done.stdout)
    assert found["violations"] == [], done.stderr[-2000:]
    assert done.returncode == 0
    assert found["ratios"]["queries_with_data"] == 1.0
    assert found["ratios"]["read_metrics_emitted"] == 1.0
    assert found["figures"]["queries"] > 14
