"""Each refusal of weights is told by its name, none costs a signature that a preflight could spare, and the page says so."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from campaigns.chain_refusals.page import page
from campaigns.chain_refusals.playing import Row

from tests.support.patience import pace, patience
from tests.support.repository import ROOT

LEAST_NAMES = 40


@pytest.mark.slow
def test_every_refusal_is_told_and_the_page_of_the_docs_is_what_was_seen() -> None:
    command = [sys.executable, "scripts/chaos.py", "refusals", "--json"]
    times = pace()
    command += ["--patience", f"{times:.1f}"]

    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=patience(300, times))

    assert done.returncode in (0, 1), done.stderr
    result = json.loads(done.stdout)
    found = result["figures"]
    assert result["violations"] == [], done.stdout
    assert found["signatures_where_foreseeable"] == 0 < found["foreseeable"]
    assert found["names"] >= LEAST_NAMES
    rows = [Row.from_json(row) for row in found["rows"]]
    assert (ROOT / "docs/reference/chain-refusals.md").read_text() == page(rows)
