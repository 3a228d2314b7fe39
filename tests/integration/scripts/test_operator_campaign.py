"""The short form of the campaign against the operator's tools; docs/how-to/measure.md has the long one."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from tests.support.patience import patience, slowness
from tests.support.repository import ROOT

FAULTS = ("chain_down", "tables_locked", "engine_killed")


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="the campaign mounts a small disk")
def test_status_doctor_and_runbook_name_a_lost_node_a_locked_database_and_a_dead_engine() -> None:
    only = [word for name in FAULTS for word in ("--only", name)]
    command = [sys.executable, "scripts/chaos.py", "operator", *only, "--patience", str(slowness()), "--json"]

    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=patience(300))

    assert done.returncode in (0, 1), done.stderr
    result = json.loads(done.stdout)
    assert result["violations"] == [], done.stdout
    assert [row["fault"] for row in result["figures"]["rows"]] == list(FAULTS)
    assert result["ratios"] == {"status": 1.0, "doctor": 1.0, "runbook": 1.0}
