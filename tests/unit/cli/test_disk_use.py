"""Sizes in the data folder, as runbooks tell them."""

from __future__ import annotations

from pathlib import Path

from gaia.cli.runbooks.disk_use import DiskUse
from gaia.cli.runbooks.facts import gather
from gaia.cli.runbooks.table import RUNBOOKS
from gaia.cli.source import Source
from gaia.validator.utils.config import Settings


def test_data_folder_is_walked_once_for_all_causes(tmp_path: Path) -> None:
    facts = gather(Source(Settings(data_dir=tmp_path)), "", knows_secrets=False, database_error="away")
    branches = RUNBOOKS["DiskSpaceLow"].branches
    before = [branch.look(facts) for branch in branches]
    large = tmp_path / "spool" / "chunk"
    large.parent.mkdir()
    large.write_bytes(b"x" * 1_000_000)

    assert "spool" not in facts.disk.sizes
    assert [branch.look(facts) for branch in branches] == before
    assert DiskUse(tmp_path).sizes["spool"] >= 1_000_000
