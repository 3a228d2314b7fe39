"""An engine under the load of Locust's users gives right answers in time: `python3 scripts/run_tests.py --soak -k load`."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.support.patience import patience
from tests.support.repository import SCRIPTS


@pytest.mark.slow
def test_ten_minutes_of_load_give_right_answers_in_time() -> None:
    done = subprocess.run(
        [sys.executable, SCRIPTS / "chaos.py", "load", "--minutes", "10", "--json"],
        capture_output=True,
        text=True,
        check=False,
        timeout=patience(900),
    )

    print(done.stdout)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["violations"] == []
