"""The campaign of restores finds that an old database brings no second vector."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.support.patience import pace, patience
from tests.support.repository import ROOT


@pytest.mark.slow
def test_restore_of_an_old_database_signs_nothing_in_an_epoch_that_has_its_vector() -> None:
    command = [sys.executable, "scripts/chaos.py", "restores", "--trials", "1", "--json"]
    times = pace()
    command += ["--patience", f"{times:.1f}"]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=patience(300, times), check=False
    )

    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout)
    assert found["violations"] == []
    assert found["figures"]["restores"] == 1
    assert found["figures"]["second_vectors_of_an_epoch"] == 0
    assert sum(found["figures"]["blocks_until_the_next_vector"].values()) == 1
