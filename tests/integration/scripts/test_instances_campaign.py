"""The campaign with a second instance finds that each first one ends in time."""

from __future__ import annotations

import json
import subprocess
import sys

from tests.support.patience import pace, patience
from tests.support.repository import ROOT

TRIALS = 4


def test_first_of_two_instances_ends_before_its_second_signature() -> None:
    command = [sys.executable, "scripts/chaos.py", "instances", "--trials", str(TRIALS), "--json"]
    times = pace()
    command += ["--patience", f"{times:.1f}"]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=patience(240, times), check=False
    )

    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout)
    assert found["violations"] == []
    assert found["figures"]["stopped_before_the_second_signature"] == TRIALS
    assert found["figures"]["kills_of_the_first"] > 0
