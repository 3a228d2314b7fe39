"""The short form of epochs with sealed weights; docs/how-to/measure.md has the long one."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.support.patience import pace, patience
from tests.support.repository import ROOT

EPOCHS = 6


@pytest.mark.slow
def test_each_commit_opens_to_the_journals_vector_and_its_end_is_told_at_once() -> None:
    command = [
        sys.executable,
        "scripts/chaos.py",
        "reveals",
        "--epochs",
        str(EPOCHS),
        "--seed",
        "4",
        "--json",
    ]
    times = pace()
    command += ["--patience", f"{times:.1f}"]

    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=patience(240, times))

    assert done.returncode in (0, 1), done.stderr
    result = json.loads(done.stdout)
    found = result["figures"]
    assert result["violations"] == [], done.stdout
    assert found["epochs"] == EPOCHS
    assert found["commits_opened"] > 0
    assert sum(found["blocks_until_the_journal_tells"].values()) > 0
