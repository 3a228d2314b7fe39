"""The short form of sixty days of weights; docs/how-to/measure.md has the long one."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.support.patience import pace, patience
from tests.support.repository import ROOT

DAYS = 14
EVENTS = 12
NODES = 3


@pytest.mark.slow
def test_no_epoch_is_missed_while_rules_runtime_and_connections_change() -> None:
    command = [sys.executable, "scripts/chaos.py", "days", "--days", str(DAYS), "--epochs", "1", "--json"]
    times = pace()
    command += ["--patience", f"{times:.1f}"]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=patience(400, times), check=False
    )

    assert done.returncode in (0, 1), done.stderr
    result = json.loads(done.stdout)
    found = result["figures"]
    assert result["violations"] == [], done.stdout
    assert len(found["events"]) == EVENTS
    assert (found["epochs"], found["epochs_missed"]) == (DAYS, 0)
    assert found["reconnects_of_the_signer"] >= NODES * DAYS / 2
    assert found["rows_of_history_compared"] == DAYS
    assert found["signer_memory_of_new_runtimes_mib"] > 0
