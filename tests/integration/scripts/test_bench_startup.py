"""The benchmark of starting runs, and `gaia --help` starts fast."""

import json
import subprocess
import sys

from tests.support.patience import patience
from tests.support.repository import ROOT

MOST_TIMES_BARE = 5.0


def test_help_of_the_command_line_costs_at_most_five_bare_starts() -> None:
    done = subprocess.run(
        [sys.executable, "scripts/bench.py", "startup", "--quick", "--json"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=patience(60),
    )

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["ratios"]["gaia"] <= MOST_TIMES_BARE
