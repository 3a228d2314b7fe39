"""Seeded local subnets do what they did: every question, freeze, score, reason and vector, to the last bit."""

from __future__ import annotations

import json
import subprocess
import sys

from tests.support.patience import patience
from tests.support.repository import ROOT


def test_both_rule_sets_do_what_the_golden_traces_say() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "scripts" / "golden.py", "compare", "--json"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=patience(600),
    )

    assert done.stdout, done.stderr
    judged = json.loads(done.stdout)
    assert judged["violations"] == []
    assert (done.returncode, judged["ratios"]["equal"]) == (0, 1.0)
    assert min(judged["figures"][name]["questions"] for name in ("gaia-2.9", "gaia-next")) > 500
