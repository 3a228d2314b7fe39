"""The benchmark of the observation runs, measures both sides in pairs, and says which bars hold."""

import json
import subprocess
import sys

from tests.support.patience import patience
from tests.support.repository import ROOT


def test_lag_and_processor_time_are_measured_with_and_without_observation() -> None:
    done = subprocess.run(
        [sys.executable, "scripts/bench.py", "observation", "--quick", "--json"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=patience(60),
    )

    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    figures = found["figures"]
    assert figures["pairs"] == 1
    assert min(figures["p99_lag_with_ms"], figures["p99_lag_without_ms"]) > 0
    assert min(figures["cpu_share_with"], figures["cpu_share_without"]) > 0
    assert found["bars"] == {
        "p99_lag_holds": found["ratios"]["p99_lag_with_by_without"] <= 1.2,
        "cpu_share_holds": found["ratios"]["cpu_share_of_observation"] <= 0.02,
    }
