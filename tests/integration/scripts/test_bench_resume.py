"""The short form of the benchmark of resuming kills real processes and says when the validator is ready."""

import json
import subprocess
import sys

import pytest
from benchmarks.resume import BARS, violations_of

from tests.support.patience import patience
from tests.support.repository import ROOT


@pytest.mark.slow
def test_each_kill_is_measured_beside_an_undisturbed_start() -> None:
    times = patience(1.0)
    done = subprocess.run(
        [sys.executable, "scripts/bench.py", "resume", "--quick", "--json", "--patience", f"{times:.1f}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300.0 * times,
    )

    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["ratios"].keys() == BARS.keys()
    for way in ("undisturbed", *BARS):
        assert found["figures"][f"{way}_s"]["median"] > 0


def test_ratio_above_its_bar_is_a_violation() -> None:
    assert violations_of(dict(BARS)) == []

    assert violations_of({**BARS, "engine": 1.01}) == [
        "engine: ready again after 1.01 undisturbed starts, at most 1"
    ]
