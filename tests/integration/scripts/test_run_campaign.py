"""The short form of the deck of faults; docs/how-to/measure.md has the long one."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from campaigns.run_faults import space

from tests.support.patience import patience, slowness
from tests.support.repository import ROOT


@pytest.mark.slow
def test_scores_and_weights_are_the_same_after_forty_faults() -> None:
    command = [
        sys.executable,
        "scripts/chaos.py",
        "run",
        "--short",
        "--patience",
        str(min(slowness(), 10.0)),
        "--json",
    ]

    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=patience(600))

    assert done.returncode in (0, 1), done.stderr
    result = json.loads(done.stdout)
    assert result["violations"] == [], done.stdout
    assert result["ratios"] == {"ended": 1.0, "equal": 1.0}
    assert sum(result["figures"]["of_each"].values()) == 40
    assert sum(result["figures"]["missed"].values()) < 10
    assert result["figures"]["left_out"] == ([] if space.can_mount() else ["disk full"])


@pytest.mark.skipif(not space.can_mount(), reason="no disk can be mounted here")
def test_disk_is_full_for_a_moment_and_has_space_then(tmp_path: Path) -> None:
    folder = tmp_path / "disk"
    space.mount(folder)
    try:
        (folder / "first").write_bytes(bytes(2**20))
        with space.full(folder), pytest.raises(OSError, match="No space left"):
            (folder / "second").write_bytes(bytes(2**20))
        (folder / "second").write_bytes(bytes(2**20))
    finally:
        space.unmount(folder, keep=True)
    assert not space.is_mounted(folder)
    assert sorted(path.name for path in folder.iterdir()) == ["first", "second"]
    with pytest.raises(OSError, match="no disk of its own"), space.full(folder):
        pass
