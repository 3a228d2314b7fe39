"""The short form of the campaign against a validator's own things; docs/how-to/measure.md has the long one."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.support.patience import patience, slowness
from tests.support.repository import ROOT

LOSSES = ("rejected", "forfeited", "excused")
MINERS, LEADS, FIELDS = 4, 11, 4
ROWS = MINERS * (LEADS * (FIELDS + 1) + 2)
"""Scores of fields, leads and runs, and forecasts."""


@pytest.mark.slow
def test_no_miner_loses_anything_by_lost_backends_a_silent_signer_a_locked_table_and_an_outage() -> None:
    command = [
        sys.executable,
        "scripts/chaos.py",
        "state",
        "--short",
        "--patience",
        str(slowness()),
        "--json",
    ]

    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=patience(240))

    assert done.returncode in (0, 1), done.stderr
    result = json.loads(done.stdout)
    found = result["figures"]["together"]
    assert result["violations"] == [], done.stdout
    assert [found[loss] for loss in LOSSES] == [0, 0, 0]
    assert (found["differing"], found["in_doubt"]) == (0, 0)
    assert result["ratios"] == {"ended": 1.0, "equal": 1.0, "lost": 0.0}
    # Each fault was there, and met work.
    assert found["rows"] == ROWS
    assert found["backends"]["kills"] == 40
    assert found["outage"] == {"requested": 4, "hours": 3.0, "waits": 0}
    assert found["signer"]["waits"] > 0
    assert found["lock"]["waits"] > 0
