"""The short form of the campaign with two validators; docs/how-to/measure.md has the long one."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.support.patience import patience, slowness
from tests.support.repository import ROOT

FAULTS = {"kill": 2, "pause of all processes": 2, "pause of the IO-Engine": 1}
MOST_PATIENCE = 6.0


@pytest.mark.slow
def test_standby_takes_over_from_a_paused_and_a_killed_validator_and_nothing_is_doubled() -> None:
    command = [sys.executable, "scripts/chaos.py", "standby", "--short", "--seed", "1", "--json"]
    command += ["--patience", f"{min(slowness(), MOST_PATIENCE):.1f}"]

    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=patience(300))

    assert done.returncode in (0, 1), done.stderr
    result = json.loads(done.stdout)
    found = result["figures"]
    assert result["violations"] == [], done.stdout
    assert result["ratios"] == {"ended": 1.0, "equal": 1.0}
    assert (found["lease_s"], found["faults"]) == (5.0, FAULTS)
    assert sum(found["taken_by"].values()) == sum(FAULTS.values())
    # Something was there that could have been wrong.
    assert found["written"]["rows"] > 0
    assert found["questions"] > 0
    assert found["epochs_with_a_vector"] > 0
