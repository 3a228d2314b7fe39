"""The short form of kills between journal and chain; docs/how-to/measure.md has the long one."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from campaigns.chain import Done

from tests.support.patience import pace, patience
from tests.support.repository import ROOT

KILLS = 3
"""Those of one epoch."""


@pytest.mark.slow
def test_epoch_has_its_one_vector_and_the_journal_says_so_whatever_is_killed(tmp_path: Path) -> None:
    state = tmp_path / "state.json"
    command = [sys.executable, "scripts/chaos.py", "chain", "--seed", "4", "--json", "--state", str(state)]
    times = pace()
    command += ["--patience", f"{times:.1f}", "--kills", str(KILLS)]

    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=patience(180, times))

    assert done.returncode in (0, 1), done.stderr
    result = json.loads(done.stdout)
    assert result["violations"] == [], done.stdout
    found = result["figures"]
    assert found["kills_and_stops"] == sum(found["acts"].values()) == KILLS
    assert found["epochs_missed"] == 0
    assert sum(found["blocks_until_journal_and_chain_agree"].values()) == found["epochs"] == 1
    # A second run goes on from here, and has nothing left to do.
    assert Done.load(state).answer() == result
