"""Two hosts that need no root: the first command of README runs there, with the same bits."""

import json
import subprocess
import sys

from tests.support.patience import patience
from tests.support.repository import SCRIPTS


def test_odd_hosts_give_the_same_scores_and_weights() -> None:
    chosen = ["--only", "odd_place", "--only", "few_files"]
    done = subprocess.run(
        [sys.executable, SCRIPTS / "chaos.py", "hosts", "--json", *chosen],
        capture_output=True,
        text=True,
        check=False,
        timeout=patience(600),
    )

    assert done.stdout, done.stderr
    found = json.loads(done.stdout)
    assert found["violations"] == [], done.stderr
    assert found["figures"]["right"] == 2
