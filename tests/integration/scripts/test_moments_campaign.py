"""The short form of the restores of random moments; docs/how-to/measure.md has the long one."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.support.patience import patience, slowness
from tests.support.repository import ROOT

TRIALS = 2
"""With this seed, one while miners are asked, and one within the epoch that has its vector already."""


@pytest.mark.slow
def test_no_miner_loses_anything_by_a_restore_of_a_random_moment() -> None:
    command = [
        sys.executable,
        "scripts/chaos.py",
        "moments",
        "--short",
        "--seed",
        "9",
        "--patience",
        str(min(slowness(), 10.0)),
        "--json",
    ]

    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=patience(400))

    assert done.returncode in (0, 1), done.stderr
    result = json.loads(done.stdout)
    assert result["violations"] == [], done.stdout
    assert result["figures"]["restores"] == TRIALS
    assert (result["ratios"]["ended"], result["ratios"]["equal"]) == (1.0, 1.0)
    counts = result["figures"]["lives"].values()
    assert sum(life.get("within_an_epoch_that_has_its_vector", 0) for life in counts) > 0
    # One life can complete all runs, and the other at least its last one.
    assert result["ratios"]["compared"] >= 0.75
    for life in result["figures"]["lives"].values():
        assert life["rows_unknown_to_backups"] > 0
        assert life["stopped" if "stopped" in life else "killed"] == 1
