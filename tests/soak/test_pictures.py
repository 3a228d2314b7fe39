"""The dashboard and the pages of live subnets, drawn in a browser, are whole and readable by everybody."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.patience import patience
from tests.support.programs import program
from tests.support.repository import ROOT


@pytest.mark.slow
def test_every_panel_and_page_is_drawn_and_nothing_is_wrong_with_any(tmp_path: Path) -> None:
    program("prometheus"), program("npm"), program("chromium")
    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "pictures.py"), "--json", "--out", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=patience(1800),
    )

    assert done.stdout, done.stderr[-3000:]
    found = json.loads(done.stdout)
    assert found["violations"] == []
    assert found["ratios"]["panels_drawn"] == 1.0
    assert found["figures"]["axe_violations"] == 0
    assert {path.name for path in tmp_path.glob("*.png")} == {
        path.name for path in (ROOT / "docs" / "pictures").glob("*.png")
    }
