"""Where local subnets keep what they write."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from gaia.localnet.state import StateInUse, fresh_state_dir, in_use, is_in_use

NOW = datetime(2026, 11, 22, 7, 30, tzinfo=UTC)


def test_fresh_folder_is_named_after_the_moment(tmp_path: Path) -> None:
    first = fresh_state_dir(NOW, tmp_path)
    second = fresh_state_dir(NOW, tmp_path)

    assert first.name == "20261122-073000"
    assert second.name == "20261122-073000-2"


def test_older_folders_go_and_the_last_stays(tmp_path: Path) -> None:
    for name in ("20260101-000000", "20260102-000000", "20260103-000000"):
        (tmp_path / name).mkdir()

    fresh = fresh_state_dir(NOW, tmp_path)

    assert sorted(path.name for path in tmp_path.iterdir()) == ["20260103-000000", fresh.name]


def test_folder_of_a_subnet_that_runs_is_not_removed(tmp_path: Path) -> None:
    older = tmp_path / "20260101-000000"
    (tmp_path / "20260102-000000").mkdir()

    with in_use(older):
        fresh_state_dir(NOW, tmp_path)

    assert older.exists()


def test_nothing_is_removed_when_all_are_to_be_kept(tmp_path: Path) -> None:
    for name in ("20260101-000000", "20260102-000000"):
        (tmp_path / name).mkdir()

    fresh_state_dir(NOW, tmp_path, keep_all=True)

    assert len(list(tmp_path.iterdir())) == 3


def test_folder_in_use_is_refused_with_the_remedy(tmp_path: Path) -> None:
    with in_use(tmp_path), pytest.raises(StateInUse, match="choose another --state"), in_use(tmp_path):
        pass


def test_mark_dies_with_its_process(tmp_path: Path) -> None:
    program = (
        "import os, sys; from pathlib import Path; from gaia.localnet.state import in_use;"
        "in_use(Path(sys.argv[1])).__enter__(); os.kill(os.getpid(), 9)"
    )

    subprocess.run([sys.executable, "-c", program, str(tmp_path)])

    assert not is_in_use(tmp_path)
