"""The benchmark of an idle tick runs, and an idle tick reads a small part of what it once read."""

import json
import subprocess
import sys

from tests.support.patience import patience
from tests.support.repository import ROOT


def test_idle_tick_asks_the_database_for_a_hundredth_of_what_manifests_weigh() -> None:
    done = subprocess.run(
        [sys.executable, "scripts/bench.py", "database", "--quick", "--json"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=patience(120),
    )

    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["figures"]["bytes_before"] > 4 * 8 * found["figures"]["manifest_bytes"]
    assert found["ratios"]["bytes_before_vs_now"] > 100
