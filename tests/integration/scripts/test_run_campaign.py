"""The short form of the deck of faults; docs/how-to/measure.md has the long one."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from campaigns.run_faults.space import can_mount

from tests.support.patience import patience, slowness
from tests.support.repository import ROOT


@pytest.mark.slow
def test_scores_and_weights_are_the_same_after_forty_faults() -> None:
    command = [
        sys.executable,
        "scripts/chaos.py",
        "run",
        "--short",
        "--patience",
        str(min(slowness(), 10.0)),
        "--json",
    ]

    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=patience(600))

    assert done.returncode in (0, 1), done.stderr
    result = json.loads(done.stdout)
    assert result["violations"] == [], done.stdout
    assert result["ratios"] == {"ended": 1.0, "equal": 1.0}
    assert sum(result["figures"]["of_each"].values()) == 40
    assert sum(result["figures"]["missed"].values()) < 10
    assert result["figures"]["left_out"] == ([] if can_mount() else ["disk full"])
