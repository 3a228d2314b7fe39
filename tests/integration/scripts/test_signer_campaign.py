"""The short form of the attack on the chain signer; docs/how-to/measure.md has the long one."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.support.patience import patience
from tests.support.repository import ROOT

FRAMES = 3000


@pytest.mark.slow
def test_hostile_engine_gets_one_vector_an_epoch_and_nothing_else_signed() -> None:
    command = [sys.executable, "scripts/chaos.py", "signer", "--frames", str(FRAMES), "--json"]

    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=patience(180))

    assert done.returncode in (0, 1), done.stderr
    result = json.loads(done.stdout)
    found = result["figures"]
    assert result["violations"] == [], done.stdout
    assert (found["frames"], found["epochs_with_two_vectors"]) == (FRAMES, 0)
    assert found["signatures_that_ought_to_be_refused"] == 0
    # Each kind of request was made, and the good ones were served.
    answers = found["answers"]
    assert {name.partition(":")[0] for name in answers} == {
        "auth",
        "bent",
        "commit",
        "elsewhere",
        "garbage",
        "seal",
        "vector",
    }
    assert answers["auth: signed"] > FRAMES / 10
    assert answers["bent: refused"] > FRAMES / 10
    assert answers["vector: refused"] > 0
    assert found["kills"] >= 2
    assert found["extrinsics"] >= found["epochs"] > 0
