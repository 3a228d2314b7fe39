"""The benchmark of the observation runs, does all that observes, measures in pairs, and says which bars hold."""

import json
import subprocess
import sys

from tests.support.background import NAMES
from tests.support.patience import patience
from tests.support.repository import ROOT

_BENCH = (sys.executable, "scripts/bench.py", "observation", "--quick", "--json")


def test_lag_and_processor_time_are_measured_with_and_without_observation() -> None:
    done = subprocess.run(
        # Each task must have had its turn within a phase.
        [*_BENCH, "--phase", f"{patience(5.0):.1f}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=patience(120),
    )

    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    figures = found["figures"]
    assert figures["pairs"] == 1
    assert min(figures["loop_lag_p99_ms_on"], figures["loop_lag_p99_ms_off"]) > 0
    assert min(figures["cpu_share_on"], figures["cpu_share_off"]) > 0
    # The engine's status line is one of the orchestrator's own jobs.
    assert figures["task_runs"].keys() == {*NAMES, "status_logger"}
    assert min(figures["task_runs"].values()) >= 1
    assert found["bars"] == {
        "p99_lag_holds": found["ratios"]["p99_lag_with_by_without"] <= 1.2,
        "cpu_share_holds": found["ratios"]["cpu_share_of_observation"] <= 0.02,
    }
