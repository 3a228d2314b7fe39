"""The campaign of replaced, swapped and trimmed miners, in its long form: it takes seconds."""

from __future__ import annotations

import json
import subprocess
import sys


def test_newcomers_are_not_paid_and_swapped_miners_keep_their_history() -> None:
    command = [sys.executable, "scripts/chaos.py", "churn", "--events", "1000", "--seed", "4", "--json"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)

    assert ended.returncode == 0, ended.stdout + ended.stderr
    result = json.loads(ended.stdout)
    figures = result["figures"]
    assert result["violations"] == []
    assert sum(figures["events"].values()) >= 1000
    assert min(figures["events"].values()) > 50
    assert figures["shares_of_newcomers"] == 0
    assert figures["shares_of_swapped_hotkeys"] > 0
    assert figures["scores_of_swapped_hotkeys"] > 0
    assert figures["held"] < figures["epochs"] / 10
